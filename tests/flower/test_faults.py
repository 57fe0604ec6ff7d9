# SPDX-License-Identifier: Apache-2.0
"""A run among hundreds of faults aggregates what its uncompressed twin does: docs/protocol.md."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from pathlib import Path

import pytest
from flower.fault_kinds import DOWN_KINDS, KINDS, Kind
from flower.faults import DOWN_UPSETS, UPSETS, StormReport, run_storm
from flower.planned_faults import PlannedFaults
from flower.twin import Twins

from fl_deepcabac.flower import DownlinkConfig

PROTOCOL = Path(__file__).resolve().parents[2] / "docs" / "protocol.md"
# Token down, checksum and encode time up.
PROTOCOL_BYTES = 14
FAULTS = {*KINDS, *UPSETS}
DOWN_FAULTS = {*DOWN_KINDS, *DOWN_UPSETS}
# They befall two messages.
TWICE = {Kind.SWAP, Kind.LOST_DOWN}


def check(report: StormReport, *, n_faults: int, kinds: Iterable[str]) -> None:
    assert report.violations == []
    assert report.n_faults >= n_faults
    assert set(report.counts) == set(kinds)
    assert min(report.counts.values()) > 0
    assert report.max_protocol_bytes == PROTOCOL_BYTES
    # Faults cost their own packets and little else: most of what gets through is warm.
    assert report.warm > report.fresh > 0


def check_way_down(report: StormReport) -> None:
    # Of what nodes need of a model, most is little; few messages are lost to a copy that is not
    # what the server takes it for.
    assert report.forms["chain"] > report.forms["keyframe"] > 0
    assert report.forms["nothing"] > 0
    assert 0 < report.without_model < report.messages / 4


def documented_counts(column: int) -> dict[str, str]:
    """Read the table of docs/protocol.md: fault, times, times with the way down compressed."""
    rows = re.findall(r"\| ([^|\d]+) \| (\d+|) *\| (\d+) (?=\|)", PROTOCOL.read_text("utf-8"))
    return {row[0]: row[column] for row in rows if row[column]}


def test_300_faults_never_make_a_wrong_aggregate() -> None:
    check(run_storm(n_faults=300, seed=1), n_faults=300, kinds=FAULTS)


def test_200_faults_with_a_compressed_way_down_never_make_a_wrong_aggregate() -> None:
    report = run_storm(n_faults=200, seed=5, downlink=DownlinkConfig())
    check(report, n_faults=200, kinds=FAULTS | DOWN_FAULTS)
    check_way_down(report)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_10_000_faults_never_make_a_wrong_aggregate() -> None:
    report = run_storm(n_faults=10_000, seed=2)
    check(report, n_faults=10_000, kinds=FAULTS)
    assert documented_counts(1) == {kind: str(n) for kind, n in report.counts.items()}


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_2_500_faults_with_a_compressed_way_down_never_make_a_wrong_aggregate() -> None:
    report = run_storm(n_faults=2500, seed=3, downlink=DownlinkConfig())
    check(report, n_faults=2500, kinds=FAULTS | DOWN_FAULTS)
    check_way_down(report)
    assert documented_counts(2) == {kind: str(n) for kind, n in report.counts.items()}


def test_every_kind_of_message_fault_has_its_outcome() -> None:
    """One fault at a time, and a round for its node to return in."""
    for kind in KINDS + DOWN_KINDS:
        downlink = DownlinkConfig() if kind in DOWN_KINDS else None
        twins = Twins(3, PlannedFaults(random.Random(0)), downlink=downlink)
        # The message before, so that the node needs more than the others.
        for plan in ({}, {1001: Kind.LOST_DOWN}, {1001: kind}, {}, {}):
            twins.play_round(plan)
        assert twins.faults.counts[kind] == (2 if kind in TWICE else 1), kind
        assert twins.violations == [], kind
        assert twins.n_aggregates == 5


@pytest.mark.parametrize(("kind", "plans"), [(Kind.SWAP, [1]), (Kind.REPLAY, [0, 1])])
def test_fresh_packet_in_the_place_of_another_is_refused(kind: Kind, plans: list[int]) -> None:
    """Its state would be the right one: only the binding tells."""
    twins = Twins(3, PlannedFaults(random.Random(0)))
    for is_planned in plans:
        twins.play_round({1001: kind} if is_planned else {})
    assert twins.faults.counts[kind] > 0
    assert twins.violations == []
