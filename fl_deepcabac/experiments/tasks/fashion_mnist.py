# SPDX-License-Identifier: Apache-2.0
"""Fashion-MNIST: 70 000 pictures of clothing, 28 x 28 pixels, from its four gzipped IDX files.

An IDX file is two zero bytes, a type, the number of axes, one big-endian 32-bit extent per axis,
and the values. Invariant: whatever is not exactly that is refused with what was expected and found.
"""

from __future__ import annotations

import gzip
import math
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fl_deepcabac.experiments.models import ConvNet
from fl_deepcabac.experiments.tasks import DataFileError, Samples, Task, TaskData, TrainingPlan

__all__ = ["TASK", "read_idx"]

# Where Debian's package dataset-fashion-mnist puts them.
DEFAULT_DIR = Path("/usr/share/datasets/fashion-mnist")
IDX_UINT8 = 0x08
SIDE, N_CLASSES = 28, 10


def read_idx(path: Path, *, n_axes: int) -> NDArray[np.uint8]:
    """Read a gzipped IDX file of bytes.

    Parameters
    ----------
    path : Path
        The ``.gz`` file.
    n_axes : int
        Number of axes it must have.

    Returns
    -------
    ndarray, uint8
        Read-only, in the shape that the file states.

    Raises
    ------
    DataFileError
        If the file cannot be read, is not gzip, or its header and length disagree.
    """
    try:
        with gzip.open(path) as stream:
            content = stream.read()
    except FileNotFoundError:
        raise DataFileError(f"{path}: expected a gzipped IDX file, found nothing there") from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataFileError(f"{path}: expected a gzipped IDX file, found {error}") from error
    magic = bytes([0, 0, IDX_UINT8, n_axes])
    if content[:4] != magic:
        raise DataFileError(
            f"{path}: expected the IDX magic {magic.hex()}, found {content[:4].hex() or 'nothing'}"
        )
    n_header_bytes = 4 + 4 * n_axes
    shape = np.frombuffer(content[4:n_header_bytes].ljust(4 * n_axes, b"\0"), dtype=">u4").tolist()
    if len(content) != n_header_bytes + math.prod(shape):
        raise DataFileError(
            f"{path}: expected {n_header_bytes + math.prod(shape)} bytes for the shape {shape}, "
            f"found {len(content)}"
        )
    return np.frombuffer(content, np.uint8, offset=n_header_bytes).reshape(shape)


def _read_samples(folder: Path, prefix: str) -> Samples:
    """Read the images and labels of one split."""
    images = read_idx(folder / f"{prefix}-images-idx3-ubyte.gz", n_axes=3)
    labels = read_idx(folder / f"{prefix}-labels-idx1-ubyte.gz", n_axes=1)
    if images.shape != (len(labels), SIDE, SIDE) or not len(labels):
        raise DataFileError(
            f"{folder}: expected {prefix} images of shape {(len(labels), SIDE, SIDE)}, one per "
            f"label, found {images.shape}"
        )
    if labels.max() >= N_CLASSES:
        raise DataFileError(f"{folder}: expected {prefix} labels 0 to 9, found {labels.max()}")
    inputs = torch.from_numpy(images[:, None].astype(np.float32) / np.float32(255))
    return Samples(inputs, torch.from_numpy(labels.astype(np.int64)))


def _load_data(data_dir: Path | None) -> TaskData:
    """Read both splits from the folder."""
    folder = DEFAULT_DIR if data_dir is None else data_dir
    if not folder.is_dir():
        raise DataFileError(
            f"{folder}: expected a folder with the four Fashion-MNIST files, found none; Debian's "
            "package dataset-fashion-mnist installs them, --data-dir names another place"
        )
    return TaskData(train=_read_samples(folder, "train"), test=_read_samples(folder, "t10k"))


TASK = Task(
    name="fashion-mnist",
    load_data=_load_data,
    build_model=partial(ConvNet, side=SIDE, n_classes=N_CLASSES, is_pooled_twice=True),
    plan=TrainingPlan(
        local_epochs=1, max_steps=94, batch_size=64, learning_rate=0.03, momentum=0.9
    ),
)
