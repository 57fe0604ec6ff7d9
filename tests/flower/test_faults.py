# SPDX-License-Identifier: Apache-2.0
"""A run among hundreds of faults aggregates what its uncompressed twin does; docs/protocol.md 8."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
from flower.faults import UPSETS, StormReport, run_storm
from flower.planned_faults import KINDS, Kind, PlannedFaults
from flower.twin import Twins

PROTOCOL = Path(__file__).resolve().parents[2] / "docs" / "protocol.md"
# Token down, encode time up.
MAX_PROTOCOL_BYTES = 12


def check(report: StormReport, *, n_faults: int) -> None:
    assert report.violations == []
    assert report.n_faults >= n_faults
    assert set(report.counts) == {*KINDS, *UPSETS}
    assert min(report.counts.values()) > 0
    assert report.max_protocol_bytes <= MAX_PROTOCOL_BYTES
    # Faults cost their own packets and little else: most of what gets through is warm.
    assert report.warm > report.fresh > 0


def test_500_faults_never_make_a_wrong_aggregate() -> None:
    check(run_storm(n_faults=500, seed=1), n_faults=500)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_10_000_faults_never_make_a_wrong_aggregate() -> None:
    report = run_storm(n_faults=10_000, seed=2)
    check(report, n_faults=10_000)
    documented = dict(re.findall(r"\| ([^|]+) \| (\d+) (?=\|)", PROTOCOL.read_text("utf-8")))
    assert {kind: documented.get(kind) for kind in report.counts} == {
        kind: str(n) for kind, n in report.counts.items()
    }


def test_every_kind_of_message_fault_has_its_outcome() -> None:
    """One fault at a time, and a round for its node to return in."""
    for kind in KINDS:
        twins = Twins(3, PlannedFaults(random.Random(0)))
        for plan in ({}, {}, {1001: kind}, {}, {}):
            twins.play_round(plan)
        assert twins.faults.counts[kind] == (2 if kind is Kind.SWAP else 1), kind
        assert twins.violations == [], kind
        assert twins.n_aggregates == 5


@pytest.mark.xfail(
    reason="a fresh packet says neither which node made it nor which message it answers"
)
@pytest.mark.parametrize(("kind", "plans"), [(Kind.SWAP, [1]), (Kind.REPLAY, [0, 1])])
def test_fresh_packet_in_the_place_of_another_is_refused(kind: Kind, plans: list[int]) -> None:
    """Flower binds replies to messages, so none of its faults can do this; see protocol.md 7."""
    twins = Twins(3, PlannedFaults(random.Random(0), substitutes_plausible=True))
    for is_planned in plans:
        twins.play_round({1001: kind} if is_planned else {})
    assert twins.faults.counts[kind] > 0
    assert twins.violations == []
