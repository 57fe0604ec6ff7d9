# SPDX-License-Identifier: Apache-2.0
"""An engine whose clients answer in this process, for tests of what runs in it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from flower.inprocess_grid import InProcessGrid
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid


def in_process(
    serve: Callable[[Grid], None],
    client_app: ClientApp,
    *,
    n_nodes: int,
    n_workers: int,
    stop: threading.Event,
) -> None:
    """Be an `Engine`."""
    del n_workers
    serve(InProcessGrid([client_app] * n_nodes))
    stop.set()
