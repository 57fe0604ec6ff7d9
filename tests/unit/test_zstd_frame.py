# SPDX-License-Identifier: Apache-2.0
"""Frames of others: unfolded as far as they say, and no further."""

from __future__ import annotations

import pytest
import zstandard

import fl_deepcabac as dc
from fl_deepcabac.zstd_frame import unfold

CONTENT = bytes(range(200)) * 5
FRAME = zstandard.ZstdCompressor().compress(CONTENT)


def unfolded(frame: bytes, limit: int = 1000) -> bytes:
    return unfold(frame, limit=limit, section="saved state", offset=7)


@pytest.mark.parametrize("content", [CONTENT, b"", b"x"])
def test_content_comes_back(content: bytes) -> None:
    assert unfolded(zstandard.ZstdCompressor().compress(content)) == content


def test_size_is_read_before_the_content() -> None:
    with pytest.raises(dc.LimitExceededError) as info:
        unfolded(FRAME, limit=999)
    assert (info.value.limit, info.value.requested) == (999, 1000)


def test_frame_without_a_size_is_refused() -> None:
    frame = zstandard.ZstdCompressor(write_content_size=False).compress(CONTENT)
    with pytest.raises(dc.CorruptPacketError, match="a frame that states its size") as info:
        unfolded(frame)
    assert (info.value.section, info.value.offset) == ("saved state", 7)


@pytest.mark.parametrize("frame", [b"", b"no frame", FRAME[:-1], FRAME + b"\0", FRAME + FRAME])
def test_broken_frames_are_refused(frame: bytes) -> None:
    with pytest.raises(dc.CorruptPacketError, match="expected one zstandard frame"):
        unfolded(frame)
