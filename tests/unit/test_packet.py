# SPDX-License-Identifier: Apache-2.0
"""The packet: its fields where the document puts them, and what `inspect_packet` reads."""

from __future__ import annotations

import dataclasses
import struct
import zlib

import numpy as np
import pytest
from strategies import PROFILES

import fl_deepcabac as dc
from fl_deepcabac.packet import parse_packet, write_packet

UPDATE = {"w": np.arange(-6, 6, dtype=np.float32), "i": np.arange(3, dtype=np.uint8)}
SCHEMA = dc.Schema.from_arrays(UPDATE)


@pytest.mark.parametrize("profile", PROFILES)
def test_packet_fields_stand_where_the_document_says(profile: str) -> None:
    encoder = dc.UpdateEncoder(SCHEMA, dc.CodecConfig(step=1.0, profile=profile))
    is_max = 2 * (profile == "max")
    for number in range(3):
        base = encoder.state_digest
        packet = encoder.encode(UPDATE).packet
        assert packet[:3] == b"FDC"
        assert packet[3] == dc.FORMAT_VERSION == 1
        assert struct.unpack_from("<I", packet, 4) == (len(packet),)
        blank = packet[:8] + bytes(4) + packet[12:]
        assert struct.unpack_from("<I", packet, 8) == (zlib.crc32(blank),)
        assert packet[12] == (number == 0) | is_max | 4
        assert int.from_bytes(packet[13:16], "little") == number
        assert packet[16:24] == SCHEMA.digest
        assert packet[24:32] == base
        assert packet[36:40] == b"\x03\x00\x01\x02"


def test_inspect_packet_reads_the_header_without_a_schema() -> None:
    encoder = dc.UpdateEncoder(SCHEMA, dc.CodecConfig(step=1.0, profile="max"))
    fresh = encoder.state_digest
    packet = encoder.encode(UPDATE).packet
    header = dc.inspect_packet(packet)
    assert dataclasses.asdict(header) == {
        "version": 1,
        "is_fresh": True,
        "profile": "max",
        "total_bytes": len(packet),
        "sequence_number": 0,
        "schema_digest": SCHEMA.digest,
        "base_state_digest": fresh,
        "content_digest": int.from_bytes(packet[32:36], "little"),
        "exact_bytes": 4,
        "payload_bytes": len(packet) - 40,
        "crc32": int.from_bytes(packet[8:12], "little"),
    }
    second = dc.inspect_packet(encoder.encode(UPDATE).packet)
    assert (second.is_fresh, second.sequence_number) == (False, 1)


@pytest.mark.parametrize("packet", [None, "FDC", bytearray(40), memoryview(bytes(40)), 7])
def test_inspect_packet_refuses_what_is_no_bytes(packet: object) -> None:
    with pytest.raises(TypeError, match="packet: expected bytes, found"):
        dc.inspect_packet(packet)


def written(exact: bytes, payload: bytes = b"", number: int = 0) -> bytes:
    schema = dc.Schema.from_arrays({"i": np.frombuffer(exact, np.uint8)})
    return write_packet(
        schema=schema,
        profile="fast",
        base_state_digest=b"12345678",
        sequence_number=number,
        is_fresh=False,
        content_digest=0,
        exact=exact,
        payload=payload,
    )


@pytest.mark.parametrize("n_bytes", [1, 127, 128, 16383, 16384, 40000])
@pytest.mark.parametrize("is_dull", [True, False])
def test_exact_bytes_round_trip_whichever_way_is_shorter(n_bytes: int, is_dull: bool) -> None:
    source = np.arange(n_bytes, dtype=np.uint32)
    noise = ((source * np.uint32(2654435761)) >> np.uint32(24)).astype(np.uint8)
    exact = bytes(n_bytes) if is_dull else noise.tobytes()
    packet = written(exact)
    schema = dc.Schema.from_arrays({"i": np.frombuffer(exact, np.uint8)})
    assert parse_packet(packet, schema).exact == exact
    assert len(packet) <= 36 + 3 + n_bytes
    if is_dull and n_bytes > 100:
        assert len(packet) < 70
        assert packet[12] & 8


def test_sequence_number_wraps_at_24_bits() -> None:
    header = dc.inspect_packet(written(b"\1", number=(1 << 24) + 5))
    assert header.sequence_number == 5
    assert not header.is_fresh


def test_update_without_content_costs_a_header() -> None:
    empty = dc.Schema.from_arrays({})
    packet = dc.compress({}, dc.CodecConfig())
    assert len(packet) == 36
    assert dc.decompress(packet, empty, dc.CodecConfig()) == {}
    assert len(dc.compress({"w": np.zeros((0, 3), np.float32)}, dc.CodecConfig())) == 36


def test_update_of_zeros_costs_a_header() -> None:
    assert len(dc.compress({"w": np.zeros((30, 30), np.float32)}, dc.CodecConfig())) == 36
