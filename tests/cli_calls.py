# SPDX-License-Identifier: Apache-2.0
"""What tests of the command line share: arrays to put into files, and a call that must fail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fl_deepcabac as dc
from fl_deepcabac.cli import main

RNG = np.random.default_rng(5)
ARRAYS: dict[str, np.ndarray[Any, Any]] = {
    "layer/weight": RNG.normal(0, 0.01, (40, 30)).astype(np.float32),
    "layer/bias": RNG.normal(0, 0.01, 30).astype(np.float16),
    "file": RNG.normal(0, 1, (3, 4, 5)),
    "counter": np.array(12),
    "empty": np.zeros((0, 4), np.float32),
}
SCHEMA = dc.Schema.from_arrays(ARRAYS)


def complaint(capsys: pytest.CaptureFixture[str], *argv: str | Path, exit_code: int = 2) -> str:
    """Run a command that must fail, and return its one line."""
    capsys.readouterr()
    try:
        code: object = main([str(argument) for argument in argv])
    except SystemExit as stop:
        code = stop.code
    captured = capsys.readouterr()
    assert code == exit_code
    assert captured.out == ""
    assert captured.err.endswith("\n")
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("fl-deepcabac")
    return captured.err
