# SPDX-License-Identifier: Apache-2.0
"""Tensors exactly as they are, in one zstandard frame of byte planes.

Of every tensor come first all bytes of one place of its elements, then all of the next: signs and
exponents, which repeat, lie together. Invariant: nothing is allocated beyond what the schema says
the tensors take.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import zstandard
from numpy.typing import NDArray

from fl_deepcabac.exact_section import unpack_exact
from fl_deepcabac.schema import Schema

__all__ = ["pack_planes", "unpack_planes"]

ZSTD_LEVEL = 9


def pack_planes(arrays: Mapping[str, NDArray[np.generic]], schema: Schema) -> bytes:
    """Return all tensors of the schema as one frame."""
    planes = []
    for spec in schema.tensors:
        array = np.ascontiguousarray(arrays[spec.name], np.dtype(spec.dtype).newbyteorder("<"))
        own = array.reshape(-1).view(np.uint8).reshape(spec.n_elements, array.dtype.itemsize)
        planes.append(own.T.tobytes())
    return zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress(b"".join(planes))


def unpack_planes(frame: bytes, schema: Schema) -> dict[str, NDArray[np.generic]]:
    """Return the tensors that `pack_planes` packed; new arrays, in native byte order.

    Raises
    ------
    CorruptPacketError, LimitExceededError
        If the frame holds anything but the bytes of the schema.
    """
    raw = unpack_exact(frame, is_squeezed=True, raw_bytes=schema.raw_bytes, offset=0)
    arrays: dict[str, NDArray[np.generic]] = {}
    begin = 0
    for spec in schema.tensors:
        dtype = np.dtype(spec.dtype)
        end = begin + spec.raw_bytes
        planes = np.frombuffer(raw[begin:end], np.uint8).reshape(dtype.itemsize, spec.n_elements)
        own = np.ascontiguousarray(planes.T).reshape(-1).view(dtype.newbyteorder("<"))
        arrays[spec.name] = own.astype(dtype).reshape(spec.shape)
        begin = end
    return arrays
