# SPDX-License-Identifier: Apache-2.0
"""What steps cost on recorded updates, and which of them is recommended."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pytest

import fl_deepcabac as dc
from fl_deepcabac.config import Profile
from fl_deepcabac.feedback import carry_residual, find_residual
from fl_deepcabac.tune import Tuning, tune
from fl_deepcabac.tune_goal import COARSEST_STEP, FINEST_STEP, RESOLUTION, Goal, find_step
from fl_deepcabac.tune_points import TunePoint, TuneStream, take_part

Update = dict[str, np.ndarray]
STEPS = (0.5, 2.0, 8.0)


def make_update(seed: int, n_rows: int = 120) -> Update:
    rng = np.random.default_rng(seed)
    return {
        "fc.weight": rng.laplace(0, 0.01, (n_rows, 100)).astype(np.float32),
        "fc.bias": rng.normal(0, 0.02, n_rows).astype(np.float32),
        "count": np.array(seed),
    }


STREAM = [make_update(seed) for seed in range(4)]


def measured(tuning: Tuning, profile: Profile) -> list[TunePoint]:
    return [point for point in tuning.points if point.profile == profile]


def test_table_holds_every_step_of_every_profile_in_order() -> None:
    seen: list[TunePoint] = []
    tuning = tune(STREAM, goal=Goal("ratio", 30.0), relative_steps=STEPS, on_point=seen.append)
    assert sorted(seen, key=lambda p: (p.profile, p.relative_step)) == list(tuning.points)
    for profile in ("fast", "max"):
        points = measured(tuning, profile)  # type: ignore[arg-type]
        assert set(STEPS) <= {point.relative_step for point in points}
        assert [p.relative_step for p in points] == sorted(p.relative_step for p in points)
        ends = points[0], points[-1]
        assert ends[0].bits_per_weight > ends[1].bits_per_weight
        assert ends[0].relative_squared_error < ends[1].relative_squared_error
        assert ends[0].zero_share < ends[1].zero_share
    assert (tuning.n_updates, tuning.n_counted) == (4, 2)
    assert tuning.n_weights == tuning.n_table_weights == 12_121
    assert tuning.error_feedback


@pytest.mark.parametrize("profile", ["fast", "max"])
@pytest.mark.parametrize("error_feedback", [True, False])
def test_a_point_is_what_a_run_would_see(profile: Profile, error_feedback: bool) -> None:
    config = dc.CodecConfig(relative_step=3.0, profile=profile, error_feedback=error_feedback)
    point = TuneStream(STREAM).measure(config)
    schema = dc.Schema.from_arrays(STREAM[0])
    encoder, residual = dc.UpdateEncoder(schema, config), {}
    n_bytes, n_nonzero, error, energy = [], [], [], []
    for update in STREAM:
        carried = carry_residual(update, residual, schema)
        encoded = encoder.encode(update, residual=residual)
        left = find_residual(carried, encoded.decoded, schema)
        residual = left if error_feedback else {}
        n_bytes.append(len(encoded.packet))
        n_nonzero.append(sum(row.n_nonzero for row in encoded.report.tensors[:2]))
        error.append(sum(float(np.square(array, dtype=float).sum()) for array in left.values()))
        energy.append(sum(float(np.square(update[n], dtype=float).sum()) for n in left))
    assert point.bits_per_weight == 8 * sum(n_bytes[2:]) / (2 * schema.n_elements)
    assert point.ratio == 2 * schema.raw_bytes / sum(n_bytes[2:])
    assert point.relative_squared_error == pytest.approx(sum(error[2:]) / sum(energy[2:]), rel=1e-4)
    assert point.zero_share == 1 - sum(n_nonzero[2:]) / (2 * 12_120)
    assert point.encode_speed > 0
    assert point.decode_speed > 0


@pytest.mark.parametrize("profile", ["fast", "max"])
@pytest.mark.parametrize(
    ("goal", "misses"),
    [
        (Goal("ratio", 40.0), lambda p: p.ratio < 40),
        (Goal("bits", 0.7), lambda p: p.bits_per_weight > 0.7),
        (Goal("max_error", 0.2), lambda p: p.relative_squared_error > 0.2),
        # Beyond both ends of the table.
        (Goal("ratio", 5.0), lambda p: p.ratio < 5),
        (Goal("max_error", 0.001), lambda p: p.relative_squared_error > 0.001),
    ],
)
def test_a_recommendation_meets_the_goal_and_its_neighbour_does_not(
    goal: Goal, misses: Callable[[TunePoint], bool], profile: Profile
) -> None:
    tuning = tune(STREAM, goal=goal, profiles=[profile], relative_steps=STEPS)
    [found] = tuning.recommendations
    assert found.name == profile
    assert found.config.profile == profile
    assert found.config.relative_step == found.point.relative_step
    assert goal.is_met(found.point)
    assert not misses(found.point)
    step = found.point.relative_step
    is_finest = goal.name != "max_error"
    beyond = [
        point
        for point in tuning.points
        if misses(point) and (point.relative_step < step) is is_finest
    ]
    nearest = min(abs(math.log(point.relative_step / step)) for point in beyond)
    assert nearest <= 2 * math.log(RESOLUTION)


def test_a_goal_out_of_reach_leads_to_no_recommendation() -> None:
    tuning = tune(STREAM, goal=Goal("ratio", 1e6), profiles=["fast"], relative_steps=STEPS)
    assert tuning.recommendations == ()
    assert max(point.relative_step for point in tuning.points) == COARSEST_STEP


def test_without_a_goal_qualities_are_measured() -> None:
    tuning = tune(STREAM, profiles=["fast"], relative_steps=STEPS)
    names = [row.name for row in tuning.recommendations]
    assert names == ["near-lossless", "balanced", "smallest"]
    for row in tuning.recommendations:
        assert row.config == dc.CodecConfig.auto(row.name)  # type: ignore[arg-type]
        assert row.point.relative_step == row.config.relative_step
    bits = [row.point.bits_per_weight for row in tuning.recommendations]
    assert bits == sorted(bits, reverse=True)


def test_one_update_is_judged_as_a_file_and_cautions_say_so() -> None:
    tuning = tune(STREAM[:1], profiles=["fast"], relative_steps=STEPS)
    assert (tuning.n_updates, tuning.n_counted, tuning.error_feedback) == (1, 1, False)
    assert tuning.cautions[0].startswith("one update: ")
    for row in tuning.recommendations:
        expected = dc.CodecConfig.auto(row.name, error_feedback=False)  # type: ignore[arg-type]
        assert row.config == expected
    packet = dc.compress(STREAM[0], dc.CodecConfig(relative_step=2.0))
    [point] = [point for point in tuning.points if point.relative_step == 2.0]
    assert point.bits_per_weight == 8 * len(packet) / 12_121


def test_few_and_tiny_updates_are_cautioned_about() -> None:
    def cautions(updates: list[Update]) -> str:
        tuning = tune(updates, profiles=["fast"], relative_steps=[1.0])
        return "; ".join(tuning.cautions)

    assert "4 updates: " in cautions(STREAM)
    assert "weights: the header" not in cautions(STREAM)
    assert "301 weights: the header" in cautions([small(seed) for seed in range(9)])
    assert "updates: " not in cautions([make_update(seed) for seed in range(8)])
    lost = tune(
        STREAM,
        goal=Goal("ratio", 200.0),
        profiles=["fast"],
        relative_steps=STEPS,
        error_feedback=False,
    )
    assert any("most of an update is lost" in text for text in lost.cautions)


def small(seed: int) -> Update:
    return {"w": np.random.default_rng(seed).normal(0, 1, (7, 43)).astype(np.float32)}


def test_large_updates_are_measured_in_part_and_recommended_whole() -> None:
    goal = Goal("ratio", 40.0)
    part = tune(STREAM, goal=goal, profiles=["fast"], relative_steps=STEPS, max_weights=3000)
    whole = tune(STREAM, goal=goal, profiles=["fast"], relative_steps=STEPS, max_weights=None)
    assert part.n_weights == whole.n_table_weights == 12_121
    assert 2700 < part.n_table_weights < 3300
    assert any("the table is of" in text for text in part.cautions)
    [found], [expected] = part.recommendations, whole.recommendations
    assert goal.is_met(found.point)
    assert found.point.relative_step == pytest.approx(expected.point.relative_step, rel=0.06)
    again = TuneStream(STREAM).measure(found.config)
    assert again.bits_per_weight == found.point.bits_per_weight
    for ours, theirs in zip(measured(part, "fast"), STEPS, strict=False):
        if ours.relative_step == theirs:
            assert (
                ours.bits_per_weight
                != TuneStream(STREAM).measure(dc.CodecConfig(relative_step=theirs)).bits_per_weight
            )


def test_a_part_has_rows_from_everywhere_and_every_tensor() -> None:
    update = {
        "rows": np.arange(2000.0)[:, None] * np.ones(10),
        "few": np.ones((2, 5000)),
        "bias": np.arange(100.0),
        "count": np.array(3),
        "none": np.zeros((0, 4)),
    }
    [part] = take_part([update], 3000)
    assert list(part) == list(update)
    rows = part["rows"][:, 0]
    assert len(rows) == pytest.approx(200, abs=16)
    assert (np.diff(rows) > 0).all()
    assert (np.diff(rows) == 1).sum() > len(rows) / 2
    assert (rows[0], rows[-1]) == (0, 1999)
    assert part["few"].shape == (1, 5000)
    assert part["count"] == 3
    assert part["none"].shape == (0, 4)
    assert take_part([update], 10**6) == [update]


def test_what_cannot_be_measured_is_named() -> None:
    with pytest.raises(dc.SchemaMismatchError, match="expected at least one, found none"):
        tune([])
    with pytest.raises(dc.SchemaMismatchError, match="expected floating-point tensors"):
        tune([{"n": np.array([1, 2])}])
    with pytest.raises(dc.SchemaMismatchError):
        tune([STREAM[0], {"other": STREAM[0]["fc.weight"]}], relative_steps=[1.0])
    with pytest.raises(dc.NonFiniteError):
        tune([{"w": np.full((4, 4), np.nan, np.float32)}], relative_steps=[1.0])


def test_an_update_of_zeros_has_no_error() -> None:
    tuning = tune([{"w": np.zeros((40, 40), np.float32)}], profiles=["fast"], relative_steps=[1.0])
    assert tuning.points[0].relative_squared_error == 0
    assert tuning.points[0].zero_share == 1


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize("name", ["ratio", "bits", "max_error"])
def test_a_goal_is_positive(name: str, value: float) -> None:
    with pytest.raises(dc.ConfigError, match="expected a positive number"):
        Goal(name, value)  # type: ignore[arg-type]


def test_a_goal_has_a_known_name() -> None:
    with pytest.raises(dc.ConfigError, match="one of ratio, bits, max_error"):
        Goal("speed", 1.0)  # type: ignore[arg-type]


@pytest.mark.parametrize("threshold", [0.005, 0.3, 1.0, 5.0, 16.0, 60.0])
@pytest.mark.parametrize("stride", [1.1, 2.0])
@pytest.mark.parametrize("steps", [[1.0], [0.25, 1.0, 4.0]])
def test_steps_are_found_to_within_some_per_cent(
    threshold: float, stride: float, steps: list[float]
) -> None:
    finest = find_step(lambda s: s >= threshold, steps, wants_finest=True, stride=stride)
    coarsest = find_step(lambda s: s < threshold, steps, wants_finest=False, stride=stride)
    assert finest is not None
    assert coarsest is not None
    assert coarsest < threshold <= finest <= 1.001 * RESOLUTION * coarsest


def test_steps_end_somewhere() -> None:
    assert find_step(lambda _: False, [1.0], wants_finest=True) is None
    assert find_step(lambda _: False, [1.0], wants_finest=False) is None
    assert find_step(lambda _: True, [1.0], wants_finest=True) == FINEST_STEP
    assert find_step(lambda _: True, [1.0], wants_finest=False) == COARSEST_STEP


def test_results_are_frozen() -> None:
    tuning = tune(STREAM, profiles=["fast"], relative_steps=[1.0])
    for frozen in (tuning, tuning.points[0], tuning.recommendations[0], Goal("bits", 1.0)):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(frozen, dataclasses.fields(frozen)[0].name, None)
