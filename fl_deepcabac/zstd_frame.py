# SPDX-License-Identifier: Apache-2.0
"""Zstandard frames of others: what one says of its size comes before any memory for it."""

from __future__ import annotations

import zstandard

from fl_deepcabac.errors import CorruptPacketError, LimitExceededError

__all__ = ["unfold"]


def unfold(frame: bytes, *, limit: int, section: str, offset: int) -> bytes:
    """Decompress one frame that states its size.

    Parameters
    ----------
    frame : bytes
        The frame and nothing after it.
    limit : int
        The most bytes that it may hold.
    section : str
        What it is, for errors.
    offset : int
        Where it begins in what was read.

    Returns
    -------
    bytes

    Raises
    ------
    LimitExceededError
        If it states a larger size.
    CorruptPacketError
        If it states none, is broken, or is followed by other bytes.
    """
    try:
        n_bytes = zstandard.frame_content_size(frame)
        if n_bytes > limit:
            raise LimitExceededError(f"{section} bytes", limit=limit, requested=n_bytes)
        if n_bytes < 0:
            raise CorruptPacketError(
                section, offset, expected="a frame that states its size", found="one without"
            )
        # For the library a size of 0 is none; a frame of nothing decompresses to nothing.
        return zstandard.ZstdDecompressor().decompress(
            frame, max_output_size=max(n_bytes, 1), allow_extra_data=False
        )
    except zstandard.ZstdError as error:
        raise CorruptPacketError(
            section, offset, expected="one zstandard frame", found=str(error)
        ) from None
