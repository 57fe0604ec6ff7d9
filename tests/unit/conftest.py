# SPDX-License-Identifier: Apache-2.0
"""Files that the tests of the command line start from."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from cli_calls import ARRAYS

from fl_deepcabac.cli import main


@pytest.fixture
def npz(tmp_path: Path) -> Path:
    """Return an .npz file of `ARRAYS`."""
    path = tmp_path / "in.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in ARRAYS.items():
            with archive.open(f"{name}.npy", "w") as stream:
                np.lib.format.write_array(stream, array)
    return path


@pytest.fixture
def packed(npz: Path) -> Path:
    """Return the container of `ARRAYS`."""
    path = npz.with_name("in.dcbc")
    assert main(["compress", str(npz), str(path), "--step", "0.002"]) == 0
    return path
