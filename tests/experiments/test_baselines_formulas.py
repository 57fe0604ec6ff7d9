# SPDX-License-Identifier: Apache-2.0
"""Sizes and errors against closed forms; means of the methods that work by chance."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from experiments.baseline_samples import (
    decode,
    encode,
    floats_of,
    make_update,
    method_of,
    needs_sz3,
)

from fl_deepcabac.experiments.baselines.bits import gamma_bits
from fl_deepcabac.experiments.baselines.kmeans import find_codebook
from fl_deepcabac.experiments.baselines.positions import (
    write_golomb,
)
from fl_deepcabac.experiments.baselines.rotation import lloyd_max, random_signs, rotate

RNG_SEED = 5
N = 40_000


def normal(n: int = N, seed: int = RNG_SEED) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(n).astype(np.float32)


def relative_error(update: dict[str, Any], decoded: dict[str, Any]) -> float:
    x, y = floats_of(update), floats_of(decoded)
    return float(np.sum((x - y) ** 2) / np.sum(x**2))


@pytest.mark.parametrize("scope", ["update", "tensor"])
def test_top_k_sends_the_largest(scope: str) -> None:
    update = make_update()
    method = method_of({"name": "topk", "density": 0.1, "scope": scope})
    decoded = decode(method, encode(method, update)[0], update)
    groups = (
        [(floats_of(update), floats_of(decoded))]
        if scope == "update"
        else [
            (update[name].reshape(-1), decoded[name].reshape(-1))
            for name in ("fc.weight", "conv.weight", "bias")
        ]
    )
    for before, after in groups:
        n_sent = round(0.1 * before.size)
        least = np.sort(np.abs(before))[-n_sent]
        assert np.array_equal(after, np.where(np.abs(before) >= least, before, 0))


def test_stc_is_top_k_with_one_size_and_fewer_bits() -> None:
    update = {"w": normal()}
    ternary = method_of({"name": "stc", "density": 0.01})
    plain = method_of({"name": "topk", "density": 0.01})
    [payload, _], [wider, _] = encode(ternary, update), encode(plain, update)
    signs, sent = decode(ternary, payload, update)["w"], decode(plain, wider, update)["w"]
    mean = np.abs(sent[sent != 0]).mean()
    assert np.allclose(signs, mean * np.sign(sent), rtol=1e-6)
    # Count and mean, a sign and a position each.
    n_sent = np.count_nonzero(sent)
    assert len(payload) == 8 + n_sent // 8 + len(write_golomb(np.flatnonzero(sent), N))
    assert 8 * len(payload) / n_sent < 10


def test_stc_by_tensor_has_their_own_means() -> None:
    update = make_update()
    update["bias"] *= 100
    method = method_of({"name": "stc", "density": 0.1, "scope": "tensor"})
    decoded = decode(method, encode(method, update)[0], update)
    sizes = {name: set(np.abs(decoded[name][decoded[name] != 0])) for name in ("bias", "fc.weight")}
    assert all(len(size) == 1 for size in sizes.values())
    assert max(sizes["bias"]) > 30 * max(sizes["fc.weight"])


@pytest.mark.parametrize("norm", ["l2", "max"])
@pytest.mark.parametrize("levels", [1, 4, 127])
def test_qsgd_takes_the_least_of_its_forms(norm: str, levels: int) -> None:
    update = {"w": normal()}
    method = method_of({"name": "qsgd", "levels": levels, "norm": norm, "bucket": 512})
    payload, _ = encode(method, update)
    decoded = decode(method, payload, update)["w"].astype(np.float64)
    norms = np.frombuffer(payload[: 4 * 79], "<f4")
    found = np.rint(decoded * levels / np.repeat(norms, 512)[:N]).astype(np.int64)
    places = np.flatnonzero(found)
    sizes = np.abs(found[places])
    dense = gamma_bits(np.abs(found) + 1) + places.size
    sparse = 32 + gamma_bits(np.diff(places, prepend=-1)) + gamma_bits(sizes) + places.size
    n_bytes = -(-min(dense, sparse) // 8)
    assert len(payload) <= 4 * 79 + 1 + n_bytes
    if payload[4 * 79] != 2:
        assert len(payload) == 4 * 79 + 1 + n_bytes


@pytest.mark.parametrize("norm", ["l2", "max"])
@pytest.mark.parametrize("levels", [1, 4])
def test_qsgd_is_right_on_average_and_within_its_variance(norm: str, levels: int) -> None:
    update = {"w": normal(256)}
    method = method_of({"name": "qsgd", "levels": levels, "norm": norm, "bucket": 256})
    runs = np.array(
        [decode(method, encode(method, update, seed=seed)[0], update)["w"] for seed in range(400)]
    ).astype(np.float64)
    energy = float(np.sum(update["w"].astype(np.float64) ** 2))
    variance = np.mean(np.sum((runs - update["w"]) ** 2, axis=1))
    # Lemma 3.1, with the norm of the bucket in front.
    assert variance <= min(256 / levels**2, 16 / levels) * energy
    off = runs.mean(axis=0) - update["w"]
    # A squared error of variance / runs is left, give or take.
    assert np.sum(off**2) == pytest.approx(variance / 400, rel=0.3)


@pytest.mark.parametrize(("name", "bits"), [("drive", 1), ("eden", 2), ("eden", 4)])
def test_drive_and_eden_are_right_on_average(name: str, bits: int) -> None:
    spec = {"name": name} | ({} if name == "drive" else {"bits": bits})
    method, update = method_of(spec), {"w": np.linspace(-1, 2, 256, dtype=np.float32) ** 3}
    runs = np.array(
        [decode(method, encode(method, update, seed=seed)[0], update)["w"] for seed in range(300)]
    ).astype(np.float64)
    variance = np.mean(np.sum((runs - update["w"]) ** 2, axis=1))
    off = runs.mean(axis=0) - update["w"]
    assert np.sum(off**2) == pytest.approx(variance / 300, rel=0.5)


@pytest.mark.parametrize(
    ("bits", "unbiased", "least"),
    [(1, math.pi / 2 - 1, 1 - 2 / math.pi), (2, 0.1331, 0.1175), (3, 0.0358, 0.03454)],
)
def test_drive_and_eden_have_the_errors_of_the_papers(
    bits: int, unbiased: float, least: float
) -> None:
    """Unbiased: DRIVE, theorem 2, and D / (1 - D) of EDEN, D Lloyd-Max's; least: D itself."""
    update = {"w": normal(2**15) ** 3}
    name = {"name": "eden", "bits": bits}
    for scale, expected in (("unbiased", unbiased), ("least error", least)):
        method = method_of(name, scale=scale, block=2**15)
        payload, _ = encode(method, update)
        assert len(payload) == 8 + 4 + bits * 2**15 // 8
        found = relative_error(update, decode(method, payload, update))
        assert found == pytest.approx(expected, rel=0.05)
    if bits == 1:
        drive = method_of({"name": "drive"}, block=2**15, scale="least error")
        assert encode(drive, update)[0] == encode(method, update)[0]


def test_lloyd_max_has_the_values_of_the_table() -> None:
    """J. Max, 1960, table 1."""
    assert lloyd_max(1) == pytest.approx((-0.7980, 0.7980), abs=2e-4)
    assert lloyd_max(3)[4:] == pytest.approx((0.2451, 0.7560, 1.344, 2.152), abs=6e-4)
    assert lloyd_max(4)[8:] == pytest.approx(
        (0.1284, 0.3881, 0.6568, 0.9424, 1.256, 1.618, 2.069, 2.733), abs=6e-4
    )


def test_rotation_undoes_itself_and_keeps_lengths() -> None:
    rows = normal(64).reshape(4, 16).astype(np.float64)
    assert np.allclose(rotate(rotate(rows)), rows)
    assert np.allclose(np.linalg.norm(rotate(rows), axis=1), np.linalg.norm(rows, axis=1))
    hadamard = rotate(np.eye(4)) * 2
    assert hadamard.tolist() == [[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]


def test_random_signs_are_the_same_everywhere() -> None:
    assert random_signs(3, 12).tolist() == [-1, -1, -1, -1, -1, 1, 1, 1, -1, -1, 1, 1]
    assert abs(int(random_signs(2, N).sum())) < 5 * math.sqrt(N)


def test_scaled_sign_takes_a_bit_and_keeps_the_mean_size() -> None:
    update = {"w": normal()}
    method = method_of({"name": "signsgd"})
    payload, _ = encode(method, update)
    assert len(payload) == 4 + 1 + N // 8
    assert np.allclose(np.abs(decode(method, payload, update)["w"]), np.abs(update["w"]).mean())
    # 1 - 2 / pi of a normal distribution's energy is lost.
    lost = relative_error(update, decode(method, payload, update))
    assert lost == pytest.approx(1 - 2 / math.pi, rel=0.05)


@pytest.mark.parametrize("span", ["minmax", "maxabs"])
def test_uniform_keeps_ends_and_zero(span: str) -> None:
    update = {"w": np.array([0.0, 1.0, -0.5, 0.25, 1e-9], np.float32)}
    method = method_of({"name": "uniform", "bits": 4, "span": span})
    decoded = decode(method, encode(method, update)[0], update)["w"]
    assert decoded[1] == 1.0
    if span == "maxabs":
        assert decoded[0] == decoded[4] == 0.0
    else:
        assert decoded[2] == -0.5


def test_power_sgd_finds_a_matrix_of_its_rank() -> None:
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((40, 2)) @ rng.standard_normal((2, 60))
    update = {"w": matrix.astype(np.float32), "b": normal(7)}
    method = method_of({"name": "powersgd", "rank": 2})
    payload, memory = encode(method, update)
    assert len(payload) == 4 * (2 * (40 + 60) + 7)
    decoded = decode(method, payload, update)
    assert np.allclose(decoded["w"], update["w"], atol=1e-4)
    assert np.array_equal(decoded["b"], update["b"])
    assert memory["right factor of w"].shape == (60, 2)


def test_power_sgd_gets_nearer_when_it_starts_where_it_was() -> None:
    rng = np.random.default_rng(0)
    update = {"w": rng.standard_normal((64, 64)).astype(np.float32)}
    method, memory, errors = method_of({"name": "powersgd", "error_feedback": False}), {}, []
    for _ in range(12):
        payload, memory = encode(method, update, memory)
        errors.append(relative_error(update, decode(method, payload, update)))
    values = np.linalg.svd(update["w"], compute_uv=False)
    best = 1 - np.sum(values[:2] ** 2) / np.sum(values**2)
    assert errors[-1] < errors[0]
    assert best < errors[-1] < best * 1.03


def test_k_means_finds_clusters_and_keeps_zero() -> None:
    clusters = np.array([-3.0, -1.0, 0.0, 2.0])
    rng = np.random.default_rng(0)
    values = (rng.choice(clusters, 4000) + 0.01 * rng.standard_normal(4000)).astype(np.float32)
    codebook = find_codebook(values, 4, 100)
    assert np.abs(codebook - clusters).max() < 0.005
    assert codebook[2] == 0.0
    method, update = method_of({"name": "kmeans", "bits": 2}), {"w": values}
    payload, _ = encode(method, update)
    # Lengths, codebook, two bits each of four equally likely values.
    assert len(payload) == 2 + 16 + 1000
    assert np.abs(decode(method, payload, update)["w"] - values).max() < 0.06


@needs_sz3
def test_sz3_needs_fewer_bits_the_larger_the_bound() -> None:
    update = {"w": normal()}
    sizes = [
        len(encode(method_of({"name": "sz3", "bound": bound, "relative_to": "rms"}), update)[0])
        for bound in (0.01, 0.1, 1.0)
    ]
    assert sizes[0] > sizes[1] > sizes[2]
    # A uniform quantiser of step 2: its entropy is 1.2 bits or so.
    assert 8 * sizes[2] / N < 1.6


def test_byte_planes_help_zstandard() -> None:
    update = {"w": normal() * np.float32(0.01)}
    sizes = [
        len(encode(method_of({"name": "zstd", "byte_planes": planes}), update)[0])
        for planes in (False, True)
    ]
    assert sizes[1] < sizes[0] < 4 * N
