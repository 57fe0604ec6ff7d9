# SPDX-License-Identifier: Apache-2.0
"""What runs come to when they are compared: grouped, averaged and paired as by hand."""

from __future__ import annotations

import random

import numpy as np
import pytest
from experiments.made_up import make_finished, make_study

from fl_deepcabac.experiments.comparison.curves import curve_of, layer_shares, least_on_scale
from fl_deepcabac.experiments.comparison.grouping import Comparison, ComparisonError, compare
from fl_deepcabac.experiments.comparison.labels import (
    Box,
    beside_points,
    shorten,
    spread_out,
    text_width,
)
from fl_deepcabac.experiments.comparison.measures import Summary, summarise
from fl_deepcabac.experiments.comparison.words import find, format_plus_minus
from fl_deepcabac.experiments.study_folder import FinishedRun


def lines_of(comparison: Comparison) -> dict[str, Summary]:
    """Return the lines of the only setting by label."""
    (setting,) = comparison.settings
    return {line.label: line for line in summarise(setting)}


def said_of(comparison: Comparison) -> tuple[str, str, str]:
    """Return the finding of the only setting."""
    (setting,) = comparison.settings
    finding = find(setting, summarise(setting))
    return finding.subject, finding.text, finding.context


def pair(**finals: tuple[float | None, ...]) -> list[FinishedRun]:
    """Return runs with these final accuracies, for seeds from 0 on."""
    return [
        make_finished(label, seed=seed, accuracies=(0.1, 0.2, final))
        for label, values in finals.items()
        for seed, final in enumerate(values)
    ]


def test_numbers_are_those_reckoned_by_hand() -> None:
    lines = lines_of(compare(pair(FP32=(0.60, 0.62, 0.64), ours=(0.59, 0.60, 0.64))))
    assert list(lines) == ["FP32", "ours"]
    ours = lines["ours"]
    assert ours.accuracy is not None
    assert ours.accuracy.mean == pytest.approx(0.61)
    # Deviations -0.02, -0.01, 0.03: the sum of squares is 0.0014, over n - 1.
    assert ours.accuracy.std == pytest.approx(0.0007**0.5)
    assert ours.points_below is not None
    assert ours.points_below.values == pytest.approx((1.0, 2.0, 0.0))
    assert ours.points_below.mean == pytest.approx(1.0)
    assert ours.points_below.std == pytest.approx(1.0)
    # Three rounds of 100 bytes up and 8000 down, beside 4000 up and 8000 down.
    assert ours.uplink_bytes.mean == 300
    assert ours.downlink_bytes.mean == 24_000
    assert ours.uplink_ratio == pytest.approx(40)
    assert ours.downlink_ratio == pytest.approx(1)
    # 4100 bytes with the envelope, and 200.
    assert ours.uplink_wire_ratio == pytest.approx(20.5)
    assert ours.total_ratio == pytest.approx(36_000 / 24_300)
    # 500 weights of 2 clients.
    assert ours.bits_per_weight is not None
    assert ours.bits_per_weight.mean == pytest.approx(0.8)
    assert ours.encode_seconds is not None
    assert ours.encode_seconds.mean == pytest.approx(0.002)
    assert ours.decode_seconds is not None
    assert ours.decode_seconds.mean == pytest.approx(0.001)
    assert lines["FP32"].uplink_ratio == 1


def test_best_accuracy_is_that_of_each_seed() -> None:
    runs = [
        make_finished(seed=0, accuracies=(0.2, 0.7, None)),
        make_finished(seed=1, accuracies=(0.9, 0.1, 0.3)),
    ]
    line = lines_of(compare(runs))["FP32"]
    assert line.best_accuracy is not None
    assert line.best_accuracy.values == (0.7, 0.9)
    # A seed without a value is not left out of the mean in silence.
    assert line.accuracy is None


def test_pairs_are_of_equal_seed_only() -> None:
    comparison = compare(
        [
            *pair(FP32=(0.60, 0.70)),
            make_finished("ours", seed=1, accuracies=(0.1, 0.2, 0.69)),
            make_finished("ours", seed=5, accuracies=(0.1, 0.2, 0.10), uplink_packet_bytes=7),
        ]
    )
    ours = lines_of(comparison)["ours"]
    assert ours.accuracy is not None
    assert ours.accuracy.values == (0.69, 0.10)
    assert ours.points_below is not None
    assert ours.points_below.values == pytest.approx((1.0,))
    assert ours.points_below.std is None
    assert ours.uplink_ratio == pytest.approx(40)
    (title,) = (setting.title for setting in comparison.settings)
    assert comparison.notes == (
        f"{title}, FP32: no whole run of seed 5.",
        f"{title}, ours: no whole run of seed 0.",
    )


def test_the_way_to_the_target_is_counted_up_to_the_first_round_that_is_there() -> None:
    runs = [
        *pair(FP32=(0.60, 0.70)),
        # A hundred of 10 000 pictures below, and one more.
        make_finished("ours", seed=0, accuracies=(0.5899, 0.59, 0.58)),
        make_finished("ours", seed=1, accuracies=(0.70, None, 0.1)),
        make_finished("never", seed=0, accuracies=(0.5, 0.5, 0.5)),
        make_finished("never", seed=1, accuracies=(0.7, 0.7, 0.7)),
    ]
    lines = lines_of(compare(runs))
    ours = lines["ours"]
    assert ours.rounds_to_target is not None
    assert ours.rounds_to_target.values == (2.0, 1.0)
    assert ours.bytes_to_target is not None
    # 100 bytes a round.
    assert ours.bytes_to_target.values == (200.0, 100.0)
    assert lines["FP32"].bytes_to_target is not None
    assert lines["FP32"].bytes_to_target.values == (12_000.0, 12_000.0)
    # A seed that never came so close is not left out of the mean in silence.
    assert (lines["never"].rounds_to_target, lines["never"].bytes_to_target) == (None, None)


def test_without_an_uncompressed_run_nothing_is_compared_with_one() -> None:
    comparison = compare(pair(ours=(0.6, 0.5)))
    ours = lines_of(comparison)["ours"]
    assert (ours.points_below, ours.uplink_ratio, ours.total_ratio) == (None, None, None)
    assert any("no uncompressed run" in note for note in comparison.notes)
    assert said_of(comparison)[1] == "55.0 ± 7.1 % with 300 B of uplink (2 seeds)"


def test_one_seed_has_no_spread() -> None:
    comparison = compare(pair(FP32=(0.6,), ours=(0.598,)))
    ours = lines_of(comparison)["ours"]
    assert ours.accuracy is not None
    assert ours.accuracy.std is None
    subject, text, _ = said_of(comparison)
    assert (subject, text) == (
        "ours",
        "59.8 % at 1/40.0 of the uplink, 0.2 points below FP32 (1 seed)",
    )


def test_runs_that_lack_rounds_are_left_out_with_a_note() -> None:
    short = make_finished("ours", seed=1, accuracies=(0.1,))
    failed = make_finished(
        "ours", seed=2, about={"status": "failed", "reason": "round 2: nobody replied"}
    )
    gap = make_finished("ours", seed=3)
    del gap.rows[1]
    empty = make_finished("ours", seed=4, accuracies=(), about={"status": "failed"})
    comparison = compare([*pair(FP32=(0.6,), ours=(0.5,)), short, failed, gap, empty])
    assert lines_of(comparison)["ours"].runs.seeds == (0,)
    assert comparison.n_runs == 2
    assert comparison.notes == (
        "ours-1 is left out: 1 of 3 rounds.",
        "ours-2 is left out: 3 of 3 rounds (round 2: nobody replied).",
        "ours-3 is left out: 2 of 3 rounds.",
        "ours-4 is left out: 0 of 3 rounds.",
    )


def test_nothing_but_broken_runs_is_an_error() -> None:
    with pytest.raises(ComparisonError, match="expected a run that came to its end, found none of"):
        compare([make_finished(accuracies=(0.1,))])


def test_accuracies_that_are_missing_leave_gaps_and_a_note() -> None:
    comparison = compare(pair(FP32=(0.6, 0.6), ours=(0.5, None)))
    ours = lines_of(comparison)["ours"]
    assert (ours.accuracy, ours.points_below, ours.is_on_front) == (None, None, False)
    curve = curve_of(ours.runs, lambda row: row.accuracy)
    assert np.isnan(curve.mean).tolist() == [False, False, True]
    assert any("no finite accuracy in the end with seed 1" in note for note in comparison.notes)
    assert said_of(comparison)[1].startswith("no finite accuracy at 1/40.0 of the uplink")
    assert format_plus_minus(ours.accuracy) == "–"


def test_settings_are_apart_and_seeds_are_not() -> None:
    runs = [
        make_finished(seed=seed, settings={"alpha": alpha, "workers": seed + 1, "data_dir": "x"})
        for alpha in (0.5, None)
        for seed in (0, 1)
    ]
    # A setting that later versions have is as if it were not there.
    runs[0].about["settings"]["invented"] = None
    comparison = compare(runs)
    assert [setting.title for setting in comparison.settings] == ["Dirichlet(0.5)", "IID"]
    assert [setting.codecs[0].seeds for setting in comparison.settings] == [(0, 1), (0, 1)]
    assert comparison.subtitle == "digits, 2 clients, 3 rounds, fedavg"


def test_cases_name_what_goes_together() -> None:
    runs = [
        make_finished(about={"case": case}, settings={"clients": clients, "alpha": alpha})
        for case, clients in (("few", 2), ("many", 50))
        for alpha in ((0.5,) if case == "few" else (0.5, None, "natural"))
    ]
    titles = [setting.title for setting in compare(runs).settings]
    assert titles == ["few", "many, Dirichlet(0.5)", "many, IID", "many, natural parts"]


def test_label_stands_for_one_codec() -> None:
    runs = [
        make_finished("compressed", seed=step, about={"codec_settings": {"step": step, "a": 1}})
        for step in (1, 2)
    ]
    assert compare(runs).labels == ("compressed, step 1", "compressed, step 2")
    runs[1].about.update(codec="other", codec_settings=runs[0].about["codec_settings"])
    assert compare(runs).labels == ("compressed, deepcabac", "compressed, other")


def test_seed_counts_once() -> None:
    again = make_finished(accuracies=(0.1, 0.1, 0.9), about={"run_id": "z"})
    comparison = compare([again, *pair(FP32=(0.6,))])
    line = lines_of(comparison)["FP32"]
    assert line.accuracy is not None
    assert line.accuracy.values == (0.6,)
    assert comparison.notes == ("z is left out: FP32 has another run of seed 0.",)


def test_order_of_runs_does_not_matter() -> None:
    runs = list(make_study(n_rounds=2))
    shuffled = random.Random(1).sample(runs, len(runs))
    assert compare(shuffled) == compare(runs)


def test_lost_updates_warnings_and_versions_are_told() -> None:
    runs = pair(FP32=(0.6,))
    runs.append(
        make_finished(
            "ours", failures=1, about={"warnings": ["w"], "versions": {"fl-deepcabac": "0.10.0"}}
        )
    )
    comparison = compare(runs)
    assert any("3 of 6 updates were lost" in note for note in comparison.notes)
    assert "Warning in 1 of 2 runs: w" in comparison.notes
    assert comparison.made_with["fl-deepcabac"] == ("0.1.0", "0.10.0")


def test_curve_is_over_what_was_spent_by_then() -> None:
    runs = [make_finished(seed=0), make_finished(seed=1, uplink_packet_bytes=2_000)]
    (setting,) = compare(runs).settings
    curve = curve_of(
        setting.codecs[0], lambda row: row.accuracy, cost=lambda row: row.uplink_packet_bytes
    )
    assert curve.x.tolist() == [3_000, 6_000, 9_000]
    assert curve.mean.tolist() == pytest.approx([0.2, 0.4, 0.6])


def test_layers_share_the_uplink() -> None:
    others = {"none": {}, "whole": {"(header)": 100}}
    runs = [make_finished(label, layer_bytes=layers) for label, layers in others.items()]
    (setting,) = compare([make_finished("ours"), *runs]).settings
    none, ours, whole = sorted(setting.codecs, key=lambda codec: codec.label)
    assert layer_shares(ours) == {"w": 0.5, "b": 0.2, "(header)": 0.3}
    assert layer_shares(none) == {}
    # As the rows of codecs that make one stream of all layers are.
    assert layer_shares(whole) == {}


def rivals(*codecs: tuple[str, float, int]) -> list[FinishedRun]:
    """Return an uncompressed run of 60 % and others of such an accuracy and size."""
    return [
        make_finished("FP32", accuracies=(0.1, 0.2, 0.6)),
        *(
            make_finished(
                name,
                accuracies=(0.1, 0.2, accuracy),
                uplink_packet_bytes=n_bytes,
                about={"codec": "deepcabac" if name.startswith("ours") else name},
            )
            for name, accuracy, n_bytes in codecs
        ),
    ]


def test_finding_says_who_is_better() -> None:
    subject, text, context = said_of(compare(rivals(("ours", 0.58, 100), ("theirs", 0.59, 80))))
    assert subject == "ours"
    assert text == "58.0 % at 1/40.0 of the uplink, 2.0 points below FP32 (1 seed)"
    assert context == "theirs is better in both: 59.0 % with 240 B instead of 300 B."
    context = said_of(compare(rivals(("ours", 0.58, 100), ("big", 0.57, 90), ("tiny", 0.5, 1))))[2]
    assert context == (
        "No other codec is both smaller and as accurate; other best trade-offs: FP32, big, tiny."
    )


def test_finding_picks_by_rule() -> None:
    several = rivals(("ours 1", 0.599, 200), ("ours 2", 0.595, 100), ("ours 3", 0.5, 10))
    subject, _, context = said_of(compare(several))
    assert subject == "ours 2"
    assert context.startswith("The smallest within 1 point of FP32 of 3 settings of our codec.")
    # One seed more of the others counts for more than bytes.
    more = [
        make_finished(name, seed=1, accuracies=(0.1, 0.2, accuracy), uplink_packet_bytes=n_bytes)
        for name, accuracy, n_bytes in (
            ("FP32", 0.6, 4000),
            ("ours 1", 0.598, 200),
            ("ours 3", 0.5, 10),
        )
    ]
    subject, _, context = said_of(compare([*several, *more]))
    assert subject == "ours 1"
    assert context.startswith("The smallest within 1 point of FP32 of 2 settings of our codec with")
    subject, _, context = said_of(compare(rivals(("a", 0.5, 100), ("b", 0.55, 200))))
    assert subject == "b"
    assert context.startswith("The most accurate of 2 codecs.")
    subject, text, _ = said_of(compare(rivals(("ours", 0.61, 8_000))))
    assert text == "61.0 % at 2 times the uplink, 1.0 points above FP32 (1 seed)"


def test_labels_are_moved_apart_no_further_than_need_be() -> None:
    assert spread_out([], 10, 0, 100) == []
    assert spread_out([50, 20], 10, 0, 100) == [50, 20]
    assert spread_out([50, 50, 52], 10, 0, 100) == pytest.approx([40.667, 50.667, 60.667], abs=0.01)
    assert spread_out([0, 0], 10, 0, 100) == [0, 10]
    assert spread_out([100, 99], 10, 0, 100) == [100, 90]
    assert spread_out([1, 1, 1], 10, 0, 10) == [0, 5, 10]


def test_labels_beside_points_cover_nothing() -> None:
    rng = random.Random(3)
    points = [(rng.uniform(60, 200), rng.uniform(60, 140)) for _ in range(12)]
    line = Box(0, 99, 260, 2)
    boxes = beside_points(points, [(50, 9)] * 12, Box(0, 0, 260, 200), obstacles=[line])
    for index, box in enumerate(boxes):
        assert box.overlap(Box(0, 0, 260, 200)) == pytest.approx(box.width * box.height)
        assert not any(box.overlap(other) for other in [*boxes[:index], line])
        assert not any(box.overlap(Box(x - 4, y - 4, 8, 8)) for x, y in points)


def test_long_labels_are_cut() -> None:
    assert shorten("short", 8, 100) == "short"
    cut = shorten("a label that is much too long", 8, 60)
    assert cut.endswith("…")
    assert text_width(cut, 8) <= 60


def test_what_has_diverged_is_off_the_scale() -> None:
    assert least_on_scale([0.7]) == 0.7
    # Three quarters are within 0.05 of the best; three times that, or 0.1, is in sight.
    assert least_on_scale([0.80, 0.79, 0.78, 0.75, 0.66]) == 0.66
    assert least_on_scale([0.80, 0.79, 0.78, 0.75, 0.64]) == 0.75
    assert least_on_scale([0.80, 0.80, 0.80, 0.80, 0.71]) == 0.71
    assert least_on_scale([0.80, 0.80, 0.80, 0.80, 0.69]) == 0.80
