# SPDX-License-Identifier: Apache-2.0
"""Whole models: what comes back, in which file, and which steps tensors get."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fl_deepcabac as dc
from fl_deepcabac.allocation import GivenSteps
from fl_deepcabac.models import CompressedModel, compress_model, decompress_model, fold_batch_norm
from fl_deepcabac.models.steps import VECTOR_STEP, coarseness_steps, model_steps

Weights = dict[str, np.ndarray[Any, Any]]


def make_weights(seed: int = 7) -> Weights:
    rng = np.random.default_rng(seed)
    return {
        "conv.weight": rng.normal(0, 0.1, (8, 3, 3, 3)).astype(np.float32),
        "bn.weight": rng.uniform(0.2, 2, 8).astype(np.float32),
        "bn.bias": rng.normal(0, 0.5, 8).astype(np.float32),
        "bn.running_mean": rng.normal(0, 3, 8).astype(np.float32),
        "bn.running_var": rng.uniform(0.01, 90, 8).astype(np.float32),
        "bn.num_batches_tracked": np.array(1234, np.int64),
        "fc.weight": rng.laplace(0, 0.02, (50, 72)).astype(np.float32),
        "fc.bias": np.zeros(50, np.float32),
    }


WEIGHTS = make_weights()
SCHEMA = dc.Schema.from_arrays(WEIGHTS)
CONFIG = dc.CodecConfig(step=0.05, profile="max")


def test_model_comes_back_within_its_steps() -> None:
    model = compress_model(WEIGHTS, CONFIG)
    found = decompress_model(model)
    assert list(found) == list(WEIGHTS)
    steps = model_steps(WEIGHTS, SCHEMA, CONFIG).steps
    for name, array in WEIGHTS.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        if name in steps:
            # Matrices: rate-distortion optimisation may take the second nearest and further levels.
            limit = 3 if array.ndim > 1 else 1
            assert np.abs(found[name] - array).max() <= limit * steps[name]
    assert found["bn.num_batches_tracked"] == 1234
    assert (found["bn.running_var"] > 0).all()
    assert not found["fc.bias"].any()


def test_file_is_all_that_is_needed(tmp_path: Path) -> None:
    model = compress_model(WEIGHTS, dc.CodecConfig(step=0.05, threads=2))
    model.save(tmp_path / "x.dcbc")
    assert (tmp_path / "x.dcbc").stat().st_size == model.n_bytes == len(model.to_bytes())
    assert model.ratio == SCHEMA.raw_bytes / model.n_bytes
    assert model.bits_per_weight == 8 * model.n_bytes / SCHEMA.n_elements
    read = CompressedModel.load(tmp_path / "x.dcbc")
    assert (read.packet, read.schema, read.report) == (model.packet, model.schema, None)
    assert read.config.profile == "fast"
    assert read.to_bytes() == model.to_bytes()
    found = decompress_model(read, threads=2)
    for name, array in decompress_model(model).items():
        np.testing.assert_array_equal(found[name], array)


def test_names_and_settings_take_little_of_a_file() -> None:
    model = compress_model(WEIGHTS, CONFIG)
    assert model.n_bytes - len(model.packet) < 260


def test_files_larger_than_wanted_are_refused() -> None:
    content = compress_model(WEIGHTS, CONFIG).to_bytes()
    assert CompressedModel.from_bytes(content, max_weights=SCHEMA.n_elements).schema == SCHEMA
    with pytest.raises(dc.LimitExceededError) as info:
        CompressedModel.from_bytes(content, max_weights=SCHEMA.n_elements - 1)
    assert info.value.limit == SCHEMA.n_elements - 1
    with pytest.raises(dc.TruncatedPacketError):
        CompressedModel.from_bytes(content[:-1])


def test_packet_of_a_stream_is_no_model() -> None:
    encoder = dc.UpdateEncoder(SCHEMA, CONFIG)
    encoder.encode(WEIGHTS)
    second = CompressedModel(encoder.encode(WEIGHTS).packet, SCHEMA, CONFIG)
    with pytest.raises(dc.StateMismatchError):
        decompress_model(second)


def test_budget_is_kept() -> None:
    model = compress_model(WEIGHTS, dc.CodecConfig(target_bytes=1500, profile="max"))
    assert 1400 < model.n_bytes <= 1500
    with pytest.raises(dc.BudgetError):
        compress_model(WEIGHTS, dc.CodecConfig(target_bytes=100, profile="max"))


def test_vectors_have_steps_of_their_own() -> None:
    coarse, fine = (
        model_steps(WEIGHTS, SCHEMA, dc.CodecConfig(step=step)).steps for step in (0.05, 0.01)
    )
    assert coarse["conv.weight"] == coarse["fc.weight"] == np.float32(0.05)
    assert fine["fc.weight"] == np.float32(0.01)
    for name in ("bn.bias", "bn.running_mean"):
        scale = np.sqrt(np.mean(np.square(WEIGHTS[name])))
        assert coarse[name] == fine[name] == pytest.approx(VECTOR_STEP * scale, rel=1e-5)
    assert coarse["bn.running_var"] <= WEIGHTS["bn.running_var"].min()
    assert "bn.num_batches_tracked" not in coarse


def test_overrides_and_vector_step_change_steps() -> None:
    config = dc.CodecConfig(step=0.05, step_overrides={"fc.*": 0.5, "bn.bias": 0.25})
    usual, changed = (
        model_steps(WEIGHTS, SCHEMA, given, vector_step=part).steps
        for given, part in ((CONFIG, VECTOR_STEP), (config, VECTOR_STEP / 2))
    )
    assert changed["conv.weight"] == usual["conv.weight"]
    assert changed["fc.weight"] == pytest.approx(0.5 * usual["fc.weight"])
    assert changed["bn.bias"] == pytest.approx(usual["bn.bias"] / 8)
    assert changed["bn.running_mean"] == pytest.approx(usual["bn.running_mean"] / 2)


def test_vectors_keep_their_values_whatever_a_bit_costs_in_matrices() -> None:
    dear = dc.CodecConfig(step=0.05, rd_lambda=20.0, profile="max")
    cheap, found = (decompress_model(compress_model(WEIGHTS, c)) for c in (CONFIG, dear))
    assert np.count_nonzero(found["fc.weight"]) < np.count_nonzero(cheap["fc.weight"]) / 2
    for name in ("bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"):
        scale = np.sqrt(np.mean(np.square(WEIGHTS[name])))
        assert np.abs(found[name] - WEIGHTS[name]).max() <= VECTOR_STEP * scale


def test_relative_steps_follow_each_matrix() -> None:
    config = dc.CodecConfig(relative_step=0.5, allocation="uniform")
    steps = model_steps(WEIGHTS, SCHEMA, config).steps
    for name in ("conv.weight", "fc.weight"):
        scale = np.sqrt(np.mean(np.square(WEIGHTS[name])))
        assert steps[name] == pytest.approx(0.5 * scale, rel=0.1)


@pytest.mark.parametrize("vector_step", [0.0, -1.0, float("nan"), 17.0])
def test_vector_steps_are_positive_and_not_absurd(vector_step: float) -> None:
    with pytest.raises(dc.ConfigError, match="vector_step"):
        compress_model(WEIGHTS, CONFIG, vector_step=vector_step)


@pytest.mark.parametrize(
    "weights",
    [
        {"n": np.array(3), "m": np.arange(4)},
        {"b": np.linspace(-1, 1, 7).astype(np.float32)},
        {"w": np.zeros((3, 4), np.float32), "b": np.zeros(3, np.float32)},
        {"w": np.zeros((0, 4), np.float32)},
        {"w": np.full((3, 4), 6e4, np.float16), "v": np.full((2, 2), 1e-30)},
    ],
)
def test_models_of_any_kind_come_back(weights: Weights) -> None:
    model = CompressedModel.from_bytes(compress_model(weights, dc.CodecConfig()).to_bytes())
    found = decompress_model(model)
    for name, array in weights.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        scale = np.abs(array).max(initial=0)
        assert np.abs(found[name].astype(float) - array).max(initial=0) <= scale


def importance() -> Weights:
    return {
        "conv.weight": np.full((8, 3, 3, 3), 400.0, np.float32),
        "fc.weight": np.full((50, 72), 1e4, np.float32),
    }


def coarse(coarseness: float, known: Weights, price: float = 0.1) -> GivenSteps:
    return coarseness_steps(WEIGHTS, SCHEMA, coarseness=coarseness, price=price, importance=known)


def test_coarseness_gives_the_steps_of_the_paper() -> None:
    known = importance()
    known["fc.weight"][3, 4] = 1e6
    for coarseness in (0.0, 8.0, 256.0):
        given = coarse(coarseness, known)
        for name, sigma in (("conv.weight", 0.05), ("fc.weight", 0.001)):
            largest = float(np.abs(WEIGHTS[name]).max())
            expected = 2 * largest / (2 * largest / sigma + coarseness)
            assert given.steps[name] == pytest.approx(expected, rel=1e-5)
            # lambda * bits = F * error^2, in squared steps and at the mean of F.
            price = 0.1 / known[name].astype(np.float64).mean() / expected**2
            assert given.prices is not None
            assert given.prices[name] == pytest.approx(min(price, 100.0), rel=1e-4)
        assert given.steps["bn.bias"] == model_steps(WEIGHTS, SCHEMA, CONFIG).steps["bn.bias"]


def test_deviations_beyond_any_weight_are_cut() -> None:
    known = importance() | {"fc.weight": np.zeros((50, 72), np.float32)}
    assert coarse(0.0, known).steps["fc.weight"] == np.abs(WEIGHTS["fc.weight"]).max()
    with pytest.raises(dc.ConfigError, match=r"importance of 'conv\.weight'"):
        coarse(0.0, {"fc.weight": known["fc.weight"]})
    with pytest.raises(dc.ConfigError, match="coarseness"):
        coarse(257.0, known)


STEPS = dict.fromkeys((spec.name for spec in SCHEMA.level_tensors), 0.02)


def encode(given: GivenSteps | None, known: Weights | None = None) -> dc.EncodedUpdate:
    state = dc.StreamState.fresh(SCHEMA, "fast")
    config = dc.CodecConfig(step=0.02, rd_lambda=0.25, trellis=False)
    return dc.encode_update(
        WEIGHTS, schema=SCHEMA, config=config, state=state, importance=known, given=given
    )


def test_equal_prices_are_those_of_the_config() -> None:
    usual = encode(None).packet
    assert encode(GivenSteps(STEPS)).packet == usual
    assert encode(GivenSteps(STEPS, dict.fromkeys(STEPS, 0.25))).packet == usual
    assert encode(GivenSteps(STEPS, dict.fromkeys(STEPS, 0.5))).packet != usual


def test_a_tensor_with_cheap_bits_has_less_error() -> None:
    usual = encode(None).report
    mixed = encode(GivenSteps(STEPS, dict.fromkeys(STEPS, 0.25) | {"fc.weight": 0.0})).report
    place = [spec.name for spec in SCHEMA.tensors].index("fc.weight")
    errors = [
        (u.rmse or 0.0, m.rmse or 0.0) for u, m in zip(usual.tensors, mixed.tensors, strict=True)
    ]
    assert errors[place][1] < errors[place][0]
    assert mixed.tensors[place].n_bytes > usual.tensors[place].n_bytes
    known = {"fc.weight": np.full((50, 72), 1e300)}
    assert encode(GivenSteps(STEPS, dict.fromkeys(STEPS, 0.0)), known).report.rmse is not None


@pytest.mark.parametrize(
    "steps",
    [{}, {"w": 1.0, "x": 1.0}, {"w": 0.0}, {"w": float("nan")}, {"w": 1e31}, {"w": 1e-31}],
)
def test_steps_that_do_not_fit_are_refused(steps: dict[str, float]) -> None:
    weights = {"w": np.ones((2, 2), np.float32)}
    with pytest.raises(dc.ConfigError, match="steps"):
        GivenSteps(steps).of(dc.Schema.from_arrays(weights))


def normalised(weights: Weights, inputs: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Apply the layer and the normalisation of `make_weights` to rows of 27 inputs."""
    outputs = inputs @ weights["conv.weight"].reshape(8, 27).T.astype(np.float64)
    outputs = outputs + weights.get("conv.bias", np.zeros(8))
    spread = np.sqrt(weights["bn.running_var"].astype(np.float64) + 1e-5)
    scaled = (outputs - weights["bn.running_mean"]) / spread
    return scaled * weights["bn.weight"] + weights["bn.bias"]


@pytest.mark.parametrize("has_bias", [False, True])
def test_folded_model_computes_the_same(*, has_bias: bool) -> None:
    weights = make_weights()
    if has_bias:
        weights["conv.bias"] = np.linspace(-1, 1, 8, dtype=np.float32)
    folded = fold_batch_norm(weights, {"conv": "bn"})
    assert {name: (a.shape, a.dtype) for name, a in folded.items()} == {
        name: (a.shape, a.dtype) for name, a in weights.items()
    }
    inputs = np.random.default_rng(1).normal(size=(40, 27))
    np.testing.assert_allclose(
        normalised(folded, inputs), normalised(weights, inputs), rtol=1e-4, atol=1e-4
    )
    for name in ("bn.weight", "bn.running_var", "bn.running_mean"):
        assert np.unique(folded[name]).size == 1
    small, large = (compress_model(given, CONFIG).n_bytes for given in (folded, weights))
    assert small < large


@pytest.mark.parametrize(
    ("layers", "found"),
    [
        ({"conv": "fc"}, "'fc.weight': expected a vector"),
        ({"none": "bn"}, "'none.weight': expected 8 outputs"),
        ({"fc": "bn"}, "'fc.weight': expected 8 outputs"),
    ],
)
def test_layers_that_do_not_belong_together_are_refused(layers: Any, found: str) -> None:
    with pytest.raises(dc.SchemaMismatchError, match=found):
        fold_batch_norm(WEIGHTS, layers)
