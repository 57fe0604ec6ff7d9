# SPDX-License-Identifier: Apache-2.0
"""Which step each tensor gets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fl_deepcabac as dc
from fl_deepcabac.allocation import allocate_steps, share_by_size, unit_steps
from fl_deepcabac.arrays import flatten_values

SHAPES = {"large": (100, 100), "middle": (50, 50), "small": (10,)}


def steps_of(scales: dict[str, float], **settings: Any) -> dict[str, float]:
    update = {
        name: (scale * np.where(np.arange(np.prod(shape)) % 2, 1, -1))
        .astype(np.float32)
        .reshape(shape)
        for name, scale in scales.items()
        for shape in [SHAPES.get(name, SHAPES["small"])]
    }
    schema = dc.Schema.from_arrays(update)
    config = dc.CodecConfig(**settings)
    units = unit_steps(flatten_values(update, schema), schema=schema, config=config)
    steps = allocate_steps(units, config=config)
    return dict(zip(update, steps.tolist(), strict=True))


def test_absolute_step_goes_to_all_tensors() -> None:
    steps = steps_of({"large": 1.0, "small": 9.0}, step=0.3)
    assert list(steps.values()) == [np.float32(0.3)] * 2


def test_relative_step_follows_the_root_mean_square() -> None:
    steps = steps_of({"large": 1.0, "middle": 4.0}, relative_step=2.0, allocation="uniform")
    assert steps == {"large": 2.0, "middle": 8.0}


def test_relative_step_is_proportional_to_its_setting() -> None:
    fine = steps_of({"large": 1.0, "small": 1.0}, relative_step=0.5)
    coarse = steps_of({"large": 1.0, "small": 1.0}, relative_step=4.0)
    assert {name: 8 * step for name, step in fine.items()} == coarse


def test_allocation_by_size_gives_small_tensors_finer_steps() -> None:
    steps = steps_of({"large": 1.0, "middle": 1.0, "small": 1.0}, relative_step=1.0)
    assert steps["large"] == 1.0
    assert steps["middle"] == 0.5  # a quarter of the weights, half the step
    assert steps["small"] == pytest.approx(0.2, rel=1 / 16)  # the finest share
    assert list(share_by_size(np.array([100, 25, 1]))) == [1.0, 0.5, 0.2]


def test_steps_are_rounded_to_few_bits_so_that_they_repeat() -> None:
    steps = {steps_of({"large": 1.0 + 0.001 * k}, relative_step=1.0)["large"] for k in range(20)}
    assert steps == {1.0}
    for scale in (0.7, 3.3e-5, 1.9e7):
        step = steps_of({"large": scale}, relative_step=1.0)["large"]
        assert np.float32(step).view(np.uint32) & 0xFFFFF == 0
        assert step == pytest.approx(scale, rel=1 / 16)


@pytest.mark.parametrize("scale", [0.0, 1e-45, 1e-38, 3e38])
def test_steps_stay_within_the_format(scale: float) -> None:
    (step,) = steps_of({"large": scale}, relative_step=100.0).values()
    assert 2.0**-100 <= step <= 2.0**100


def test_schema_without_level_tensors_has_no_steps() -> None:
    schema = dc.Schema.from_arrays({"i": np.zeros(3, np.int8)})
    units = unit_steps(np.zeros(0, np.float32), schema=schema, config=dc.CodecConfig())
    assert allocate_steps(units, config=dc.CodecConfig()).shape == (0,)


def test_overrides_are_factors_and_the_first_match_wins() -> None:
    overrides = {"l*": 0.5, "large": 8.0, "sm?ll": 0.25}
    scales = {"large": 1.0, "middle": 1.0, "small": 1.0}
    assert list(steps_of(scales, step=0.3, step_overrides=overrides).values()) == [
        np.float32(0.15),
        np.float32(0.3),
        np.float32(0.075),
    ]
    plain = steps_of(scales, relative_step=2.0)
    changed = steps_of(scales, relative_step=2.0, step_overrides=overrides)
    assert changed == {
        "large": 0.5 * plain["large"],
        "middle": plain["middle"],
        "small": 0.25 * plain["small"],
    }


def test_override_that_matches_no_tensor_is_an_error() -> None:
    for settings in ({"step": 1.0}, {}, {"relative_step": 2.0}):
        with pytest.raises(dc.ConfigError, match=r"'Large'") as caught:
            steps_of({"large": 1.0}, step_overrides={"l*": 2.0, "Large": 0.5}, **settings)
        assert caught.value.field == "step_overrides"


def test_override_may_name_an_exact_tensor() -> None:
    update = {"w": np.ones(3, np.float32), "steps": np.array(3)}
    packet = dc.compress(update, dc.CodecConfig(step=1.0, step_overrides={"steps": 0.5}))
    assert packet == dc.compress(update, dc.CodecConfig(step=1.0))


def test_overrides_stay_within_the_format() -> None:
    config = {"step": 2.0**-100, "step_overrides": {"*": 1e-6}}
    assert steps_of({"large": 1.0}, **config)["large"] == 2.0**-100


@pytest.mark.parametrize(
    ("name", "factor"),
    [
        ("layer1.0.bn1.running_var", 0.02),
        ("running_mean", 0.02),
        ("batch_normalization/moving_variance:0", 0.02),
        ("batch_normalization/moving_mean", 0.02),
        ("batch_stats/BatchNorm_0/mean", 0.02),
        ("bn.weight", 1.0),
        ("prerunning_mean", 1.0),
        ("running_mean.weight", 1.0),
    ],
)
def test_running_statistics_get_finer_steps(name: str, factor: float) -> None:
    scales = {"large": 1.0, name: 1.0}
    alike: dict[str, Any] = {"relative_step": 4.0, "allocation": "uniform"}
    steps = steps_of(scales, **alike)
    assert steps[name] == pytest.approx(factor * steps["large"], rel=1 / 16)
    # A pattern is the user's word, and an absolute step is for all.
    assert steps_of(scales, **alike, step_overrides={"*": 1.0})[name] == steps["large"]
    assert steps_of(scales, step=0.5)[name] == np.float32(0.5)
