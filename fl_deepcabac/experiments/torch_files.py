# SPDX-License-Identifier: Apache-2.0
"""Weights in files of torch: those of a state dict, and no code.

Invariant: `torch.load` is asked for weights only, so a file that would run anything is refused.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["TorchFileError", "read_torch"]

# Under which key training scripts put the state dict beside other things.
_KEYS = ("state_dict", "model_state_dict", "model_state", "model", "net")


class TorchFileError(ValueError):
    """A file of torch holds no weights by name."""


def read_torch(path: Path) -> dict[str, NDArray[Any]]:
    """Read the state dict in a ``.pt`` or ``.pth`` file.

    Parameters
    ----------
    path : Path

    Returns
    -------
    dict of str to ndarray
        In the order of the file; bfloat16 as float32.

    Raises
    ------
    TorchFileError
        If the file holds anything else, such as a whole module.
    OSError
        If the file cannot be read.
    """
    content = io.BytesIO(path.read_bytes())
    try:
        loaded = torch.load(content, map_location="cpu", weights_only=True)
    except Exception as error:  # of any kind, by what the bytes happen to be
        reason = str(error).partition("\n")[0]
        raise TorchFileError(f"expected weights and nothing else, found: {reason}") from None
    for key in _KEYS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
            break
    if not isinstance(loaded, Mapping) or not all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in loaded.items()
    ):
        raise TorchFileError(f"expected tensors by name, found {_described(loaded)}")
    return {name: _to_numpy(name, value) for name, value in loaded.items()}


def _to_numpy(name: str, value: torch.Tensor) -> NDArray[Any]:
    """Return a tensor as an array; dtypes that NumPy lacks widened."""
    try:
        return _array_of(value.detach())
    except (TypeError, RuntimeError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0]
        raise TorchFileError(
            f"tensor {name!r}: expected values that NumPy can hold, found {value.dtype}: {reason}"
        ) from None


def _array_of(value: torch.Tensor) -> NDArray[Any]:
    dense = value if value.layout is torch.strided else value.to_dense()
    dense = dense.resolve_conj().resolve_neg()
    is_foreign = dense.dtype == torch.bfloat16 or "float8" in str(dense.dtype)
    return np.ascontiguousarray((dense.float() if is_foreign else dense).numpy())


def _described(loaded: object) -> str:
    """Say what a file holds instead."""
    if not isinstance(loaded, Mapping):
        return f"a {type(loaded).__name__}"
    return next(
        f"{name!r}, a {type(value).__name__}"
        for name, value in loaded.items()
        if not isinstance(name, str) or not isinstance(value, torch.Tensor)
    )
