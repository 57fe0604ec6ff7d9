# SPDX-License-Identifier: Apache-2.0
"""The codes that methods share: numbers survive them, and take the bits that theory says."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fl_deepcabac.errors import CorruptPacketError
from fl_deepcabac.experiments.baselines.bits import BitReader, BitWriter, gamma_bits
from fl_deepcabac.experiments.baselines.huffman import (
    MAX_LENGTH,
    code_lengths,
    read_symbols,
    write_symbols,
)
from fl_deepcabac.experiments.baselines.payload import (
    PayloadReader,
    read_varints,
    write_varints,
)
from fl_deepcabac.experiments.baselines.positions import (
    read_positions,
    rice_width,
    write_golomb,
    write_positions,
)

N = 40_000


def places_of(density: float, n: int = N) -> np.ndarray:
    return np.flatnonzero(np.random.default_rng(5).random(n) < density)


@pytest.mark.parametrize("top", [1, 2, 40, 70_000, 2**32 - 1])
def test_numbers_survive_every_code(top: int) -> None:
    values = np.random.default_rng(top).integers(1, top, 300, endpoint=True)
    bits = BitWriter()
    bits.gamma(values)
    bits.rice(values % 4000, 5)
    bits.fields(values, 32)
    bits.flags(values % 2 == 0)
    read = BitReader(bits.to_bytes(), "numbers")
    assert np.array_equal(read.gamma(300), values)
    assert np.array_equal(read.rice(300, 5), values % 4000)
    assert np.array_equal(read.fields(300, 32), values)
    assert np.array_equal(read.flags(300), values % 2 == 0)
    read.finish()
    assert np.array_equal(read_varints(write_varints(values), 300, "numbers"), values)


def test_padding_is_zeros_that_fill_a_byte() -> None:
    for encoded in (b"\x80\x01", b"\x80\x00", b"\xc1"):
        read = BitReader(encoded, "numbers")
        read.take(1)
        with pytest.raises(CorruptPacketError, match="nothing but padding"):
            read.finish()


def test_codes_have_the_bits_of_the_textbook() -> None:
    for write, expected in (
        (lambda bits: bits.gamma(np.array([1])), "1"),
        (lambda bits: bits.gamma(np.array([5])), "00101"),
        (lambda bits: bits.rice(np.array([9]), 2), "00101"),
    ):
        bits = BitWriter()
        write(bits)
        text = "".join(f"{byte:08b}" for byte in bits.to_bytes())
        assert text.startswith(expected)
        assert text[len(expected) :].strip("0") == ""
    assert gamma_bits(np.array([1, 2, 3, 4, 8])) == 1 + 3 + 3 + 5 + 7
    assert write_varints(np.array([0, 127, 128, 300])) == bytes([0, 127, 128, 1, 172, 2])


def bits_a_position(density: float, width: int) -> float:
    return width + 1 / (1 - (1 - density) ** 2**width)


@pytest.mark.parametrize("density", [0.001, 0.01, 0.1, 0.3])
def test_golomb_positions_take_the_bits_of_the_paper(density: float) -> None:
    """STC, equation 14; no other width takes fewer bits."""
    places = places_of(density)
    width = rice_width(places.size, N)
    expected = bits_a_position(density, width)
    assert expected <= min(bits_a_position(density, max(0, width + by)) for by in (-1, 1))
    found = 8 * len(write_golomb(places, N)) / places.size
    assert found == pytest.approx(expected, rel=0.05)
    entropy = -math.log2(density) - (1 - density) / density * math.log2(1 - density)
    assert entropy * 0.95 < found < entropy * 1.15


@pytest.mark.parametrize(("density", "form"), [(0.01, 0), (0.0, 0), (1.0, 2)])
def test_positions_take_the_shortest_form(density: float, form: int) -> None:
    places = places_of(density)
    written = write_positions(places, N)
    assert written[0] == form
    assert np.array_equal(read_positions(PayloadReader(written), places.size, N), places)
    assert len(written) <= 1 + len(write_golomb(places, N))


def test_repeated_positions_are_bytes_for_zstandard() -> None:
    places = np.arange(0, N, 100)
    written = write_positions(places, N)
    assert len(written) < len(write_golomb(places, N)) / 4
    assert np.array_equal(read_positions(PayloadReader(written), places.size, N), places)


def test_huffman_is_near_the_entropy() -> None:
    symbols = np.minimum(np.random.default_rng(0).geometric(0.4, N) - 1, 15)
    counts = np.bincount(symbols, minlength=16)
    lengths, bits = code_lengths(counts), BitWriter()
    write_symbols(bits, symbols, lengths)
    shares = counts[counts > 0] / N
    entropy = -float(np.sum(shares * np.log2(shares)))
    assert entropy <= 8 * len(bits.to_bytes()) / N < entropy + 0.1
    assert np.array_equal(read_symbols(BitReader(bits.to_bytes(), "x"), N, lengths), symbols)


def test_huffman_is_held_to_its_longest_code() -> None:
    counts = np.array([int(1.7**i) + 1 for i in range(40)])
    lengths = code_lengths(counts)
    assert lengths.max() <= MAX_LENGTH
    assert sum(2.0 ** -int(length) for length in lengths) == 1.0
    bits, symbols = BitWriter(), np.arange(40)
    write_symbols(bits, symbols, lengths)
    assert np.array_equal(read_symbols(BitReader(bits.to_bytes(), "x"), 40, lengths), symbols)
