# SPDX-License-Identifier: Apache-2.0
"""Settings: defaults, checks, and the text that travels."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from strategies import configs, examples

import fl_deepcabac as dc


def test_config_without_a_step_uses_a_relative_one() -> None:
    config = dc.CodecConfig()
    assert config.step is None
    assert config.relative_step is not None
    assert config == dc.CodecConfig(relative_step=config.relative_step)


def test_config_is_frozen() -> None:
    config = dc.CodecConfig(step=0.5)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.step = 1.0  # type: ignore[misc]


def test_config_stores_numbers_as_floats() -> None:
    config = dc.CodecConfig(step=np.float32(0.5), rd_lambda=1)
    assert (type(config.step), config.step) == (float, 0.5)
    assert (type(config.rd_lambda), config.rd_lambda) == (float, 1.0)


@examples(100)
@given(configs())
def test_config_json_round_trips(config: dc.CodecConfig) -> None:
    again = dc.CodecConfig.from_json(config.to_json())
    assert again == config
    assert again.to_json() == config.to_json()
    assert hash(again) == hash(config)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (field, value)
        for field in ("step", "relative_step", "rd_lambda", "dead_zone")
        for value in (-1.0, float("nan"), float("inf"), "1", True, [1.0], 1e200, 1j, 10**400)
    ]
    + [
        ("step", 0.0),
        ("step", 2.0**-101),
        ("step", 2.0**100 * 1.001),
        ("relative_step", 0.0),
        ("rd_lambda", None),
        ("dead_zone", 0.49),
        ("dead_zone", 1.0),
        ("profile", "slow"),
        ("profile", None),
        ("profile", 0),
        ("quantizer", "trellis"),
        ("allocation", "none"),
        ("error_feedback", 1),
        ("error_feedback", None),
    ],
)
def test_config_refuses_values_out_of_range(field: str, value: Any) -> None:
    with pytest.raises(dc.ConfigError) as caught:
        dc.CodecConfig(**{field: value})
    assert caught.value.field == field
    assert repr(field) in str(caught.value)
    assert "expected" in str(caught.value)
    assert f"found {value!r}" in str(caught.value)


@pytest.mark.parametrize("step", [2.0**-100, 2.0**100])
def test_config_accepts_the_bounds_of_the_format(step: float) -> None:
    assert dc.CodecConfig(step=step).step == step


def test_config_refuses_both_steps() -> None:
    with pytest.raises(dc.ConfigError, match="not both") as caught:
        dc.CodecConfig(step=0.5, relative_step=1.0)
    assert caught.value.field == "step"


@pytest.mark.parametrize("text", ["", "[]", "null", "{", "1", '"step"', "{" * 100_000])
def test_config_from_json_refuses_other_texts(text: str) -> None:
    with pytest.raises(dc.ConfigError, match="expected a JSON object"):
        dc.CodecConfig.from_json(text)


def test_config_from_json_refuses_unknown_settings_by_name() -> None:
    values = json.loads(dc.CodecConfig().to_json()) | {"stepp": 1}
    with pytest.raises(dc.ConfigError, match="'stepp'") as caught:
        dc.CodecConfig.from_json(json.dumps(values))
    assert caught.value.field == "stepp"


def test_config_from_json_checks_values() -> None:
    with pytest.raises(dc.ConfigError, match="'step'"):
        dc.CodecConfig.from_json('{"step":NaN}')


@pytest.mark.parametrize("names", [("step", "target_bytes"), ("step", "relative_step")])
def test_config_refuses_two_ways_to_find_steps(names: tuple[str, str]) -> None:
    with pytest.raises(dc.ConfigError, match=f"{names[0]} or {names[1]}, not both"):
        dc.CodecConfig(**dict.fromkeys(names, 1))


def test_config_refuses_all_ways_to_find_steps() -> None:
    with pytest.raises(dc.ConfigError, match="one of") as caught:
        dc.CodecConfig(step=1, relative_step=1, target_bytes=1)
    assert caught.value.field == "step"


def test_config_with_a_target_has_no_step() -> None:
    config = dc.CodecConfig(target_bytes=np.int64(700))
    assert (config.step, config.relative_step) == (None, None)
    assert (type(config.target_bytes), config.target_bytes) == (int, 700)
    assert dc.CodecConfig.from_json(config.to_json()) == config
    assert dc.CodecConfig(target_bits_per_weight=1).target_bits_per_weight == 1.0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("target_bytes", 0),
        ("target_bytes", 10.5),
        ("target_bytes", True),
        ("target_bytes", 2**32),
        ("target_bits_per_weight", 0.0),
        ("target_bits_per_weight", float("nan")),
        ("target_bits_per_weight", "1"),
        ("step_overrides", "*.bias"),
        ("step_overrides", 3),
        ("step_overrides", {"*": 0.0}),
        ("step_overrides", {"*": float("inf")}),
        ("step_overrides", {"*": "1"}),
        ("step_overrides", {"": 1.0}),
        ("step_overrides", {1: 1.0}),
        ("step_overrides", [("a", 1.0), ("a", 2.0)]),
        ("step_overrides", [("a", 1.0, 2.0)]),
        ("step_overrides", ["ab"]),
    ],
)
def test_config_refuses_bad_targets_and_overrides(field: str, value: Any) -> None:
    with pytest.raises(dc.ConfigError, match="expected") as caught:
        dc.CodecConfig(**{field: value})
    assert caught.value.field == field


def test_overrides_are_hashable_pairs_in_order_and_travel_as_json() -> None:
    config = dc.CodecConfig(step_overrides={"z.*": 0.5, "a": 2})
    assert config.step_overrides == (("z.*", 0.5), ("a", 2.0))
    again = dc.CodecConfig.from_json(config.to_json())
    assert again == config
    assert hash(again) == hash(config)
    assert config != dc.CodecConfig(step_overrides={"a": 2, "z.*": 0.5})


def test_a_step_per_client_becomes_one_for_so_many() -> None:
    config = dc.CodecConfig(relative_step_per_client=8, quantizer="stochastic", profile="max")
    assert config.relative_step is None
    assert dc.CodecConfig.from_json(config.to_json()) == config
    for n_clients, step in [(1, 8.0), (10, 80.0), (7.3456789, 58.77), (10**9, 1e6)]:
        resolved = config.for_clients(n_clients)
        assert resolved.relative_step == step
        assert resolved == dc.CodecConfig(relative_step=step, quantizer="stochastic", profile="max")
        assert resolved.for_clients(3) == resolved


@pytest.mark.parametrize("n_clients", [0, 0.5, -1, float("nan"), None, "3", True])
def test_a_number_of_clients_is_checked(n_clients: Any) -> None:
    config = dc.CodecConfig(relative_step_per_client=8, quantizer="stochastic")
    with pytest.raises(dc.ConfigError, match="n_clients"):
        config.for_clients(n_clients)


@pytest.mark.parametrize("quantizer", ["rdoq", "deadzone", "uniform"])
def test_only_noise_without_bias_allows_a_step_per_client(quantizer: Any) -> None:
    with pytest.raises(dc.ConfigError, match="expected stochastic, with relative_step_per_client"):
        dc.CodecConfig(relative_step_per_client=8, quantizer=quantizer)
    with pytest.raises(dc.ConfigError, match="relative_step or relative_step_per_client, not both"):
        dc.CodecConfig(relative_step_per_client=8, relative_step=1, quantizer="stochastic")


def test_a_step_per_client_codes_nothing_before_their_number_is_known() -> None:
    config = dc.CodecConfig(relative_step_per_client=8, quantizer="stochastic")
    update = {"w": np.linspace(-1, 1, 64, dtype=np.float32).reshape(8, 8)}
    encoder = dc.UpdateEncoder(dc.Schema.from_arrays(update), config)
    with pytest.raises(dc.ConfigError, match="from for_clients"):
        encoder.encode(update)
    with pytest.raises(dc.ConfigError, match="from for_clients"):
        dc.models.compress_model(update, config)
