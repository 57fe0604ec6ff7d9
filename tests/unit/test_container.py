# SPDX-License-Identifier: Apache-2.0
"""Containers: what goes in comes out, and whatever was changed on the way is noticed."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

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


def with_description(description: bytes) -> bytes:
    """Return a container with another description and everything else as it must be."""
    header = struct.pack(
        "<4sB3xIQI", b"DCBC", 1, len(description), len(PACKET), zlib.crc32(description)
    )
    return header + description + PACKET


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
    changed = CONTENT[:4] + b"\x02" + CONTENT[5:]
    with pytest.raises(dc.UnsupportedVersionError, match="upgrade") as info:
        parse_container(changed)
    assert (info.value.found, info.value.supported) == (2, 1)


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
    ],
)
def test_corrupt_container_is_refused(content: bytes, section: str, offset: int) -> None:
    with pytest.raises(dc.CorruptPacketError) as info:
        parse_container(content)
    assert (info.value.section, info.value.offset) == (section, offset)


def test_description_is_readable_json() -> None:
    description = json.loads(CONTENT[DESCRIPTION_START:DESCRIPTION_END])
    assert description["schema"] == [["w", "float32", [2, 3]], ["n", "int64", []]]
    assert description["config"]["step"] == 0.5
