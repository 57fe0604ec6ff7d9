# SPDX-License-Identifier: Apache-2.0
"""Rows of ``rounds.jsonl``: flat, faithful, and added up rightly."""

from __future__ import annotations

import json
from typing import Any

import pytest
from experiments.made_up import make_compressed_row, make_row, make_runs

from fl_deepcabac.experiments.rows import RoundRow, RowError, Totals, rows_by_run


def test_row_survives_json() -> None:
    row = make_compressed_row(accuracy=None)
    assert RoundRow.from_dict(json.loads(json.dumps(row.to_dict(), allow_nan=False))) == row


def test_row_is_flat() -> None:
    values = make_row().to_dict()
    assert values["layer_bytes/w"] == 3_600
    assert all(value is None or isinstance(value, str | int | float) for value in values.values())


@pytest.mark.parametrize(
    "change",
    [
        {"round": "one"},
        {"round": 1.5},
        {"clients": True},
        {"clients": -1},
        {"run": None},
        {"accuracy": "good"},
        {"seconds": float("nan")},
        {"layer_bytes/w": 0.5},
        {"colour": "red"},
    ],
)
def test_row_refuses_other_values(change: dict[str, Any]) -> None:
    with pytest.raises(RowError, match="expected"):
        RoundRow.from_dict(make_row().to_dict() | change)


def test_row_refuses_a_missing_field() -> None:
    values = make_row().to_dict()
    del values["loss"]
    with pytest.raises(RowError, match="'loss'"):
        RoundRow.from_dict(values)


def test_totals_add_up() -> None:
    totals = Totals.of([make_compressed_row(round=1), make_compressed_row(round=2, failures=1)])
    assert totals.uplink_packet_bytes == 200
    assert totals.uplink_ratio == 40.0
    assert totals.downlink_ratio == 1.0
    assert totals.total_ratio == 24_000 / 16_200
    assert totals.n_updated_weights == 500 * 3
    assert totals.bits_per_weight == 8 * 200 / 1_500
    assert totals.accuracy == 0.48


def test_totals_of_nothing_received_have_no_ratio() -> None:
    totals = Totals.of([make_row(uplink_packet_bytes=0, uplink_raw_bytes=0, failures=2)])
    assert totals.uplink_ratio is None
    assert totals.bits_per_weight is None


def test_rows_are_grouped_by_run_and_sorted_by_round() -> None:
    runs = make_runs()
    mixed = [*reversed(runs["uncompressed"]), *runs["compressed"]]
    assert rows_by_run(mixed) == runs
