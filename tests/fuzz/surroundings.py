# SPDX-License-Identifier: Apache-2.0
"""What targets need round them: an identity to send messages from, silence, and a single thread."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from unittest import mock

from flwr.supercore.task_identity import TaskIdentity

from fl_deepcabac.flower import replies

__all__ = ["settled"]


class AtOnce(ThreadPoolExecutor):
    """Does everything as it is submitted: what an engine sees depends on the input alone."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:  # as executors do: it is raised where the result is taken
            future.set_exception(error)
        return future


@contextlib.contextmanager
def settled() -> Iterator[None]:
    """Be the ServerApp of run 1, which Message() asks for; log nothing, as refusals are many."""
    level = logging.root.manager.disable
    identity = {"_run_id": 1, "_node_id": 1, "_task_id": 1}
    with (
        mock.patch.multiple(TaskIdentity, **identity),
        mock.patch.object(replies, "ThreadPoolExecutor", AtOnce),
    ):
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(level)
