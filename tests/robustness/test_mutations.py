# SPDX-License-Identifier: Apache-2.0
"""Packets changed in every way that comes to mind, most with length and checksum put right again.

Each raises one of our errors, or decodes to what it meant before: never to anything else. None
takes three times as long as the packet it was, nor more memory than the model and 16 MiB (what the
core takes is counted by native/tests/test_decode_memory.cpp).
"""

from __future__ import annotations

import random
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import pytest
from golden.goldens import NAMES, read_golden
from numpy.typing import NDArray

import fl_deepcabac as dc
from robustness.crafting import repaired

OURS = (dc.DecodeError, dc.SchemaMismatchError, dc.ConfigError)
# Length, flags, sequence number, digests of schema, state and content; then what follows.
FIELDS = ((4, 8), (12, 13), (13, 16), (16, 24), (24, 32), (32, 36), (36, 41))
EXTREMES = (b"\0" * 8, b"\xff" * 8, b"\x7f" + b"\xff" * 7, b"\x80" + b"\0" * 7, b"\1" + b"\0" * 7)
REPAIRED = 0.8
MOST_SECONDS = 3.0  # times those of the packet before it was changed
MOST_BYTES = 16 << 20  # beside the model's own
MEMORY_EVERY = 50  # changed packets: counting is slow
REPEATS = 7

Draw = random.Random
Mutation = Callable[[bytes, bytes, Draw], bytes]


@dataclass(frozen=True)
class Valid:
    """A packet with all that is needed to decode it, and what it means."""

    packet: bytes
    schema: dc.Schema
    state: dc.StreamState
    meant: dict[str, bytes]

    def decode(self, packet: bytes) -> dc.DecodedUpdate:
        """Decode a packet in the place of this one."""
        return dc.decode_update(packet, schema=self.schema, state=self.state)

    def least_seconds(self, packet: bytes) -> float:
        """Return the processor time of decoding, the least of some repeats."""
        return min(self.seconds(packet) for _ in range(REPEATS))

    def seconds(self, packet: bytes) -> float:
        """Return the processor time of decoding once."""
        begin = time.thread_time()
        with suppress(*OURS):
            self.decode(packet)
        return time.thread_time() - begin

    def traced_bytes(self, packet: bytes) -> int:
        """Return the most that Python and NumPy held while decoding."""
        tracemalloc.start()
        try:
            with suppress(*OURS):
                self.decode(packet)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()


def contents(update: dict[str, NDArray[np.generic]]) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in update.items()}


def valid_packets() -> list[Valid]:
    """Return the packets of all golden streams but the longest."""
    found = []
    for name in NAMES:
        stream = read_golden(name)
        state = dc.StreamState.fresh(stream.schema, stream.config.profile)
        for golden in stream.packets:
            decoded = dc.decode_update(golden.packet, schema=stream.schema, state=state)
            if stream.schema.n_elements < 10_000:
                meant = contents(decoded.update)
                found.append(Valid(golden.packet, stream.schema, state, meant))
            state = decoded.state
    return found


def truncate(packet: bytes, other: bytes, draw: Draw) -> bytes:
    del other
    return packet[: draw.randrange(len(packet))]


def flip(packet: bytes, other: bytes, draw: Draw) -> bytes:
    """Flip one to eight bits, in a few bytes next to each other or anywhere."""
    del other
    changed = bytearray(packet)
    begin, width = draw.randrange(len(packet)), draw.choice((1, 4, len(packet)))
    for _ in range(draw.randint(1, 8)):
        changed[(begin + draw.randrange(width)) % len(packet)] ^= 1 << draw.randrange(8)
    return bytes(changed)


def splice(packet: bytes, other: bytes, draw: Draw) -> bytes:
    """Go on as another packet does, from anywhere on or behind the header."""
    cut = draw.choice((36, draw.randrange(len(packet))))
    return packet[:cut] + other[draw.choice((cut, draw.randrange(len(other)))) :]


def replace(packet: bytes, other: bytes, draw: Draw) -> bytes:
    """Put random bytes in the place of none or some."""
    del other
    begin, n_removed = draw.randrange(len(packet)), draw.choice((0, 1, 4, 40))
    return packet[:begin] + draw.randbytes(draw.choice((1, 4, 40))) + packet[begin + n_removed :]


def set_field(packet: bytes, other: bytes, draw: Draw) -> bytes:
    """Give a field of the header an extreme value, or that of another packet."""
    begin, end = draw.choice(FIELDS)
    value = draw.choice((*EXTREMES, other[begin:end].ljust(8, b"\0")))
    return packet[:begin] + value[: end - begin] + packet[end:]


MUTATIONS: tuple[Mutation, ...] = (truncate, flip, splice, replace, set_field)


def mutate(valid: list[Valid], n_mutations: int, seed: int) -> Counter[str]:
    """Decode changed packets; return how often each error came, and how often the old values."""
    draw, outcomes = random.Random(seed), Counter[str]()
    usual = {one.packet: one.least_seconds(one.packet) for one in valid}
    for number in range(n_mutations):
        one, other = draw.choice(valid), draw.choice(valid)
        damaged = draw.choice(MUTATIONS)(one.packet, other.packet, draw)
        if draw.random() < REPAIRED:
            damaged = repaired(damaged)
        before = one.state.digest
        begin = time.thread_time()
        try:
            decoded = one.decode(damaged)
        except OURS as error:
            section = getattr(error, "section", "")
            outcomes[f"{type(error).__name__} {section}".strip()] += 1
        else:
            assert contents(decoded.update) == one.meant, damaged.hex()
            outcomes["the same values"] += 1
        most = MOST_SECONDS * usual[one.packet]
        if time.thread_time() - begin > most:  # or something else took the time
            assert one.least_seconds(damaged) <= most, damaged.hex()
        if number % MEMORY_EVERY == 0:
            assert one.traced_bytes(damaged) <= one.schema.raw_bytes + MOST_BYTES
        assert one.state.digest == before
    return outcomes


def test_changed_packets_never_mean_something_else() -> None:
    outcomes = mutate(valid_packets(), 4_000, seed=1)
    # So that the test sees all that it is about.
    assert outcomes["CorruptPacketError content digest"] > 100
    assert outcomes["the same values"] > 10
    assert outcomes["CorruptPacketError CRC-32"] > 100


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_100_000_changed_packets(capsys: pytest.CaptureFixture[str]) -> None:
    outcomes = mutate(valid_packets(), 100_000, seed=2)
    with capsys.disabled():
        print(*sorted(f"{n:7d} {name}" for name, n in outcomes.items()), sep="\n")  # noqa: T201
    assert sum(outcomes.values()) == 100_000
