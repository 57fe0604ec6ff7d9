# SPDX-License-Identifier: Apache-2.0
"""Reader of the four IDX files in which MNIST and the data sets after its pattern come.

An IDX file is two zero bytes, a type, the number of axes, one big-endian 32-bit extent per axis,
and the values; here it may be gzipped. Invariant: whatever is not exactly that is refused with what
was expected and found.
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fl_deepcabac.experiments.tasks import DataFileError, Samples, TaskData

__all__ = ["N_CLASSES", "SIDE", "load_pictures", "read_idx"]

# Where a distribution puts data sets, and where a user does.
SYSTEM_DIR = Path("/usr/share/datasets")
USER_DIR = Path(".local/share/datasets")
IDX_UINT8 = 0x08
SIDE, N_CLASSES = 28, 10


def load_pictures(data_dir: Path | None, *, name: str, source: str) -> TaskData:
    """Read the pictures and labels of both splits.

    Parameters
    ----------
    data_dir : Path, optional
        The folder; None takes the first of ``/usr/share/datasets/NAME`` and
        ``~/.local/share/datasets/NAME`` that is there.
    name : str
        Of the data set.
    source : str
        Half a sentence on where to get it, for whoever has not.

    Returns
    -------
    TaskData
        Inputs of shape (n, 1, 28, 28) from 0 to 1, and classes 0 to 9.

    Raises
    ------
    DataFileError
        If a file is missing or broken, or images and labels do not match.
    """
    usual = (SYSTEM_DIR / name, Path.home() / USER_DIR / name)
    found = [folder for folder in ((data_dir,) if data_dir else usual) if folder.is_dir()]
    if not found:
        places = data_dir or " or ".join(map(str, usual))
        raise DataFileError(
            f"{places}: expected a folder with the four files of {name}, found none; {source}, "
            "--data-dir names another place"
        )
    return TaskData(train=_read_samples(found[0], "train"), test=_read_samples(found[0], "t10k"))


def read_idx(path: Path, *, n_axes: int) -> NDArray[np.uint8]:
    """Read an IDX file of bytes.

    Parameters
    ----------
    path : Path
        Gzipped if its name ends in ``.gz``.
    n_axes : int
        Number of axes it must have.

    Returns
    -------
    ndarray, uint8
        Read-only, in the shape that the file states.

    Raises
    ------
    DataFileError
        If the file cannot be read, is not gzip where its name says so, or its header and length
        disagree.
    """
    is_zipped = path.suffix == ".gz"
    kind = "a gzipped IDX file" if is_zipped else "an IDX file, gzipped (.gz) or not"
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if is_zipped else content
    except FileNotFoundError:
        raise DataFileError(f"{path}: expected {kind}, found nothing there") from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataFileError(f"{path}: expected {kind}, found {error}") from error
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
    images = read_idx(_choose(folder / f"{prefix}-images-idx3-ubyte"), n_axes=3)
    labels = read_idx(_choose(folder / f"{prefix}-labels-idx1-ubyte"), n_axes=1)
    if images.shape != (len(labels), SIDE, SIDE) or not len(labels):
        raise DataFileError(
            f"{folder}: expected {prefix} images of shape {(len(labels), SIDE, SIDE)}, one per "
            f"label, found {images.shape}"
        )
    if labels.max() >= N_CLASSES:
        raise DataFileError(f"{folder}: expected {prefix} labels 0 to 9, found {labels.max()}")
    inputs = torch.from_numpy(images[:, None].astype(np.float32) / np.float32(255))
    return Samples(inputs, torch.from_numpy(labels.astype(np.int64)))


def _choose(path: Path) -> Path:
    """Return the gzipped file if there is one."""
    zipped = path.with_name(f"{path.name}.gz")
    return zipped if zipped.exists() else path
