# SPDX-License-Identifier: Apache-2.0
"""Every row of the table in spec 11, by a packet built by hand for it.

Where two faults could both be named, the packet holds both, so that the order of the table is
tested too. Each error must say what was expected and what was found, and carry its facts.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
import zstandard
from reference import packet as twin
from reference.arithmetic_coder import Decoder, Encoder
from reference.errors import Rejected
from reference.reconstruction import NO_OFFSETS
from reference.stream import LevelState, StreamState, Tensor
from reference.update_coder import Update, UpdateCoder

import fl_deepcabac as dc
from robustness.crafting import Craft

SCHEMA = dc.Schema.from_arrays({"w": np.zeros((2, 3), np.float32), "i": np.zeros(3, np.uint8)})
NO_EXACT = dc.Schema.from_arrays({"w": np.zeros((2, 3), np.float32)})
CONFIG = dc.CodecConfig(step=0.5)
# Six levels, a table entry for one tensor, header and varint, three exact bytes (spec 9).
LIMIT = 41 + 128 + 3 + 64 * 6


def rejection(
    packet: bytes, error: type[Exception], schema: dc.Schema = SCHEMA, **facts: Any
) -> Exception:
    """Decode on a fresh stream; return the error after checking its class, facts and effect."""
    decoder = dc.UpdateDecoder(schema, CONFIG)
    before = decoder.state_bytes()
    with pytest.raises(error) as caught:
        decoder.decode(packet)
    assert caught.type is error
    assert "expected" in str(caught.value)
    assert "found" in str(caught.value)
    for name, value in facts.items():
        assert getattr(caught.value, name) == value, name
    assert decoder.state_bytes() == before
    return caught.value


def payload_of(levels: list[int], step: int) -> bytes:
    """Return six levels coded by the twin, which checks no bound of levels when it writes."""
    encoder = Encoder()
    coder = UpdateCoder([encoder], LevelState(0, [(2, 3)]))
    update = Update([step], [levels], [NO_OFFSETS])
    # The step is checked as it is coded; its bins are written before.
    if 27 << 23 <= step <= 227 << 23:
        coder.code(update)
    else:
        with pytest.raises(Rejected, match="rule 15"):
            coder.code(update)
    return encoder.finish()


def test_crafted_packet_is_accepted_where_nothing_is_wrong() -> None:
    packet = Craft(SCHEMA, exact=b"\1\2\3").build()
    update = dc.decompress(packet, SCHEMA, CONFIG)
    assert update["i"].tolist() == [1, 2, 3]
    assert not update["w"].any()


def test_rule_1_more_bytes_than_the_schema_allows() -> None:
    packet = Craft(
        SCHEMA,
        magic=b"XXX",  # rule 2 comes later
        exact=b"\1\2\3",
        payload=bytes(LIMIT),
    ).build()
    rejection(packet, dc.LimitExceededError, limit=LIMIT, requested=LIMIT + 40)
    # One byte fewer than too many is no matter of the limit.
    largest = Craft(SCHEMA, exact=b"\1\2\3", payload=bytes(LIMIT - 40)).build()
    rejection(largest, dc.CorruptPacketError, section="payload")


def test_rule_2_magic() -> None:
    packet = Craft(SCHEMA, magic=b"FDS", version=9).build()  # rule 3 comes later
    rejection(packet, dc.CorruptPacketError, section="magic", offset=0)
    rejection(b"G", dc.CorruptPacketError, section="magic", offset=0)


def test_rule_3_version() -> None:
    newer = Craft(SCHEMA, version=2, length=5).build()  # rule 5 comes later
    error = rejection(newer, dc.UnsupportedVersionError, found=2, supported=1)
    assert "upgrade" in str(error)
    rejection(newer[:4], dc.UnsupportedVersionError, found=2, supported=1)  # and rule 4
    zero = Craft(SCHEMA, version=0).build()
    rejection(zero, dc.CorruptPacketError, section="version", offset=3)


def test_rule_4_fewer_bytes_than_a_header() -> None:
    packet = Craft(SCHEMA, exact=b"\1\2\3", length=31).build()  # rule 5 comes later
    rejection(packet[:35], dc.TruncatedPacketError, needed=36, available=35)
    rejection(b"", dc.TruncatedPacketError, needed=36, available=0)


def test_rule_5_length() -> None:
    longer = Craft(SCHEMA, exact=b"\1\2\3", length=41, crc32=0).build()  # rule 6 comes later
    rejection(longer, dc.TruncatedPacketError, needed=41, available=40)
    shorter = Craft(SCHEMA, exact=b"\1\2\3", length=39, crc32=0).build()
    rejection(shorter, dc.CorruptPacketError, section="length", offset=4)


def test_rule_6_checksum() -> None:
    packet = Craft(SCHEMA, crc32=1, flags=0xFF, exact=b"\1\2\3").build()  # rule 7 comes later
    rejection(packet, dc.CorruptPacketError, section="CRC-32", offset=8)


@pytest.mark.parametrize("flags", [0x15, 0x25, 0x45, 0x85, 0x09])
def test_rule_7_flags(flags: int) -> None:
    packet = Craft(
        SCHEMA,
        flags=flags,  # one reserved bit, or zstandard without an exact section
        exact_length=b"\x80\x00",  # rule 8 comes later
        exact=b"\1\2\3",
    ).build()
    rejection(packet, dc.CorruptPacketError, section="flags", offset=12)


@pytest.mark.parametrize(
    ("length", "error"),
    [
        (b"\x83", dc.TruncatedPacketError),  # goes on past the packet
        (b"\x83\x00", dc.CorruptPacketError),  # 3 in two bytes
        (b"\x80\x80\x80\x80\x80\x01", dc.CorruptPacketError),  # six bytes
        (b"\x04", dc.TruncatedPacketError),  # three bytes follow
    ],
)
def test_rule_8_exact_length(length: bytes, error: type[Exception]) -> None:
    content = b"" if length == b"\x83" else b"\1\2\3"
    packet = Craft(
        SCHEMA,
        schema_digest=bytes(8),  # rule 9 comes later
        exact_length=length,
        exact=content,
    ).build()
    found = rejection(packet, error)
    if isinstance(found, dc.CorruptPacketError):
        assert (found.section, found.offset) == ("exact section", 36)


def test_rule_9_schema() -> None:
    packet = Craft(SCHEMA, schema_digest=NO_EXACT.digest, exact=b"\1\2").build()  # rule 10 later
    error = rejection(packet, dc.SchemaMismatchError)
    assert SCHEMA.digest.hex() in str(error)
    assert NO_EXACT.digest.hex() in str(error)


@pytest.mark.parametrize(
    ("flags", "exact"),
    [
        (0x01, b""),  # section missing
        (0x05, b"\1\2"),  # too short
        (0x05, b"\1\2\3\4"),  # too long
        (0x0D, b"\1\2\3"),  # no frame
        (0x0D, zstandard.compress(b"\1\2\3") + b"\0"),  # bytes behind the frame
        (0x0D, zstandard.compress(b"\1\2\3")[:-1]),  # frame cut
        (0x0D, zstandard.compress(b"\1\2")),  # states a smaller size
        (0x0D, zstandard.ZstdCompressor(write_content_size=False).compress(b"\1\2\3")),
        (0x0D, struct.pack("<II", 0x184D2A50, 3) + b"\1\2\3"),  # a skippable frame
    ],
)
def test_rule_10_exact_section(flags: int, exact: bytes) -> None:
    packet = Craft(
        SCHEMA,
        flags=flags | 0x02,  # rule 11 comes later
        base_digest=bytes([1] * 8),  # and rule 12
        exact=exact,
    ).build()
    rejection(packet, dc.CorruptPacketError, section="exact section")


def test_rule_10_frame_of_a_larger_size() -> None:
    frame = zstandard.compress(bytes(1000))
    packet = Craft(SCHEMA, flags=0x0F, exact=frame).build()
    rejection(packet, dc.LimitExceededError, limit=3, requested=1000)


@pytest.mark.parametrize(
    ("flags", "exact", "length"), [(0x05, b"", b"\0"), (0x0D, zstandard.compress(b""), None)]
)
def test_rule_10_exact_section_without_need(flags: int, exact: bytes, length: bytes | None) -> None:
    packet = Craft(NO_EXACT, flags=flags, exact=exact, exact_length=length).build()
    rejection(packet, dc.CorruptPacketError, NO_EXACT, section="exact section")


def test_rule_11_profile() -> None:
    packet = Craft(SCHEMA, flags=0x07, exact=b"\1\2\3").build()  # its base digest is rule 12
    rejection(packet, dc.ConfigError, field="profile")


def test_rule_12_state() -> None:
    packet = Craft(
        SCHEMA,
        flags=0x04,  # rule 13 comes later
        base_digest=b"12345678",
        exact=b"\1\2\3",
    ).build()
    ours = dc.UpdateDecoder(SCHEMA, CONFIG).state_digest
    rejection(packet, dc.StateMismatchError, expected=ours, found=b"12345678")


@pytest.mark.parametrize(("flags", "number"), [(0x04, 0), (0x05, 1), (0x04, 1)])
def test_rule_13_place_in_the_stream(flags: int, number: int) -> None:
    packet = Craft(
        SCHEMA,
        flags=flags,
        number=number,
        exact=b"\1\2\3",
        payload=payload_of([1] * 6, 1),  # rule 15 comes later
    ).build()
    rejection(packet, dc.CorruptPacketError, section="flags and sequence number", offset=12)


@pytest.mark.parametrize("rest", [b"", b"\0", b"\xff" * 9])
def test_rule_14_codeword_outside_the_first_interval(rest: bytes) -> None:
    packet = Craft(SCHEMA, exact=b"\1\2\3", payload=b"\xff" * 8 + rest).build()
    error = rejection(packet, dc.CorruptPacketError, section="payload", offset=40)
    assert "first interval" in str(error)
    with pytest.raises(Rejected, match="rule 14"):
        Decoder(b"\xff" * 8 + rest)
    # One less is a number inside.
    inside = Craft(SCHEMA, exact=b"\1\2\3", payload=b"\xff" * 7 + b"\xfe" + rest).build()
    with pytest.raises(dc.DecodeError, match="payload") as caught:
        dc.decompress(inside, SCHEMA, CONFIG)
    assert "first interval" not in str(caught.value)


@pytest.mark.parametrize("step", [0, 1, (27 << 23) - 1, (227 << 23) + 1, 0x7F800000, 0x7FC00000])
def test_rule_15_step(step: int) -> None:
    packet = Craft(SCHEMA, exact=b"\1\2\3", payload=payload_of([1] * 6, step)).build()
    error = rejection(packet, dc.CorruptPacketError, section="payload")
    assert isinstance(error, dc.CorruptPacketError)
    assert 40 <= error.offset <= len(packet)
    assert "step" in str(error)


def test_rule_16_payload_cut_or_continued() -> None:
    payload = payload_of([3, -1, 2, 100, -7, 1], 0x3F000000)
    whole = Craft(SCHEMA, exact=b"\1\2\3", payload=payload).build()
    assert dc.decompress(whole, SCHEMA, CONFIG)["w"].tolist() == [[1.5, -0.5, 1], [50, -3.5, 0.5]]
    # The zeros read behind the end are ones to the coder: each level to come is as long as can be.
    largest = payload_of([1 << 24] * 6, 0x3F000000)
    cut = Craft(SCHEMA, exact=b"\1\2\3", payload=largest[:8]).build()
    error = rejection(cut, dc.TruncatedPacketError)
    assert isinstance(error, dc.TruncatedPacketError)
    assert error.available == 8
    longer = Craft(SCHEMA, exact=b"\1\2\3", payload=payload + b"\1\2\3\4").build()
    rejection(longer, dc.CorruptPacketError, section="payload")


@pytest.mark.parametrize("payload", [b"\0", b"\0\0\0\0", b"\1\2\3\4\5"])
def test_rule_16_payload_without_bins(payload: bytes) -> None:
    schema = dc.Schema.from_arrays({"i": np.zeros(3, np.uint8), "w": np.zeros((0, 2), np.float32)})
    packet = Craft(schema, exact=b"\1\2\3", payload=payload).build()
    rejection(packet, dc.CorruptPacketError, schema, section="payload")


@pytest.mark.parametrize("level", [(1 << 24) + 1, -(1 << 24) - 1, (1 << 25) + 9])
def test_rule_17_level(level: int) -> None:
    payload = payload_of([0, 0, level, 0, 0, 1], 0x3F000000)
    packet = Craft(SCHEMA, exact=b"\1\2\3", payload=payload).build()
    error = rejection(packet, dc.CorruptPacketError, section="payload")
    assert "2**24" in str(error)
    # Rule 16 comes first.
    longer = Craft(SCHEMA, exact=b"\1\2\3", payload=payload + b"\1\2\3\4").build()
    assert "2**24" not in str(rejection(longer, dc.CorruptPacketError, section="payload"))


def test_largest_levels_are_accepted() -> None:
    payload = payload_of([1 << 24, -(1 << 24), 0, 0, 0, 0], 227 << 23)
    packet = Craft(SCHEMA, exact=b"\1\2\3", payload=payload).build()
    assert dc.decompress(packet, SCHEMA, CONFIG)["w"][0].tolist() == [2.0**124, -(2.0**124), 0]


@pytest.mark.parametrize("n_surplus", [1, 2, 4, 5, 100])
def test_rule_16_surplus_zero_bytes(n_surplus: int) -> None:
    payload = payload_of([1, 0, 0, 0, 0, 0], 0x3F000000) + bytes(n_surplus)
    packet = Craft(SCHEMA, exact=b"\1\2\3", payload=payload).build()
    rejection(packet, dc.CorruptPacketError, section="payload")


def test_rule_16_other_ending() -> None:
    payload = payload_of([5, -3, 2, 7, -1, 4], 0x3F000000)
    verdicts = set()
    n_accepted = 0
    for byte in set(range(256)) - {payload[-1]}:
        other = payload[:-1] + bytes([byte])
        packet = Craft(SCHEMA, exact=b"\1\2\3", payload=other).build()
        try:
            dc.decompress(packet, SCHEMA, CONFIG)
        except dc.DecodeError as error:
            verdicts.add(str(error))
        else:
            n_accepted += 1
    # Another number may stand for other bins, which say something else, or the same in another way:
    # here that offsets are copied from no tensor, where an encoder says that they are kept.
    assert n_accepted < 128
    assert any("the shortest ending" in verdict for verdict in verdicts)


@pytest.mark.parametrize("is_squeezed", [False, True])
def test_rule_10_bool_other_than_0_and_1(is_squeezed: bool) -> None:
    schema = dc.Schema.from_arrays({"mask": np.zeros(100, np.bool_)})
    exact = b"\0\1\2\1" + bytes(96)
    flags = 0x0D if is_squeezed else 0x05
    stored = zstandard.compress(exact) if is_squeezed else exact
    packet = Craft(schema, flags=flags, exact=stored).build()
    rejection(packet, dc.CorruptPacketError, schema, section="exact section")


def test_twin_and_craft_build_the_same_packet() -> None:
    tensors = [Tensor("w", "float32", (2, 3)), Tensor("i", "uint8", (3,))]
    levels = [1, 0, 0, -2, 0, 0]
    packet, _ = twin.encode(StreamState(tensors, 0), b"\1\2\3", [0x3F000000], [levels])
    assert packet == Craft(SCHEMA, exact=b"\1\2\3", payload=payload_of(levels, 0x3F000000)).build()


@pytest.mark.parametrize("name", ["value", "exact"])
def test_rule_19_content(name: str) -> None:
    packet = Craft(SCHEMA, exact=b"\1\2\3").build()
    content = int.from_bytes(packet[32:36], "little")
    other = Craft(SCHEMA, exact=b"\1\2\3", content=content ^ 1).build()
    if name == "exact":
        other = Craft(SCHEMA, exact=b"\1\2\4", content=content).build()
    rejection(other, dc.CorruptPacketError, section="content digest", offset=32)
