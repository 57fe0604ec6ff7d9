# SPDX-License-Identifier: Apache-2.0
"""Memory is bounded by the schema, whatever the bytes claim (spec 2.1, 9)."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from collections.abc import Callable

import numpy as np
import pytest
import zstandard

import fl_deepcabac as dc
from robustness.crafting import Craft

BUDGET = 1_000_000
SCHEMA = dc.Schema.from_arrays({"w": np.zeros((30, 30), np.float32), "i": np.zeros(50, np.int64)})
CONFIG = dc.CodecConfig(step=0.5)


def peak_bytes(call: Callable[[], object], error: type[Exception]) -> int:
    with pytest.raises(error):  # once beforehand, so that imports and caches are not counted
        call()
    tracemalloc.start()
    try:
        with pytest.raises(error):
            call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def frame_claiming(n_bytes: int, content: bytes) -> bytes:
    """A zstandard frame whose header states any content size: magic, descriptor, size, block."""
    header = b"\x28\xb5\x2f\xfd" + bytes([0xE0]) + struct.pack("<Q", n_bytes)
    raw_last_block = struct.pack("<I", len(content) << 3 | 1)[:3]
    return header + raw_last_block + content


def test_frame_claiming_a_terabyte_costs_nothing() -> None:
    frame = frame_claiming(1 << 40, bytes(400))
    assert zstandard.frame_content_size(frame) == 1 << 40
    packet = Craft(SCHEMA, exact=frame, flags=0x0D).build()
    peak = peak_bytes(lambda: dc.decompress(packet, SCHEMA, CONFIG), dc.LimitExceededError)
    assert peak < BUDGET


def test_frame_that_hides_its_size_costs_nothing() -> None:
    squeezed = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(1 << 26))
    packet = Craft(SCHEMA, exact=squeezed, flags=0x0D).build()
    peak = peak_bytes(lambda: dc.decompress(packet, SCHEMA, CONFIG), dc.CorruptPacketError)
    assert peak < BUDGET


def test_frame_that_holds_more_than_it_states_costs_nothing() -> None:
    honest = zstandard.ZstdCompressor().compress(bytes(1 << 26))
    # The frame's own block follows, under a header that states the schema's 400 bytes.
    parameters = zstandard.get_frame_parameters(honest)
    assert parameters.content_size == 1 << 26
    lying = frame_claiming(400, b"")[:13] + honest[4 + 1 + 4 :]
    packet = Craft(SCHEMA, exact=lying, flags=0x0D).build()
    peak = peak_bytes(lambda: dc.decompress(packet, SCHEMA, CONFIG), dc.CorruptPacketError)
    assert peak < BUDGET


@pytest.mark.parametrize("field", [b"\xff\xff\xff\xff\x0f", b"\xff\xff\xff\xff\x7f"])
def test_huge_exact_length_costs_nothing(field: bytes) -> None:
    packet = Craft(SCHEMA, exact_length=field, exact=bytes(400)).build()
    peak = peak_bytes(lambda: dc.decompress(packet, SCHEMA, CONFIG), dc.TruncatedPacketError)
    assert peak < BUDGET


def test_huge_packet_length_costs_nothing() -> None:
    packet = Craft(SCHEMA, exact=bytes(400), length=0xFFFFFFFF).build()
    peak = peak_bytes(lambda: dc.decompress(packet, SCHEMA, CONFIG), dc.TruncatedPacketError)
    assert peak < BUDGET


def test_saved_state_claiming_a_terabyte_costs_nothing() -> None:
    saved = dc.UpdateEncoder(SCHEMA, CONFIG).state_bytes()
    body = frame_claiming(1 << 40, b"x")
    head = saved[:5] + struct.pack("<Q", 41 + len(body)) + saved[13:37]
    crc32 = struct.pack("<I", zlib.crc32(head + bytes(4) + body))
    decoder = dc.UpdateDecoder(SCHEMA, CONFIG)
    load = lambda: decoder.load_state(head + crc32 + body)  # noqa: E731
    assert peak_bytes(load, dc.LimitExceededError) < BUDGET


def test_payload_of_the_largest_levels_stays_within_the_limit() -> None:
    # Spec 9: 64 bytes a level and 128 a tensor are enough for the worst an encoder can meet. After
    # many zeros every context is sure of zeros, and then every level is as large as can be.
    shape = (64,)
    schema = dc.Schema.from_arrays({"w": np.zeros(shape, np.float32)})
    config = dc.CodecConfig(step=1.0, quantizer="uniform")
    encoder = dc.UpdateEncoder(schema, config)
    one = np.zeros(shape, np.float32)
    one[0] = 1
    for _ in range(150):
        encoder.encode({"w": one})
    signs = np.where(np.arange(64) % 2 == 0, -1, 1).astype(np.float32)
    encoded = encoder.encode({"w": signs * np.float32(1 << 24)})
    assert len(encoded.packet) <= 37 + 128 + 64 * 64
    assert len(encoded.packet) > 64 * 3
