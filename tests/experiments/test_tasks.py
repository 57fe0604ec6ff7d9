# SPDX-License-Identifier: Apache-2.0
"""The tasks: what their data looks like, and what their readers refuse."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from fl_deepcabac.experiments.settings import TASK_NAMES, RunSettings
from fl_deepcabac.experiments.tasks import DataFileError, get_task
from fl_deepcabac.experiments.tasks.fashion_mnist import read_idx

SPLITS = {"train": 12, "t10k": 5}


def idx_bytes(values: np.ndarray) -> bytes:
    """Return an IDX file of bytes."""
    header = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    return header + values.astype(np.uint8).tobytes()


def zipped(content: bytes) -> bytes:
    # Without a time: test workers that start in different seconds must name the same cases.
    return gzip.compress(content, mtime=0)


def write_gzip(path: Path, content: bytes) -> None:
    path.write_bytes(zipped(content))


@pytest.fixture
def fashion_dir(tmp_path: Path) -> Path:
    """Return a folder with the four files, small."""
    rng = np.random.default_rng(0)
    for prefix, n_samples in SPLITS.items():
        images = rng.integers(0, 256, (n_samples, 28, 28))
        write_gzip(tmp_path / f"{prefix}-images-idx3-ubyte.gz", idx_bytes(images))
        labels = np.arange(n_samples) % 10
        write_gzip(tmp_path / f"{prefix}-labels-idx1-ubyte.gz", idx_bytes(labels))
    return tmp_path


@pytest.mark.parametrize("name", TASK_NAMES)
def test_task_is_found_by_its_name(name: str) -> None:
    assert get_task(name).name == name


@pytest.mark.parametrize(
    ("name", "n_weights", "shape"),
    [("digits", 151_306, (1, 8, 8)), ("fashion-mnist", 421_642, (1, 28, 28))],
)
def test_model_takes_the_task_and_scores_ten_classes(
    name: str, n_weights: int, shape: tuple[int, ...]
) -> None:
    model = get_task(name).build_model()
    assert sum(weights.numel() for weights in model.parameters()) == n_weights
    assert model(torch.zeros(3, *shape)).shape == (3, 10)


def test_digits_are_split_once_and_for_all() -> None:
    data = get_task("digits").load_data(None)
    assert (len(data.train), len(data.test)) == (1437, 360)
    assert data.train.inputs.dtype == torch.float32
    assert (float(data.train.inputs.min()), float(data.train.inputs.max())) == (0.0, 1.0)
    assert torch.bincount(data.test.labels).min() >= 34


def test_plan_takes_what_the_settings_say() -> None:
    task = get_task("digits")
    plan = task.plan_for(RunSettings(local_epochs=7, learning_rate=0.5))
    assert (plan.local_epochs, plan.learning_rate) == (7, 0.5)
    assert plan.batch_size == task.plan.batch_size


def test_fashion_mnist_is_read_from_its_files(fashion_dir: Path) -> None:
    data = get_task("fashion-mnist").load_data(fashion_dir)
    assert (len(data.train), len(data.test)) == (12, 5)
    assert data.train.inputs.shape == (12, 1, 28, 28)
    assert data.train.labels.tolist() == [*range(10), 0, 1]
    assert 0.9 < float(data.train.inputs.max()) <= 1.0


def test_missing_folder_and_file_are_named(fashion_dir: Path) -> None:
    task = get_task("fashion-mnist")
    with pytest.raises(DataFileError, match=r"nowhere: expected a folder .* --data-dir"):
        task.load_data(fashion_dir / "nowhere")
    (fashion_dir / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataFileError, match=r"t10k-labels.*expected a gzipped IDX file, found"):
        task.load_data(fashion_dir)


def test_images_and_labels_must_match(fashion_dir: Path) -> None:
    write_gzip(fashion_dir / "train-labels-idx1-ubyte.gz", idx_bytes(np.zeros(11)))
    with pytest.raises(DataFileError, match=r"expected train images of shape \(11, 28, 28\)"):
        get_task("fashion-mnist").load_data(fashion_dir)
    write_gzip(fashion_dir / "train-labels-idx1-ubyte.gz", idx_bytes(np.full(12, 10)))
    with pytest.raises(DataFileError, match="expected train labels 0 to 9, found 10"):
        get_task("fashion-mnist").load_data(fashion_dir)


GOOD_FILE = idx_bytes(np.arange(6).reshape(2, 3))


def test_idx_is_read(tmp_path: Path) -> None:
    write_gzip(tmp_path / "x.gz", GOOD_FILE)
    assert read_idx(tmp_path / "x.gz", n_axes=2).tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("n_bytes", range(len(GOOD_FILE)))
def test_every_shortened_idx_is_refused(tmp_path: Path, n_bytes: int) -> None:
    write_gzip(tmp_path / "x.gz", GOOD_FILE[:n_bytes])
    with pytest.raises(DataFileError, match="expected"):
        read_idx(tmp_path / "x.gz", n_axes=2)


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
    with pytest.raises(DataFileError, match="expected a gzipped IDX file"):
        read_idx(tmp_path, n_axes=2)
