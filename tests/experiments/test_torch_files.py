# SPDX-License-Identifier: Apache-2.0
"""Files of torch: their weights are read, and nothing in them is run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fl_deepcabac.cli import main
from fl_deepcabac.cli.array_files import ArrayFileError, read_arrays
from fl_deepcabac.experiments.torch_files import TorchFileError, read_torch


def state_dict() -> dict[str, torch.Tensor]:
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3))
    return dict(model.state_dict())


@pytest.mark.parametrize("key", [None, "state_dict", "model_state_dict", "model", "net"])
def test_weights_are_read_wherever_they_are_kept(tmp_path: Path, key: str | None) -> None:
    path, weights = tmp_path / "model.pt", state_dict()
    torch.save(weights if key is None else {"epoch": 3, key: weights}, path)
    found = read_torch(path)
    assert list(found) == list(weights)
    for name, tensor in weights.items():
        np.testing.assert_array_equal(found[name], tensor.numpy())
    assert read_arrays(path)["1.num_batches_tracked"].dtype == np.int64
    assert main(["model", "compress", str(path), str(tmp_path / "model.dcbc")]) == 0


def test_dtypes_that_numpy_lacks_are_widened(tmp_path: Path) -> None:
    values = torch.tensor([0.5, -1.5, 3.0])
    torch.save(
        {
            "b": values.to(torch.bfloat16),
            "h": values.half(),
            "f8": values.to(torch.float8_e4m3fn),
            "sparse": torch.eye(3).to_sparse(),
            "strided": torch.arange(6.0).reshape(2, 3).T,
            "learnt": nn.Parameter(values),
        },
        tmp_path / "x.pth",
    )
    found = read_torch(tmp_path / "x.pth")
    for name in ("b", "f8", "learnt"):
        assert found[name].dtype == np.float32
        np.testing.assert_array_equal(found[name], [0.5, -1.5, 3.0])
    assert found["h"].dtype == np.float16
    np.testing.assert_array_equal(found["sparse"], np.eye(3))
    np.testing.assert_array_equal(found["strided"], [[0, 3], [1, 4], [2, 5]])


class Evil:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize(
    "content",
    [lambda path: {"w": Evil(path / "evil")}, lambda _: nn.Linear(2, 2)],
)
def test_code_in_a_file_is_not_run(tmp_path: Path, content: Any) -> None:
    torch.save(content(tmp_path), tmp_path / "x.pt")
    with pytest.raises(TorchFileError, match="expected weights and nothing else"):
        read_torch(tmp_path / "x.pt")
    assert not (tmp_path / "evil").exists()
    with pytest.raises(ArrayFileError, match=r"x\.pt: expected weights"):
        read_arrays(tmp_path / "x.pt")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (torch.ones(3), "found a Tensor"),
        ([torch.ones(3)], "found a list"),
        ({"w": torch.ones(3), "epoch": 3}, "found 'epoch', a int"),
        ({3: torch.ones(3)}, "found 3, a Tensor"),
    ],
)
def test_other_content_is_named(tmp_path: Path, content: Any, found: str) -> None:
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(TorchFileError, match=found):
        read_torch(tmp_path / "x.pt")


@pytest.mark.parametrize(
    "value",
    [
        torch.ones(3, device="meta"),
    ],
)
def test_values_without_an_array_are_named(tmp_path: Path, value: torch.Tensor) -> None:
    torch.save({"w": torch.ones(2), "odd": value}, tmp_path / "x.pt")
    with pytest.raises(TorchFileError, match="odd"):
        read_torch(tmp_path / "x.pt")


def test_views_that_are_yet_to_be_computed_are(tmp_path: Path) -> None:
    value = torch.tensor([1.0 + 2.0j]).conj().imag
    torch.save({"w": value}, tmp_path / "x.pt")
    np.testing.assert_array_equal(read_torch(tmp_path / "x.pt")["w"], [-2.0])


@pytest.mark.parametrize("content", [b"", b"no torch", b"PK\x03\x04" + bytes(30)])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(TorchFileError):
        read_torch(tmp_path / "x.pt")
