# SPDX-License-Identifier: Apache-2.0
"""What tests that send Flower messages without a Flower run need: an identity to send from."""

from __future__ import annotations

import pytest
from flwr.supercore.task_identity import TaskIdentity


@pytest.fixture(autouse=True)
def _server_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be the ServerApp of run 1: Message() asks Flower's private TaskIdentity who is sending."""
    for name in ("_run_id", "_node_id", "_task_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)
