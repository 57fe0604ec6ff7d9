# SPDX-License-Identifier: Apache-2.0
"""The baselines for whole models: codes that can be read again, points that are good ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import fl_deepcabac as dc
from fl_deepcabac.experiments.baselines.nncodec import PYTHON_VARIABLE
from fl_deepcabac.experiments.baselines.payload import PayloadReader
from fl_deepcabac.experiments.model_baselines import (
    CODERS,
    BaselineCoder,
    decode,
    encode,
    entropy_bits,
    lloyd_points,
)
from fl_deepcabac.experiments.model_baselines.nncodec import NnCodecCoder
from fl_deepcabac.models.search import search_points

RNG = np.random.default_rng(11)
WEIGHTS: dict[str, NDArray[Any]] = {
    "a.weight": RNG.normal(0, 0.1, (40, 30)).astype(np.float32),
    "a.bias": RNG.normal(0, 0.1, 40).astype(np.float32),
    "b.weight": (RNG.normal(0, 0.1, (20, 40)) * (RNG.random((20, 40)) < 0.1)).astype(np.float32),
    "n": np.array(3),
}


@pytest.mark.parametrize("name", CODERS)
@given(
    n_rows=st.integers(0, 5),
    n_columns=st.integers(0, 9),
    high=st.sampled_from([0, 1, 3, 300, 10**6]),
    zeros=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_symbols_survive_every_code(
    name: str, n_rows: int, n_columns: int, high: int, zeros: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    symbols = rng.integers(-high, high + 1, n_rows * n_columns)
    symbols[rng.random(symbols.size) < zeros] = 0
    write, read = CODERS[name]
    reader = PayloadReader(write(symbols, (n_rows, n_columns)))
    np.testing.assert_array_equal(read(reader, (n_rows, n_columns)), symbols)
    reader.finish()


@pytest.mark.parametrize(
    ("symbols", "name"),
    [
        (RNG.binomial(20, 0.5, 4000), "Huffman"),
        (np.where(RNG.random(4000) < 0.01, RNG.integers(1, 9, 4000), 0), "CSR-Huffman"),
        (np.tile(np.arange(50), 80), "bzip2"),
    ],
)
def test_the_smallest_code_is_taken(symbols: NDArray[np.int64], name: str) -> None:
    encoded = encode(symbols, (40, 100))
    assert encoded[0] == list(CODERS).index(name)
    np.testing.assert_array_equal(decode(encoded, (40, 100)), symbols)
    if name == "Huffman":
        assert entropy_bits(symbols) / 8 < len(encoded) < 1.1 * entropy_bits(symbols) / 8 + 40


@pytest.mark.parametrize("symbols", [RNG.integers(-3, 9, 60), np.zeros(60, int), np.arange(60)])
def test_damage_is_refused_or_decodes_to_as_many(symbols: NDArray[np.int64]) -> None:
    for write, _ in CODERS.values():
        number = [w for w, _ in CODERS.values()].index(write)
        encoded = bytes([number]) + write(symbols, (6, 10))
        for position in range(len(encoded)):
            for damaged in (
                encoded[:position],
                encoded[:position] + bytes([encoded[position] ^ 255]) + encoded[position + 1 :],
            ):
                try:
                    assert decode(damaged, (6, 10)).shape == (60,)
                except dc.DecodeError:
                    continue


def test_entropy_is_that_of_frequencies() -> None:
    assert entropy_bits(np.repeat([5, -7], 8)) == 16
    assert entropy_bits(np.zeros(9, np.int64)) == 0
    assert entropy_bits(np.zeros(0, np.int64)) == 0


def squared_error(values: NDArray[Any], weights: NDArray[Any], found: NDArray[Any]) -> float:
    return float(np.sum(weights * np.square(values.astype(np.float64) - found)))


def test_points_are_means_of_their_values_and_better_than_even_ones() -> None:
    values = RNG.laplace(0, 1, 5000).astype(np.float32)
    weights = RNG.uniform(0.1, 2, 5000).astype(np.float32)
    points, indices = lloyd_points(values, weights, step=0.5, price=0.0)
    assert (np.diff(points) > 0).all()
    assert set(indices) == set(range(points.size))
    for i in range(points.size):
        own = indices == i
        assert points[i] == pytest.approx(
            np.average(values[own].astype(float), weights=weights[own])
        )
    even = 0.5 * np.rint(values / 0.5)
    assert squared_error(values, weights, points[indices]) < squared_error(values, weights, even)


def test_dearer_bits_leave_fewer_points_and_less_entropy() -> None:
    values = RNG.laplace(0, 1, 5000).astype(np.float32)
    weights = np.ones(5000, np.float32)
    sizes, entropies = [], []
    for price in (0.0, 0.1, 1.0):
        points, indices = lloyd_points(values, weights, step=0.5, price=price)
        sizes.append(points.size)
        entropies.append(entropy_bits(indices))
    assert sizes[0] >= sizes[1] > sizes[2]
    assert entropies[0] > entropies[1] > entropies[2]


def test_values_all_alike_have_one_point() -> None:
    for value in (0.0, 0.3):
        points, indices = lloyd_points(
            np.full(9, value, np.float32), np.ones(9, np.float32), step=0.5, price=0.1
        )
        assert points == pytest.approx([value])
        assert not indices.any()


@pytest.mark.parametrize("quantizer", ["uniform", "lloyd"])
def test_baselines_are_searched_as_deepcabac_is(quantizer: Any) -> None:
    def accuracy(weights: dict[str, NDArray[Any]]) -> float:
        names = [name for name in WEIGHTS if name != "n"]
        return 90.0 - sum(float(np.sum((weights[n] - WEIGHTS[n]) ** 2)) for n in names)

    coder = BaselineCoder(WEIGHTS, quantizer)
    point, points, before = search_points(
        coder, WEIGHTS, accuracy, 0.5, prices=(0.0,) if quantizer == "uniform" else (0.05, 0.2)
    )
    assert before == 90.0
    assert 89.5 <= point.accuracy < 89.9
    assert point.n_bytes == min(p.n_bytes for p in points if p.accuracy >= 89.5)
    coded, decoded = coder.code(point.coarseness, point.rd_lambda)
    assert coded.n_bytes == point.n_bytes > coded.n_entropy_bytes
    assert {n: (a.shape, a.dtype) for n, a in decoded.items()} == {
        n: (a.shape, a.dtype) for n, a in WEIGHTS.items()
    }


def test_nncodec_is_searched_with_all_its_bytes(
    python: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PYTHON_VARIABLE, python)
    # What the stand-in knows.
    weights = {
        "w": RNG.normal(0, 0.3, (3, 4)).astype(np.float32),
        "b": RNG.normal(0, 0.3, 2).astype(np.float32),
    }
    coder = NnCodecCoder(weights, -60)
    assert list(coder.rungs) == sorted(coder.rungs)
    errors = []
    for rung in (4, 30):
        coded, decoded = coder.code(coder.rungs[rung], 0.0)
        assert coded.n_bytes > 4 * 14
        assert {n: a.shape for n, a in decoded.items()} == {n: a.shape for n, a in weights.items()}
        errors.append(np.abs(decoded["w"] - weights["w"]).max())
    assert errors[0] < errors[1] <= coder.rungs[30]
    assert coder.name() != NnCodecCoder(WEIGHTS, -60).name()
