# SPDX-License-Identifier: Apache-2.0
"""What the codec is for: state, profile, RDOQ and step each buy something on synthetic streams."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from samples import sample_values
from strategies import PROFILES

import fl_deepcabac as dc

SHAPE = (30, 40)


def correlated_updates(n: int, *, seed: int = 0) -> list[NDArray[np.float32]]:
    """Updates that share one direction and differ by noise, as those of one client do."""
    common = sample_values(seed, SHAPE, "float32", bits=9)
    return [
        (common + np.float32(0.3) * sample_values(seed + 1 + k, SHAPE, "float32", bits=9))
        for k in range(n)
    ]


def total_bytes(updates: list[NDArray[np.float32]], *, keep_state: bool, **settings: object) -> int:
    schema = dc.Schema.from_arrays({"w": updates[0]})
    encoder = dc.UpdateEncoder(schema, dc.CodecConfig(**settings))
    total = 0
    for update in updates:
        if not keep_state:
            encoder.reset()
        total += len(encoder.encode({"w": update}).packet)
    return total


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("step", [0.02, 0.3])
def test_keeping_state_beats_resetting_on_a_correlated_stream(profile: str, step: float) -> None:
    updates = correlated_updates(8)
    kept = total_bytes(updates, keep_state=True, step=step, profile=profile)
    reset = total_bytes(updates, keep_state=False, step=step, profile=profile)
    assert kept < 0.92 * reset


def test_profile_max_beats_fast_on_a_long_stream() -> None:
    updates = correlated_updates(12)
    fast = total_bytes(updates, keep_state=True, step=0.1, profile="fast")
    best = total_bytes(updates, keep_state=True, step=0.1, profile="max")
    assert best < fast


@pytest.mark.parametrize("quantizer", ["uniform", "deadzone", "rdoq"])
def test_coarser_steps_cost_less_and_err_more(quantizer: str) -> None:
    update = {"w": correlated_updates(1)[0]}
    schema = dc.Schema.from_arrays(update)
    reports = [
        dc.UpdateEncoder(schema, dc.CodecConfig(step=step, quantizer=quantizer))
        .encode(update)
        .report
        for step in (0.01, 0.04, 0.16, 0.64)
    ]
    sizes = [report.packet_bytes for report in reports]
    errors = [report.rmse for report in reports]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 4
    assert errors == sorted(errors)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("step", [0.05, 0.2, 0.6])
@pytest.mark.parametrize("seed", [0, 100, 200])
def test_rdoq_lowers_its_objective(profile: str, step: float, seed: int) -> None:
    # Squared error in steps + lambda * bits, of the whole packet: at least as good as rounding.
    price = 0.1
    update = {"w": correlated_updates(1, seed=seed)[0]}
    schema = dc.Schema.from_arrays(update)
    objectives = {}
    for quantizer in ("uniform", "rdoq"):
        config = dc.CodecConfig(step=step, quantizer=quantizer, rd_lambda=price, profile=profile)
        report = dc.UpdateEncoder(schema, config).encode(update).report
        assert report.rmse is not None
        squared_steps = report.n_elements * (report.rmse / step) ** 2
        objectives[quantizer] = squared_steps + price * 8 * report.packet_bytes
    assert objectives["rdoq"] <= objectives["uniform"]


def test_rdoq_trades_error_for_bytes_as_lambda_grows() -> None:
    update = {"w": correlated_updates(1)[0]}
    schema = dc.Schema.from_arrays(update)
    reports = [
        dc.UpdateEncoder(schema, dc.CodecConfig(step=0.2, rd_lambda=price)).encode(update).report
        for price in (0.0, 0.05, 0.2, 1.0)
    ]
    sizes = [report.packet_bytes for report in reports]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < 0.8 * sizes[0]
    assert [r.rmse for r in reports] == sorted(r.rmse for r in reports)


def test_free_rdoq_is_the_nearest_level() -> None:
    update = {"w": correlated_updates(1)[0]}
    schema = dc.Schema.from_arrays(update)
    free = dc.CodecConfig(step=0.05, rd_lambda=0.0)
    nearest = dc.CodecConfig(step=0.05, quantizer="uniform")
    one = dc.UpdateEncoder(schema, free).encode(update).report
    two = dc.UpdateEncoder(schema, nearest).encode(update).report
    # Offsets move reconstructed values to where the values of a level lie.
    assert 0.97 * two.rmse < one.rmse < two.rmse


def test_sparse_update_costs_little_more_than_its_entropy() -> None:
    # One weight in 500 is not zero: about 0.021 bits a weight for where, 0.002 for the sign.
    n = 20_000
    values = np.zeros(n, np.float32)
    values[::500] = np.where(np.arange(n // 500) % 3, 1, -1)
    packet = dc.compress({"w": values}, dc.CodecConfig(step=1.0, quantizer="uniform"))
    p = 1 / 500
    entropy = -n * (p * np.log2(p) + (1 - p) * np.log2(1 - p)) + n * p
    assert 8 * (len(packet) - 32) < 1.5 * entropy
