# SPDX-License-Identifier: Apache-2.0
"""Words and numbers for people."""

from __future__ import annotations

import pytest
from experiments.made_up import make_compressed_row, make_row, make_runs

from fl_deepcabac.experiments.summary import (
    baseline_of,
    format_bytes,
    format_percent,
    format_points,
    format_ratio,
    headline,
)


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (12_345, "12.3 kB"),
        (999_400, "999 kB"),
        (999_600, "1.00 MB"),
        (6_052_240, "6.05 MB"),
        (181_567_200, "182 MB"),
        (2_500_000_000, "2.50 GB"),
        (3e12, "3.00 TB"),
        (7e15, "7000 TB"),
    ],
)
def test_bytes_have_three_digits(n_bytes: float, text: str) -> None:
    assert format_bytes(n_bytes) == text


@pytest.mark.parametrize(
    ("ratio", "text"),
    [(None, "–"), (0.5, "0.50x"), (1.0, "1.00x"), (96.44, "96.4x"), (1534.2, "1534x")],
)
def test_ratios_have_three_digits(ratio: float | None, text: str) -> None:
    assert format_ratio(ratio) == text


def test_what_is_unknown_is_a_dash() -> None:
    assert format_percent(None) == format_points(None, 0.5) == format_points(0.5, None) == "–"


def test_headline_compares_with_the_baseline() -> None:
    assert headline(make_runs()) == (
        "accuracy 60.00 % without compression, 57.00 % with (-3.00 points); "
        "ratio: uplink 40.0x, downlink 1.00x, total 1.48x"
    )


def test_headline_does_without_a_baseline_and_without_a_codec() -> None:
    runs = make_runs()
    assert headline({"compressed": runs["compressed"]}).startswith("accuracy 57.00 % with; ratio")
    assert headline({"a": runs["uncompressed"]}) == "accuracy 60.00 % without compression"


def test_baseline_is_the_first_run_without_a_codec() -> None:
    assert baseline_of({"x": [make_compressed_row()], "y": [make_row()]}) == "y"
    assert baseline_of({"x": [make_compressed_row()]}) is None
