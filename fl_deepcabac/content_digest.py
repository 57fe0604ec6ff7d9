# SPDX-License-Identifier: Apache-2.0
"""What a packet says that it decodes to (spec 8.1).

The CRC-32 tells whether the bytes are those that were sent; this, whether they still mean what they
meant: a packet that was changed and given the checksum it should have decodes to something else.
"""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

from fl_deepcabac import _native

__all__ = ["content_digest"]


def content_digest(values: NDArray[np.float32], exact: bytes) -> int:
    """Return the digest of an update's content.

    Parameters
    ----------
    values : ndarray, float32, shape (n,), C-contiguous
        What the levels stand for, all tensors end to end.
    exact : bytes
        The exact tensors end to end, uncompressed.

    Returns
    -------
    int
        32 bits. Against accidents and mistakes: whoever can write a packet can work it out.

    Notes
    -----
    The GIL is released. Time O(n), below a nanosecond a value.
    """
    return (_native.value_digest(values) + zlib.crc32(exact)) % 2**32
