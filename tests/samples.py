# SPDX-License-Identifier: Apache-2.0
"""Inputs that are the same for ever: made by an integer recurrence, never by a random generator.

Golden files depend on these functions, so they must not change; add another one instead.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

MASK = (1 << 64) - 1


def draws(seed: int) -> Iterator[int]:
    """Yield 32-bit numbers: the upper half of Knuth's 64-bit linear congruential sequence."""
    x = seed & MASK
    while True:
        x = (x * 6364136223846793005 + 1442695040888963407) & MASK
        yield x >> 32


def sample_levels(seed: int, n: int, *, per_cent: int, largest: int) -> list[int]:
    """Return `n` levels, about `per_cent` of them not zero, small ones likelier than large ones."""
    source = draws(seed)
    levels = []
    for _ in range(n):
        chance, size, shift, sign = (next(source) for _ in range(4))
        level = 1 + size % largest >> shift % 8 if chance % 100 < per_cent else 0
        levels.append(-level if sign & 1 else level)
    return levels


def sample_values(
    seed: int, shape: tuple[int, ...], dtype: str, *, bits: int
) -> NDArray[np.generic]:
    """Return dyadic numbers within +-2, exact in the dtype if it has `bits` bits of mantissa."""
    n = int(np.prod(shape, dtype=np.int64))
    levels = sample_levels(seed, n, per_cent=60, largest=1 << (bits + 1))
    return (np.array(levels, np.float64) / (1 << bits)).reshape(shape).astype(dtype)


def sample_integers(seed: int, shape: tuple[int, ...], dtype: str) -> NDArray[np.generic]:
    """Return integers, or booleans, over the whole range of the dtype."""
    n = int(np.prod(shape, dtype=np.int64))
    source = draws(seed)
    wide = np.array([next(source) << 32 | next(source) for _ in range(n)], np.uint64)
    if dtype == "bool":
        return (wide & np.uint64(1)).astype(bool).reshape(shape)
    itemsize = np.dtype(dtype).itemsize
    narrow = (wide >> np.uint64(64 - 8 * itemsize)).astype(f"uint{8 * itemsize}")
    return narrow.view(dtype).reshape(shape)


def sample_update(seed: int) -> dict[str, NDArray[np.generic]]:
    """Return an update with every dtype, rank and odd extent."""
    return {
        "conv": sample_values(seed + 1, (4, 3, 3, 3), "float32", bits=10),
        "steps": np.array(seed, np.int64),
        "half": sample_values(seed + 2, (3, 11), "float16", bits=6),
        "double": sample_values(seed + 3, (70,), "float64", bits=12),
        "column": sample_values(seed + 4, (9, 1), "float32", bits=8),
        "row": sample_values(seed + 5, (1, 9), "float32", bits=8),
        "zeros": np.zeros((2, 5), np.float32),
        "nothing": np.zeros((0, 3), np.float32),
        "scalar": np.array(seed / 8, np.float32),
        **{
            f"exact {dtype}": sample_integers(seed + 6, (5,), dtype)
            for dtype in (
                ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
            )
        },
    }


def copied(update: dict[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
    """Return an update of copies."""
    return {name: array.copy() for name, array in update.items()}


def assert_same(one: dict[str, NDArray[np.generic]], two: dict[str, NDArray[np.generic]]) -> None:
    """Demand equal names in order, dtypes, shapes and bytes."""
    assert list(one) == list(two)
    for name, array in one.items():
        assert array.dtype == two[name].dtype, name
        assert array.shape == two[name].shape, name
        assert array.tobytes() == two[name].tobytes(), name
