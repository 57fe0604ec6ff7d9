# SPDX-License-Identifier: Apache-2.0
"""What every Flower test needs: an identity to send messages from, and repeatable sampling."""

from __future__ import annotations

import random

import pytest
from flwr.supercore.task_identity import TaskIdentity


@pytest.fixture(autouse=True)
def _server_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be the ServerApp of run 1: Message() asks Flower's private TaskIdentity who is sending."""
    for name, value in (("_run_id", 1), ("_node_id", 1), ("_task_id", 1)):
        monkeypatch.setattr(TaskIdentity, name, value)


@pytest.fixture(autouse=True)
def _sampling() -> None:
    """Let strategies sample nodes in the same order in each test: they use the global generator."""
    random.seed(0)
