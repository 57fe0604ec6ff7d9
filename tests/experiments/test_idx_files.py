# SPDX-License-Identifier: Apache-2.0
"""The IDX reader and the tasks that are read with it: what they take, and what they refuse."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from fl_deepcabac.experiments import idx_files
from fl_deepcabac.experiments.idx_files import read_idx
from fl_deepcabac.experiments.tasks import DataFileError, get_task

SPLITS = {"train": 12, "t10k": 5}
IDX_TASKS = pytest.mark.parametrize("name", ["fashion-mnist", "mnist"])


def idx_bytes(values: np.ndarray) -> bytes:
    """Return an IDX file of bytes."""
    header = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    return header + values.astype(np.uint8).tobytes()


def zipped(content: bytes) -> bytes:
    # Without a time: test workers that start in different seconds must name the same cases.
    return gzip.compress(content, mtime=0)


def write_files(folder: Path, *, is_zipped: bool = True) -> Path:
    """Write the four files, small."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    for prefix, n_samples in SPLITS.items():
        images = rng.integers(0, 256, (n_samples, 28, 28))
        for name, values in (
            (f"{prefix}-images-idx3-ubyte", images),
            (f"{prefix}-labels-idx1-ubyte", np.arange(n_samples) % 10),
        ):
            content = idx_bytes(values)
            path = folder / (f"{name}.gz" if is_zipped else name)
            path.write_bytes(zipped(content) if is_zipped else content)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_files(tmp_path)


@IDX_TASKS
@pytest.mark.parametrize("is_zipped", [True, False])
def test_task_is_read_from_its_files(name: str, is_zipped: bool, tmp_path: Path) -> None:
    data = get_task(name).load_data(write_files(tmp_path, is_zipped=is_zipped))
    assert (len(data.train), len(data.test)) == (12, 5)
    assert data.train.inputs.shape == (12, 1, 28, 28)
    assert data.train.inputs.dtype == torch.float32
    assert data.train.labels.tolist() == [*range(10), 0, 1]
    assert 0.9 < float(data.train.inputs.max()) <= 1.0
    assert data.parts is data.public is None


@IDX_TASKS
def test_task_knows_where_its_files_are(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idx_files, "SYSTEM_DIR", tmp_path / "system")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with pytest.raises(DataFileError, match=rf"system/{name} or .*home/.*/{name}: expected a f"):
        get_task(name).load_data(None)
    write_files(tmp_path / "home" / ".local" / "share" / "datasets" / name)
    assert len(get_task(name).load_data(None).train) == 12


@IDX_TASKS
def test_missing_folder_and_file_are_named(name: str, folder: Path) -> None:
    task = get_task(name)
    with pytest.raises(DataFileError, match=r"nowhere: expected a folder .* --data-dir"):
        task.load_data(folder / "nowhere")
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataFileError, match=r"t10k-labels.*expected an IDX file, gzipped \(\.gz\)"):
        task.load_data(folder)


def test_images_and_labels_must_match(folder: Path) -> None:
    path = folder / "train-labels-idx1-ubyte.gz"
    path.write_bytes(zipped(idx_bytes(np.zeros(11))))
    with pytest.raises(DataFileError, match=r"expected train images of shape \(11, 28, 28\)"):
        get_task("mnist").load_data(folder)
    path.write_bytes(zipped(idx_bytes(np.full(12, 10))))
    with pytest.raises(DataFileError, match="expected train labels 0 to 9, found 10"):
        get_task("mnist").load_data(folder)


GOOD_FILE = idx_bytes(np.arange(6).reshape(2, 3))


def test_idx_is_read(tmp_path: Path) -> None:
    (tmp_path / "x.gz").write_bytes(zipped(GOOD_FILE))
    (tmp_path / "x").write_bytes(GOOD_FILE)
    for name in ("x.gz", "x"):
        assert read_idx(tmp_path / name, n_axes=2).tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("n_bytes", range(len(GOOD_FILE)))
def test_every_shortened_idx_is_refused(tmp_path: Path, n_bytes: int) -> None:
    (tmp_path / "x.gz").write_bytes(zipped(GOOD_FILE[:n_bytes]))
    (tmp_path / "x").write_bytes(GOOD_FILE[:n_bytes])
    for name in ("x.gz", "x"):
        with pytest.raises(DataFileError, match="expected"):
            read_idx(tmp_path / name, n_axes=2)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no gzip at all",
        zipped(GOOD_FILE)[:-9],
        zipped(GOOD_FILE)[:12] + b"\x00" * 12,
        zipped(GOOD_FILE + b"\x00"),
        zipped(b"\x00\x00\x0d\x02" + GOOD_FILE[4:]),
        zipped(idx_bytes(np.arange(6))),
    ],
)
def test_other_content_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.gz").write_bytes(content)
    with pytest.raises(DataFileError, match=r"x\.gz: expected"):
        read_idx(tmp_path / "x.gz", n_axes=2)


def test_idx_that_is_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match="expected an IDX file, gzipped"):
        read_idx(tmp_path, n_axes=2)
