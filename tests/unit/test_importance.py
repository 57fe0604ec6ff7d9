# SPDX-License-Identifier: Apache-2.0
"""Importance: whose errors count more, for the quantiser alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from strategies import PROFILES

import fl_deepcabac as dc

RNG = np.random.default_rng(23)
UPDATE: dict[str, NDArray[Any]] = {
    "w": RNG.standard_t(3, (60, 70)).astype(np.float32),
    "counter": np.array(3),
    "b": RNG.normal(size=80),
}
SCHEMA = dc.Schema.from_arrays(UPDATE)
CONFIG = dc.CodecConfig(step=1.0, rd_lambda=0.15)


def encode(importance: Any, config: dc.CodecConfig = CONFIG) -> dc.EncodedUpdate:
    return dc.UpdateEncoder(SCHEMA, config).encode(UPDATE, importance=importance)


def squared_error(encoded: dc.EncodedUpdate, name: str, where: Any) -> float:
    return float(np.mean((UPDATE[name] - encoded.decoded[name])[where] ** 2))


@pytest.mark.parametrize("profile", PROFILES)
def test_errors_are_smaller_where_they_count_more(profile: Any) -> None:
    config = dc.CodecConfig(step=1.0, rd_lambda=0.15, profile=profile)
    is_important = np.arange(60)[:, None] % 2 == np.zeros(70)
    importance = {"w": np.where(is_important, 9.0, 1.0)}
    plain, weighted = encode(None, config), encode(importance, config)
    assert squared_error(weighted, "w", is_important) < squared_error(plain, "w", is_important)
    assert squared_error(weighted, "w", ~is_important) > squared_error(plain, "w", ~is_important)
    decoder = dc.UpdateDecoder(SCHEMA, config)
    assert decoder.decode(weighted.packet)["w"].tobytes() == weighted.decoded["w"].tobytes()


@pytest.mark.parametrize(
    "importance",
    [
        {},
        {"w": np.ones((60, 70), np.float16)},
        {"w": np.full((60, 70), 3e38, np.float32), "b": np.full(80, 1e-300)},
        {"w": np.zeros((60, 70)), "b": np.zeros(80)},
    ],
    ids=["none", "ones", "equal", "zeros"],
)
def test_equal_importance_changes_nothing(importance: Any) -> None:
    assert encode(importance).packet == encode(None).packet


def test_unit_of_importance_does_not_matter() -> None:
    importance = RNG.gamma(0.5, size=(60, 70))
    one, two = encode({"w": importance}), encode({"w": 2.0**-40 * importance})
    assert one.packet == two.packet
    assert one.packet != encode(None).packet


def test_other_tensors_keep_their_levels_at_price_zero() -> None:
    config = dc.CodecConfig(step=0.3, rd_lambda=0.0)
    importance = {"w": RNG.gamma(0.5, size=(60, 70)) + 0.01}
    one, two = encode(importance, config), encode(None, config)
    assert one.decoded["b"].tobytes() == two.decoded["b"].tobytes()
    # Offsets are fitted to what is important; levels are the nearest either way.
    levels = [np.rint(encoded.decoded["w"] / 0.3) for encoded in (one, two)]
    assert (levels[0] == levels[1]).all()


def test_importance_works_within_a_budget() -> None:
    config = dc.CodecConfig(target_bytes=500)
    assert 485 <= len(encode({"w": RNG.gamma(0.5, size=(60, 70))}, config).packet) <= 500


@pytest.mark.parametrize("value", [-1e-9, float("nan"), float("inf"), -float("inf")])
def test_bad_importance_is_named(value: float) -> None:
    importance = np.ones((60, 70), np.float32)
    importance[3, 5] = value
    with pytest.raises(dc.ImportanceError, match=r"'w'.*\(3, 5\)") as caught:
        encode({"w": importance})
    assert (caught.value.tensor, caught.value.index) == ("w", (3, 5))


@pytest.mark.parametrize(
    ("importance", "found"),
    [
        ({"w": np.ones((70, 60))}, r"\(70, 60\)"),
        ({"w": np.ones((60, 70), np.int64)}, "int64"),
        ({"counter": np.array(1.0)}, "counter"),
        ({"v": np.ones(3)}, "'v'"),
    ],
)
def test_importance_of_another_model_is_refused(importance: Any, found: str) -> None:
    with pytest.raises(dc.SchemaMismatchError, match=found):
        encode(importance)


@pytest.mark.parametrize("quantizer", ["deadzone", "uniform", "stochastic"])
def test_importance_needs_the_quantiser_that_weighs_errors(quantizer: Any) -> None:
    with pytest.raises(dc.ConfigError, match="rdoq"):
        encode({}, dc.CodecConfig(quantizer=quantizer))
