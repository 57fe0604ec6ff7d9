# SPDX-License-Identifier: Apache-2.0
"""Named arrays in files: NumPy's .npz, safetensors and, to read, torch's, by the name's ending.

Invariant: reading runs no code from the file (no pickle), whatever it holds; writing is atomic, so
a file under the name asked for is always whole.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fl_deepcabac.atomic_file import write_atomically
from fl_deepcabac.errors import DeepCabacError

__all__ = [
    "ArrayFileError",
    "read_arrays",
    "refuse_array_name",
    "require_array_name",
    "require_other_file",
    "write_arrays",
]

Arrays: TypeAlias = dict[str, NDArray[Any]]

_ENDINGS = (".npz", ".safetensors")
_TORCH_ENDINGS = (".pt", ".pth")

# Everything that zipfile and NumPy's reader raise on bytes that are not what they should be.
_NPZ_ERRORS = (
    ValueError,
    EOFError,
    KeyError,
    NotImplementedError,
    RuntimeError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


class ArrayFileError(DeepCabacError, ValueError):
    """A file of arrays is not what its name says, or has no name we know."""


def read_arrays(path: Path) -> Arrays:
    """Read all arrays of an .npz, .safetensors, .pt or .pth file.

    Parameters
    ----------
    path : Path
        Ends as one of them does.

    Returns
    -------
    dict of str to ndarray
        In the order of the file, native byte order. At least one.

    Raises
    ------
    ArrayFileError
        If the ending is another, the content does not match it, or there is no array.
    OSError
        If the file cannot be read.
    ImportError
        If the safetensors package or torch is needed and absent.
    """
    if path.suffix in _TORCH_ENDINGS:
        arrays = _read_torch(path)
    elif path.suffix not in _ENDINGS:
        known = ", ".join((*_ENDINGS, *_TORCH_ENDINGS))
        raise ArrayFileError(f"{path}: expected a name ending in one of {known}")
    else:
        arrays = _pick(path, npz=_read_npz, safetensors=_read_safetensors)(path)
    if not arrays:
        raise ArrayFileError(f"{path}: expected at least one array, found none")
    return {
        name: array.astype(array.dtype.newbyteorder("="), copy=False)
        for name, array in arrays.items()
    }


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays to an .npz or .safetensors file; equal arrays give equal bytes.

    Parameters
    ----------
    path : Path
        Ends in ``.npz`` or ``.safetensors``; replaced if it exists.
    arrays : mapping of str to ndarray

    Raises
    ------
    ArrayFileError
        If the ending is another.
    OSError
        If the file cannot be written.
    ImportError
        If the safetensors package is needed and absent.
    """
    write_atomically(path, _pick(path, npz=_npz_bytes, safetensors=_safetensors_bytes)(arrays))


def require_array_name(path: Path) -> None:
    """Raise `ArrayFileError` unless the name ends as that of a file of arrays does."""
    _pick(path, npz=_read_npz, safetensors=_read_safetensors)


def refuse_array_name(path: Path) -> None:
    """Raise `ArrayFileError` if the name ends as that of a file of arrays does."""
    if path.suffix in _ENDINGS + _TORCH_ENDINGS:
        raise ArrayFileError(
            f"{path}: expected the name of a compressed file, found one ending in {path.suffix}"
        )


def require_other_file(source: Path, target: Path) -> None:
    """Raise `ArrayFileError` if writing the target would overwrite the source."""
    if target.exists() and target.samefile(source):
        raise ArrayFileError(f"{target}: expected another file than {source}, found the same one")


def _pick(path: Path, *, npz: Callable[..., Any], safetensors: Callable[..., Any]) -> Any:
    """Return the function for the ending of the name."""
    if path.suffix == ".npz":
        return npz
    if path.suffix == ".safetensors":
        return safetensors
    raise ArrayFileError(f"{path}: expected a name ending in .npz or .safetensors")


def _read_npz(path: Path) -> Arrays:
    """Read an .npz archive without pickle."""
    content = path.read_bytes()
    if not zipfile.is_zipfile(io.BytesIO(content)):
        raise ArrayFileError(f"{path}: expected an .npz archive, found a file that is none")
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except _NPZ_ERRORS as error:
        raise ArrayFileError(
            f"{path}: expected an .npz archive of plain arrays, found: {error}"
        ) from error
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise ArrayFileError(f"{path}: expected arrays, found {name!r}, which is none")
    return arrays


def _npz_bytes(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Return an .npz archive; zipfile's own default date keeps it the same at any time."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression=zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, np.asanyarray(array), allow_pickle=False)
    return buffer.getvalue()


def _read_torch(path: Path) -> Arrays:
    """Read a state dict."""
    from fl_deepcabac.experiments.torch_files import (  # noqa: PLC0415 (torch, for such files only)
        TorchFileError,
        read_torch,
    )

    try:
        return read_torch(path)
    except TorchFileError as error:
        raise ArrayFileError(f"{path}: {error}") from error


def _read_safetensors(path: Path) -> Arrays:
    """Read a safetensors file."""
    from safetensors import SafetensorError  # noqa: PLC0415 (an extra, needed for such files only)
    from safetensors.numpy import load  # noqa: PLC0415

    try:
        # The package returns them in another order each time, and equal files make equal packets.
        return dict(sorted(load(path.read_bytes()).items()))
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ArrayFileError(
            f"{path}: expected safetensors of NumPy dtypes, found: {error}"
        ) from error


def _safetensors_bytes(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Return a safetensors file."""
    from safetensors.numpy import save  # noqa: PLC0415 (an extra, needed for such files only)

    return bytes(save({name: np.array(array, order="C") for name, array in arrays.items()}))
