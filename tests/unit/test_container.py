# SPDX-License-Identifier: Apache-2.0
"""Containers: what goes in comes out, and whatever was changed on the way is noticed."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard

import fl_deepcabac as dc
from fl_deepcabac.container import (
    container_bytes,
    is_container,
    parse_container,
    read_container,
    write_container,
)

CONFIG = dc.CodecConfig(step=0.5, profile="max")
UPDATE = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "n": np.array(7)}
SCHEMA = dc.Schema.from_arrays(UPDATE)
PACKET = dc.compress(UPDATE, CONFIG)
CONTENT = container_bytes(PACKET, SCHEMA, CONFIG)
DESCRIPTION_START = 24
DESCRIPTION_END = len(CONTENT) - len(PACKET)


def with_description(description: bytes, version: int = 1) -> bytes:
    """Return a container with another description and everything else as it must be."""
    header = struct.pack(
        "<4sB3xIQI", b"DCBC", version, len(description), len(PACKET), zlib.crc32(description)
    )
    return header + description + PACKET


def framed(text: bytes, *, states_size: bool = True) -> bytes:
    """Return a container of today with this text for its description."""
    compressor = zstandard.ZstdCompressor(write_content_size=states_size)
    return with_description(compressor.compress(text), 2)


def test_container_returns_what_was_written(tmp_path: Path) -> None:
    write_container(tmp_path / "x.dcbc", PACKET, SCHEMA, CONFIG)
    assert read_container(tmp_path / "x.dcbc") == (PACKET, SCHEMA, CONFIG)
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.dcbc"]


def test_container_is_told_from_a_packet() -> None:
    assert is_container(CONTENT)
    assert not is_container(PACKET)


@pytest.mark.parametrize("n_bytes", range(len(CONTENT)))
def test_every_prefix_is_truncated(n_bytes: int) -> None:
    with pytest.raises(dc.TruncatedPacketError) as info:
        parse_container(CONTENT[:n_bytes])
    assert info.value.available == n_bytes < info.value.needed


def test_every_flipped_bit_before_the_packet_is_noticed() -> None:
    for position in range(DESCRIPTION_END):
        for bit in range(8):
            changed = bytearray(CONTENT)
            changed[position] ^= 1 << bit
            with pytest.raises(dc.DecodeError):
                parse_container(bytes(changed))


def test_newer_version_asks_for_an_upgrade() -> None:
    changed = CONTENT[:4] + b"\x03" + CONTENT[5:]
    with pytest.raises(dc.UnsupportedVersionError, match="upgrade") as info:
        parse_container(changed)
    assert (info.value.found, info.value.supported) == (3, 2)


@pytest.mark.parametrize(
    ("content", "section", "offset"),
    [
        (b"PK\x03\x04" + CONTENT[4:], "container magic", 0),
        (CONTENT[:4] + b"\x00" + CONTENT[5:], "container version", 4),
        (CONTENT[:7] + b"\x01" + CONTENT[8:], "container version", 4),
        (CONTENT + b"\x00", "container end", len(CONTENT)),
        (with_description(b"no json"), "container description", DESCRIPTION_START),
        (with_description(b"[]"), "container description", DESCRIPTION_START),
        (with_description(b"{}"), "container description", DESCRIPTION_START),
        (with_description(b"\xff"), "container description", DESCRIPTION_START),
        (with_description(b'{"config":{},"schema":7}'), "container description", DESCRIPTION_START),
        (with_description(b'{"config":{"step":-1},"schema":[]}'), "container description", 24),
        (with_description(b"[" * 100_000), "container description", DESCRIPTION_START),
        (with_description(b"no frame", 2), "container description", DESCRIPTION_START),
        (framed(b""), "container description", DESCRIPTION_START),
        (framed(b"{}"), "container description", DESCRIPTION_START),
        (framed(b"{}", states_size=False), "container description", DESCRIPTION_START),
        (framed(b'{"config":{"step":-1},"schema":[]}'), "container description", 24),
    ],
)
def test_corrupt_container_is_refused(content: bytes, section: str, offset: int) -> None:
    with pytest.raises(dc.CorruptPacketError) as info:
        parse_container(content)
    assert (info.value.section, info.value.offset) == (section, offset)


def test_description_larger_than_any_takes_no_memory() -> None:
    with pytest.raises(dc.LimitExceededError) as info:
        parse_container(framed(bytes(2**24 + 1)))
    assert (info.value.limit, info.value.requested) == (2**24, 2**24 + 1)


def test_description_is_readable_json() -> None:
    frame = CONTENT[DESCRIPTION_START:DESCRIPTION_END]
    description = json.loads(zstandard.ZstdDecompressor().decompress(frame))
    assert description["schema"] == [["w", "float32", [2, 3]], ["n", "int64", []]]
    assert description["config"] == {"step": 0.5, "profile": "max"}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"relative_step": 1.0},
        {"relative_step": 2.0},
        {"step": 1.0},
        {"target_bytes": 9, "threads": 3},
        {"target_bits_per_weight": 0.5, "step_overrides": {"w": 0.5}},
    ],
)
def test_settings_return_as_they_were(settings: dict[str, Any]) -> None:
    config = dc.CodecConfig(**settings)
    assert parse_container(container_bytes(PACKET, SCHEMA, config))[2] == config


def test_containers_of_version_1_are_read() -> None:
    values = {"config": json.loads(CONFIG.to_json()), "schema": json.loads(SCHEMA.to_json())}
    old = with_description(json.dumps(values).encode())
    assert parse_container(old) == (PACKET, SCHEMA, CONFIG)
