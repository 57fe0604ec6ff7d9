# SPDX-License-Identifier: Apache-2.0
"""What every method promises: a round trip within its error, a memory that loses nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from experiments.baseline_samples import (
    SPECS,
    Update,
    decode,
    edge_cases,
    encode,
    floats_of,
    label,
    make_update,
    method_of,
)
from numpy.typing import NDArray

from fl_deepcabac import NonFiniteError, Schema, SchemaMismatchError
from fl_deepcabac.errors import EncodeError

CASES = edge_cases()
Vector = NDArray[np.float64]
ROUNDING = 1e-5  # of float32, relative, over a few operations
TINY = 1e-43  # some of the least numbers of float32


def per_tensor(update: Update, size: Callable[[Vector], Any]) -> Vector:
    """Return a number a tensor, once for each of its values."""
    schema = Schema.from_arrays(update)
    parts = [np.zeros(0)]
    for spec in schema.level_tensors:
        own = update[spec.name].reshape(-1).astype(np.float64)
        parts.append(np.full(own.size, size(own) if own.size else 0.0))
    return np.concatenate(parts)


def largest(own: Vector) -> float:
    return float(np.abs(own).max())


def spread(own: Vector) -> float:
    return float(np.ptp(own))


def error_bound(spec: dict[str, Any], update: Update) -> Vector | None:
    """Return the most that each value may be off by; None where only all together have a bound."""
    x, settings = floats_of(update), method_of(spec).describe()
    bound: Vector | None = None
    match spec["name"]:
        case "zstd":
            bound = np.zeros(x.size)
        case "fp16":
            bound = 2.0**-11 * np.abs(x) + 2.0**-25 + np.maximum(np.abs(x) - 65504, 0)
        case "bf16":
            bound = 2.0**-8 * np.abs(x) + 2.0**-134
        case "uniform" if settings["span"] == "minmax":
            bound = per_tensor(update, spread) / (2 ** settings["bits"] - 1) / 2
        case "uniform":
            bound = per_tensor(update, largest) / (2 ** settings["bits"] - 2)
        case "sz3" if settings["relative_to"] == "rms":
            bound = settings["bound"] * per_tensor(update, lambda own: np.sqrt(np.mean(own**2)))
        case "sz3":
            bound = settings["bound"] * per_tensor(update, lambda own: spread(own) or largest(own))
        case "qsgd":
            # Less than the distance of levels, were there but one bucket.
            norm = np.linalg.norm(x) if settings["norm"] == "l2" else np.abs(x).max(initial=0)
            bound = np.full(x.size, norm / settings["levels"])
        case "kmeans":
            bound = per_tensor(update, spread)
    return bound


def assert_within_error(spec: dict[str, Any], update: Update, decoded: Update) -> None:
    """Demand the error that a method states."""
    x, error = floats_of(update), np.abs(floats_of(update) - floats_of(decoded))
    # What float32 and the dtype of a tensor take away from any method but the one without loss.
    slack = ROUNDING * per_tensor(update, largest) + TINY
    if any(array.dtype == np.float16 for array in update.values()):
        slack += 2.0**-10 * per_tensor(update, largest)
    bound = error_bound(spec, update)
    if bound is not None:
        assert (error <= bound + (0 if spec["name"] == "zstd" else slack)).all()
        return
    # The others are projections; DRIVE has pi / 2 - 1 times the energy (theorem 2), more in low
    # dimensions.
    is_unbiased = method_of(spec).describe().get("scale") == "unbiased"
    energy = np.sum(x**2) * (4 if is_unbiased else 1 + ROUNDING)
    assert np.sum(error**2) <= energy + np.sum(slack**2)


@pytest.mark.parametrize("spec", SPECS, ids=label)
@pytest.mark.parametrize("case", CASES)
def test_round_trip_keeps_form_and_error(spec: dict[str, Any], case: str) -> None:
    update, method = CASES[case], method_of(spec)
    payload, memory = encode(method, update)
    decoded = decode(method, payload, update)
    assert list(decoded) == list(update)
    schema = Schema.from_arrays(update)
    for tensor in schema.tensors:
        array = decoded[tensor.name]
        assert (array.shape, array.dtype.name) == (tensor.shape, tensor.dtype), tensor.name
        assert np.isfinite(array).all(), tensor.name
        if tensor.is_exact:
            assert array.tobytes() == update[tensor.name].tobytes()
    assert all(np.isfinite(array).all() for array in memory.values())
    assert all(array.dtype.kind == "f" for array in memory.values())
    if case != "largest":
        assert_within_error(spec, update, decoded)


@pytest.mark.parametrize("spec", SPECS, ids=label)
def test_round_trip_of_an_ordinary_update(spec: dict[str, Any]) -> None:
    update, method = make_update(), method_of(spec)
    before = {name: array.copy() for name, array in update.items()}
    payload, _ = encode(method, update)
    assert_within_error(spec, update, decode(method, payload, update))
    assert encode(method, update)[0] == payload
    assert all(np.array_equal(update[name], array) for name, array in before.items())


@pytest.mark.parametrize("spec", SPECS, ids=label)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(spec: dict[str, Any], value: float) -> None:
    update = make_update()
    update["conv.weight"][1, 2, 0, 1] = value
    with pytest.raises(NonFiniteError) as caught:
        encode(method_of(spec), update)
    assert (caught.value.tensor, caught.value.index) == ("conv.weight", (1, 2, 0, 1))


@pytest.mark.parametrize("spec", SPECS, ids=label)
def test_update_of_another_model_is_refused(spec: dict[str, Any]) -> None:
    update, rng = make_update(), np.random.default_rng(0)
    schema = Schema.from_arrays(update)
    for changes in ({"bias": update["bias"][:3]}, {"more": update["bias"]}):
        with pytest.raises(SchemaMismatchError):
            method_of(spec).encode(update | changes, schema, {}, rng)


@pytest.mark.parametrize("name", ["topk", "drive", "powersgd", "uniform"])
def test_float64_beyond_float32_is_refused(name: str) -> None:
    with pytest.raises(EncodeError, match="'w': expected numbers within float32"):
        encode(method_of({"name": name}), {"w": np.array([1.0, 1e300])})
    update = {"w": np.array([1.0, 1e300])}
    zstd = method_of({"name": "zstd"})
    assert decode(zstd, encode(zstd, update)[0], update)["w"][1] == 1e300


@pytest.mark.parametrize("spec", [spec for spec in SPECS if spec["name"] != "zstd"], ids=label)
def test_error_feedback_loses_nothing(spec: dict[str, Any]) -> None:
    """What has been decoded and what is remembered add up to all updates."""
    method, memory = method_of(spec, error_feedback=True), {}
    total, received = 0.0, 0.0
    for number in range(4):
        update = make_update(number)
        payload, memory = encode(method, update, memory, seed=number)
        total = total + floats_of(update)
        received = received + floats_of(decode(method, payload, update))
    assert np.abs(received + memory["residual"] - total).max() < 1e-6
    without = method_of(spec, error_feedback=False)
    assert "residual" not in encode(without, make_update(), memory)[1]


@pytest.mark.parametrize("name", ["topk", "stc", "signsgd", "powersgd"])
def test_error_feedback_is_on_where_the_paper_has_it(name: str) -> None:
    assert method_of({"name": name}).describe()["error_feedback"] is True


def test_error_feedback_sees_what_half_precision_takes_away() -> None:
    """The residual is against what the receiver has, and it has a float16 tensor."""
    update = {"w": np.array([1.0, 0.3, -0.2] * 4, np.float16)}
    method = method_of({"name": "uniform", "bits": 3, "error_feedback": True})
    payload, memory = encode(method, update)
    decoded = decode(method, payload, update)["w"].astype(np.float64)
    assert np.array_equal(memory["residual"], (update["w"] - decoded).astype(np.float32))


def test_memory_of_another_model_is_not_used() -> None:
    method = method_of({"name": "powersgd"})
    _, memory = encode(method, make_update())
    other = {"fc.weight": np.ones((30, 50), np.float32)}
    payload, _ = encode(method, other, memory)
    assert np.allclose(decode(method, payload, other)["fc.weight"], 1.0, atol=1e-5)
