# SPDX-License-Identifier: Apache-2.0
"""What experiments need: an identity to send messages from, and a stand-in for NNCodec."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from flwr.supercore.task_identity import TaskIdentity


@pytest.fixture(autouse=True)
def _server_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be the ServerApp of run 1: Message() asks Flower's private TaskIdentity who is sending."""
    for name in ("_run_id", "_node_id", "_task_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)


@pytest.fixture
def python(tmp_path: Path) -> str:
    """Return the interpreter that stands in for one with NNCodec."""
    stub = Path(__file__).with_name("nncodec_stub.py")
    program = tmp_path / "python"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{stub}" "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    return str(program)
