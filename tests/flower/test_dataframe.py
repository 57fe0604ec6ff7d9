# SPDX-License-Identifier: Apache-2.0
"""The ledger as data frames."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from flower.absent import hide
from flower.four_nodes import N_NODES, fedavg, first_node_in_round
from flower.inprocess_grid import InProcessGrid, LosesReplies
from flower.toy import EXACT, initial_arrays, make_app

from fl_deepcabac.flower import CommunicationLedger, DeepCABACStrategy

N_ROUNDS = 3


@pytest.fixture
def ledger() -> CommunicationLedger:
    """Return the ledger of a run: node 1003 is plain, node 1000 loses its reply in round 2."""
    strategy = DeepCABACStrategy(fedavg(fraction_evaluate=1.0, min_evaluate_nodes=N_NODES), EXACT)
    apps = [make_app() for _ in range(N_NODES - 1)] + [make_app(mods=())]
    grid = InProcessGrid(apps, faults=LosesReplies(first_node_in_round(2)))
    strategy.start(grid, initial_arrays(), num_rounds=N_ROUNDS)
    return strategy.communication


def empty_like(ledger: CommunicationLedger) -> CommunicationLedger:
    return type(ledger)()


def test_a_row_is_a_transfer(ledger: CommunicationLedger) -> None:
    frame = ledger.to_dataframe()
    assert len(frame) == 2 * N_ROUNDS * N_NODES
    assert list(frame.columns) == list(ledger.to_dicts()[0])
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    assert rows == ledger.to_dicts()


def test_dtypes_say_what_the_columns_are(ledger: CommunicationLedger) -> None:
    dtypes = ledger.to_dataframe().dtypes
    assert dtypes["node_id"] == "uint64"
    assert list(dtypes["phase"].categories) == ["train", "evaluate"]
    assert list(dtypes["coding"].categories) == ["warm", "fresh", "uncompressed", "none"]
    assert dtypes["bits_per_weight"] == "Float64"
    assert dtypes["failure"] == "string"
    assert {str(dtypes[name]) for name in dtypes.index if name.endswith("_bytes")} == {"int64"}
    assert {str(dtypes[name]) for name in dtypes.index if name.endswith("_seconds")} == {"float64"}
    assert dtypes["server_round"] == dtypes["n_weights"] == "int64"


def test_what_is_not_known_is_missing(ledger: CommunicationLedger) -> None:
    frame = ledger.to_dataframe()
    came = frame.coding.isin(["warm", "fresh"])
    assert came.sum() == N_ROUNDS * (N_NODES - 1) - 1
    assert (frame.bits_per_weight.notna() == came).all()
    assert list(frame.failure.dropna()) == ["no reply"]


def test_rounds_have_totals_and_ratios_by_phase(ledger: CommunicationLedger) -> None:
    frame = ledger.to_dataframe(by="round")
    assert list(frame.server_round) == [1, 1, 2, 2, 3, 3]
    assert list(frame.phase) == ["train", "evaluate"] * N_ROUNDS
    rows = frame.set_index(["server_round", "phase"])
    for record in ledger.rounds:
        expected = record.totals("train").to_dict()
        assert rows.loc[(record.server_round, "train")].to_dict() == expected
    assert list(frame[frame.phase == "train"].failures) == [0, 1, 0]
    assert frame.ratio.dtype == "float64"
    assert frame.messages.dtype == "int64"
    assert frame[frame.phase == "evaluate"].bits_per_weight.isna().all()
    transfers = ledger.to_dataframe()
    assert frame.uplink_wire_bytes.sum() == transfers.uplink_wire_bytes.sum()


def test_nodes_have_totals_and_ratios(ledger: CommunicationLedger) -> None:
    frame = ledger.to_dataframe(by="node").set_index("node_id")
    assert sorted(frame.index) == [1000, 1001, 1002, 1003]
    assert list(frame.loc[[1000, 1001], "failures"]) == [1, 0]
    assert frame.loc[1001].to_dict() == ledger.nodes[1001].to_dict()
    assert pd.isna(frame.loc[1003, "bits_per_weight"])
    assert frame.loc[1003, "uplink_ratio"] == 1.0


@pytest.mark.parametrize("by", ["transfer", "round", "node"])
def test_a_run_without_rounds_has_the_same_columns(by: Any, ledger: CommunicationLedger) -> None:
    frame = empty_like(ledger).to_dataframe(by)
    assert len(frame) == 0
    assert frame.dtypes.to_dict() == ledger.to_dataframe(by).dtypes.to_dict()


def test_node_ids_of_64_bits_stay_exact() -> None:
    ledger = CommunicationLedger()
    record = ledger.begin(1)
    node_ids = [2**64 - 1, 2**63 + 1, 7]
    for node_id in node_ids:
        record.open("train", node_id)
    assert ledger.to_dataframe().node_id.tolist() == node_ids
    assert ledger.to_dataframe("node").node_id.tolist() == node_ids


def test_other_rows_are_refused(ledger: CommunicationLedger) -> None:
    with pytest.raises(ValueError, match="by: expected one of transfer, round, node, found 'day'"):
        ledger.to_dataframe(by="day")  # type: ignore[arg-type]


def test_without_pandas_the_extra_is_named(
    ledger: CommunicationLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    hide("pandas", monkeypatch)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'fl-deepcabac\[pandas\]'"):
        ledger.to_dataframe()
