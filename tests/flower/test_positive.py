# SPDX-License-Identifier: Apache-2.0
"""Scales and variances that are positive stay positive, up and down."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from flower.inprocess_grid import InProcessGrid
from flower.toy import Arrays, arrays_of, make_app, record_of
from flwr.serverapp.strategy import FedAvg
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_deepcabac.codec import decode_update, encode_update
from fl_deepcabac.config import CodecConfig
from fl_deepcabac.flower import DeepCABACStrategy, DownlinkConfig, deepcabac_mod
from fl_deepcabac.flower.positive import encode_positive
from fl_deepcabac.flower.weights import add_reference
from fl_deepcabac.schema import Schema
from fl_deepcabac.stream import StreamState

N_NODES = 3
NODES: dict[str, Any] = {"min_available_nodes": N_NODES, "min_train_nodes": N_NODES}


def variances(rng: np.random.Generator, n: int = 40, dtype: str = "float32") -> Arrays:
    """Return a model whose variances differ by factors of thousands, as those of channels do."""
    return {
        "conv": rng.normal(0, 0.1, (n, 9)).astype(dtype),
        "4": np.exp(rng.normal(-3, 3, n)).astype(dtype),
    }


def code(start: Arrays, goal: Arrays, config: CodecConfig, **more: Any) -> Arrays:
    """Return the weights that the decoder holds after the update."""
    schema = Schema.from_arrays(start)
    update = {name: goal[name] - start[name] for name in start}
    state = StreamState.fresh(schema, config.profile)
    coded = encode_positive(
        update,
        start=start,
        goal=goal,
        schema=schema,
        config=config,
        state=state,
        residual={},
        **more,
    )
    decoded = decode_update(coded.packet, schema=schema, state=state).update
    return {
        spec.name: add_reference(spec, decoded[spec.name], start[spec.name])
        for spec in schema.tensors
    }


def code_plainly(start: Arrays, goal: Arrays, config: CodecConfig) -> Arrays:
    """Return what the decoder would hold if nothing were guarded."""
    schema = Schema.from_arrays(start)
    update = {name: goal[name] - start[name] for name in start}
    state = StreamState.fresh(schema, config.profile)
    decoded = encode_update(update, schema=schema, config=config, state=state).decoded
    return {name: start[name] + decoded[name] for name in start}


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    step=st.sampled_from([1.0, 6.0, 30.0]),
    profile=st.sampled_from(["fast", "max"]),
    quantizer=st.sampled_from(["rdoq", "deadzone", "uniform", "stochastic"]),
    dtype=st.sampled_from(["float32", "float64"]),
    on_grid=st.booleans(),
)
def test_half_of_every_positive_weight_is_left(
    seed: int, step: float, profile: Any, quantizer: Any, dtype: str, on_grid: bool
) -> None:
    rng = np.random.default_rng(seed)
    start, goal = variances(rng, dtype=dtype), variances(rng, dtype=dtype)
    config = CodecConfig(relative_step=step, profile=profile, quantizer=quantizer)
    held = code(start, goal, config, on_grid=on_grid)
    assert (held["4"] >= np.minimum(start["4"], goal["4"]) / 2).all()


def test_scales_rounded_by_chance_are_right_on_average() -> None:
    rng = np.random.default_rng(3)
    start = {
        "w": rng.normal(0, 0.1, (30, 20)).astype(np.float32),
        "scale": np.ones(200, np.float32),
    }
    goal = {"w": start["w"] + np.float32(0.01), "scale": start["scale"] - np.float32(0.012)}
    held = []
    for _ in range(200):
        # Other values, other draws; a step of 30 RMS is a third of the scales.
        noise = rng.normal(0, 0.08, 200).astype(np.float32)
        goal["scale"] = start["scale"] + noise - np.float32(0.012)
        config = CodecConfig(relative_step=60.0, quantizer="stochastic")
        after = code(start, goal, config)["scale"]
        assert (after >= np.minimum(start["scale"], goal["scale"]) / 2).all()
        held.append(float((after - goal["scale"]).mean()))
    # Added steps would make it +0.1 and more.
    assert abs(np.mean(held)) < 4 * np.std(held) / np.sqrt(len(held))
    assert np.std(held) > 0


def test_variances_would_fall_below_zero_without() -> None:
    rng = np.random.default_rng(1)
    start, goal = variances(rng), variances(rng)
    config = CodecConfig(relative_step=6.0)
    assert (code_plainly(start, goal, config)["4"] <= 0).any()
    assert (code(start, goal, config)["4"] > 0).all()


def test_nothing_is_coded_otherwise_where_the_rule_holds() -> None:
    rng = np.random.default_rng(2)
    start = {"scale": np.ones(64, np.float32), "bias": rng.normal(size=64).astype(np.float32)}
    goal = {name: weights + np.float32(0.01) for name, weights in start.items()}
    config = CodecConfig(relative_step=2.0)
    held, plain = code(start, goal, config), code_plainly(start, goal, config)
    assert all(np.array_equal(held[name], plain[name]) for name in held)


@pytest.mark.parametrize("downlink", [None, DownlinkConfig()], ids=["plain", "coded"])
def test_global_variances_stay_positive_round_after_round(downlink: DownlinkConfig | None) -> None:
    def train(weights: Arrays, rng: np.random.Generator) -> Arrays:
        """Return statistics of other data, far from those received."""
        seen.append(float(weights["4"].min()))
        return variances(rng)

    seen: list[float] = []
    grid = InProcessGrid([make_app(mods=[deepcabac_mod], train=train) for _ in range(N_NODES)])
    strategy = DeepCABACStrategy(
        FedAvg(**NODES), CodecConfig(relative_step=12.0), downlink=downlink
    )
    first = record_of(variances(np.random.default_rng(3)))
    final = strategy.start(grid, first, num_rounds=6).arrays
    assert min(seen) > 0
    assert (arrays_of(final)["4"] > 0).all()
