# SPDX-License-Identifier: Apache-2.0
"""Packets within a budget: never above it, and nearly all of it used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from strategies import PROFILES, examples, updates

import fl_deepcabac as dc
from fl_deepcabac import codec, rate
from fl_deepcabac.feedback import Residual, carry_residual, find_residual
from fl_deepcabac.rate import MORE_TRIALS, STEP_TRIALS_BELOW, budget_of

QUANTIZERS = ("rdoq", "deadzone", "uniform", "stochastic")
LIKE_A_CNN = {"conv": (32, 9), "conv.bias": (32,), "fc": (128, 200), "head": (10, 128)}
LIKE_A_TRANSFORMER = {f"layer{i}": (48, 48) for i in range(10)}

Update = dict[str, NDArray[Any]]


def stream(shapes: dict[str, tuple[int, ...]], n_updates: int = 6) -> Iterator[Update]:
    """Yield updates with heavy tails, rows of different scale, and something in common."""
    rng = np.random.default_rng(17)
    scales = {n: np.exp(rng.normal(size=(s[0],) + (1,) * (len(s) - 1))) for n, s in shapes.items()}
    common = {name: rng.standard_t(3, shape) for name, shape in shapes.items()}
    for k in range(n_updates):
        yield {
            name: (
                0.01
                * 0.9**k
                * scales[name]
                * (0.5 * common[name] + rng.standard_t(3, shape))
                * np.exp(0.1 * rng.normal())
            ).astype(np.float32)
            for name, shape in shapes.items()
        }


def encode_all(updates: list[Update], config: dc.CodecConfig) -> list[dc.EncodedUpdate]:
    """Encode a stream with error feedback, and check that it decodes."""
    schema = dc.Schema.from_arrays(updates[0])
    encoder, decoder = dc.UpdateEncoder(schema, config), dc.UpdateDecoder(schema, config)
    residual: Residual = {}
    coded = []
    for update in updates:
        carried = carry_residual(update, residual, schema)
        coded.append(encoder.encode(carried))
        residual = find_residual(carried, coded[-1].decoded, schema)
        decoded = decoder.decode(coded[-1].packet)
        assert all(decoded[n].tobytes() == coded[-1].decoded[n].tobytes() for n in decoded)
    return coded


@pytest.mark.parametrize("shapes", [LIKE_A_CNN, LIKE_A_TRANSFORMER], ids=["cnn", "transformer"])
@pytest.mark.parametrize("bits", [0.05, 0.4, 2.0])
@pytest.mark.parametrize("quantizer", QUANTIZERS)
@pytest.mark.parametrize("profile", PROFILES)
def test_budget_is_used_and_never_exceeded(
    profile: Any, quantizer: Any, bits: float, shapes: dict[str, tuple[int, ...]]
) -> None:
    config = dc.CodecConfig(target_bits_per_weight=bits, quantizer=quantizer, profile=profile)
    coded = encode_all(list(stream(shapes)), config)
    used = [encoded.report.bits_per_weight / bits for encoded in coded]
    assert max(used) <= 1.0
    assert min(used) >= 0.9
    # Offsets, ten bytes, come or go as a whole where a trellis forbids to drop single levels.
    is_coarse = config.uses_trellis and bits < 0.1
    assert min(used[3:]) >= (0.95 if is_coarse else 0.97)


@pytest.mark.parametrize("n_bytes", [150, 600, 3000])
@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_tiny_models_use_their_bytes(quantizer: Any, n_bytes: int) -> None:
    shapes = {"a": (60, 40), "b": (40,), "c": (10, 40)}
    config = dc.CodecConfig(target_bytes=n_bytes, quantizer=quantizer)
    coded = encode_all(list(stream(shapes)), config)
    assert max(len(encoded.packet) for encoded in coded) <= n_bytes
    assert min(len(encoded.packet) for encoded in coded[3:]) >= 0.97 * n_bytes


def test_bytes_of_exact_tensors_count() -> None:
    noise = np.random.default_rng(3).integers(0, 2**62, 40)
    updates = [{"counts": noise + k, **u} for k, u in enumerate(stream(LIKE_A_CNN, 4))]
    coded = encode_all(updates, dc.CodecConfig(target_bytes=1500))
    assert 0.97 * 1500 <= len(coded[-1].packet) <= 1500
    assert len(coded[-1].packet) < 1500 + noise.nbytes


def test_allocation_and_overrides_still_share_out() -> None:
    (update,) = stream({"a": (50, 60), "b": (50, 60)}, 1)
    plain, finer = (
        encode_all([update], dc.CodecConfig(target_bits_per_weight=1.0, step_overrides=overrides))[
            0
        ]
        for overrides in ({}, {"a": 0.25})
    )
    assert finer.report.tensors[0].n_bytes > 1.2 * plain.report.tensors[0].n_bytes
    assert finer.report.tensors[1].n_bytes < plain.report.tensors[1].n_bytes
    assert len(finer.packet) <= 750


def test_trials_are_few_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    trials = [0]

    def counted(function: Any) -> Any:
        def call(*arguments: Any, **settings: Any) -> Any:
            trials[-1] += 1
            return function(*arguments, **settings)

        return call

    monkeypatch.setattr(codec, "_quantise_and_code", counted(codec._quantise_and_code))
    monkeypatch.setattr(rate, "encode_levels", counted(rate.encode_levels))
    for bits in (0.05, 0.4, 2.0):
        for shapes in (LIKE_A_CNN, LIKE_A_TRANSFORMER):
            updates = list(stream(shapes))
            schema = dc.Schema.from_arrays(updates[0])
            encoder = dc.UpdateEncoder(schema, dc.CodecConfig(target_bits_per_weight=bits))
            for update in updates:
                encoder.encode(update)
                trials.append(0)
    assert max(trials) <= STEP_TRIALS_BELOW + MORE_TRIALS
    assert sum(trials) / (len(trials) - 1) <= 6.0


def test_same_input_gives_the_same_packet() -> None:
    config = dc.CodecConfig(target_bits_per_weight=0.1)
    one, two = (encode_all(list(stream(LIKE_A_CNN, 3)), config) for _ in range(2))
    assert [encoded.packet for encoded in one] == [encoded.packet for encoded in two]


@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_updates_of_zeros_and_of_little_take_what_they_need(quantizer: Any) -> None:
    config = dc.CodecConfig(target_bytes=2000, quantizer=quantizer)
    nothing = {"w": np.zeros((40, 50), np.float32), "b": np.zeros(0, np.float32)}
    assert len(encode_all([nothing] * 3, config)[-1].packet) < 40
    ones = {"w": np.ones((4, 5), np.float32)}
    assert len(encode_all([ones] * 3, config)[-1].packet) < 2000
    exact = {"i": np.arange(5)}
    assert len(encode_all([exact] * 3, config)[-1].packet) < 100


@pytest.mark.parametrize("scale", [1e-42, 1e-25, 1e20])
def test_values_of_any_size_find_their_steps(scale: float) -> None:
    updates = [{n: a * np.float32(scale) for n, a in u.items()} for u in stream(LIKE_A_CNN, 2)]
    for encoded in encode_all(updates, dc.CodecConfig(target_bytes=2000)):
        assert len(encoded.packet) <= 2000
        assert len(encoded.packet) >= 1900 or scale == 1e-42  # below the finest step


@pytest.mark.parametrize("target", [1, 31, 32, 40])
def test_budget_below_the_smallest_packet_is_an_error(target: int) -> None:
    schema_of = {"w": np.ones((4, 5), np.float32), "i": np.arange(40) ** 5}
    schema = dc.Schema.from_arrays(schema_of)
    encoder = dc.UpdateEncoder(schema, dc.CodecConfig(target_bytes=target))
    before = encoder.state_digest
    with pytest.raises(dc.BudgetError, match=f"at most {target} bytes") as caught:
        encoder.encode(schema_of)
    assert isinstance(caught.value, dc.EncodeError)
    assert (caught.value.budget, encoder.state_digest) == (target, before)
    least = dc.CodecConfig(target_bytes=caught.value.needed)
    assert len(dc.compress(schema_of, least)) <= caught.value.needed


@examples(60)
@given(updates(), st.integers(1, 3000), st.sampled_from(QUANTIZERS), st.sampled_from(PROFILES))
def test_no_packet_is_above_its_budget(
    update: Update, n_bytes: int, quantizer: Any, profile: Any
) -> None:
    config = dc.CodecConfig(target_bytes=n_bytes, quantizer=quantizer, profile=profile)
    schema = dc.Schema.from_arrays(update)
    encoder, decoder = dc.UpdateEncoder(schema, config), dc.UpdateDecoder(schema, config)
    for _ in range(2):
        try:
            encoded = encoder.encode(update)
        except dc.BudgetError:
            return
        assert len(encoded.packet) <= n_bytes
        decoded = decoder.decode(encoded.packet)
        assert all(decoded[n].tobytes() == encoded.decoded[n].tobytes() for n in decoded)


def test_bits_per_weight_count_every_element_and_round_down() -> None:
    schema = dc.Schema.from_arrays({"w": np.zeros((3, 7), np.float32), "i": np.zeros(4, np.int8)})
    assert budget_of(dc.CodecConfig(target_bits_per_weight=15.9), schema) == 49
    assert budget_of(dc.CodecConfig(target_bytes=7), schema) == 7
    assert budget_of(dc.CodecConfig(), schema) is None


def test_bad_values_are_named_as_without_a_budget() -> None:
    config = dc.CodecConfig(target_bytes=1000)
    with pytest.raises(dc.NonFiniteError):
        dc.compress({"w": np.array([1.0, np.nan], np.float32)}, config)
    with pytest.raises(dc.LevelRangeError):
        dc.compress({"w": np.array([1.0, 1e300])}, config)
