# SPDX-License-Identifier: Apache-2.0
"""What the ledger says a run has cost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest
from flower.inprocess_grid import InProcessGrid, LosesReplies, Node
from flower.toy import EXACT, initial_arrays, make_app
from flwr.app import Array, ArrayRecord, RecordDict
from flwr.serverapp.strategy import FedAvg, Result

from fl_deepcabac.flower import DeepCABACStrategy, Totals
from fl_deepcabac.flower.ledger import CommunicationLedger, Payload
from fl_deepcabac.flower.records import parse_update

N_NODES = 4
MODEL_BYTES = 4 * (4 * 27 + 4 + 24 * 16 + 24)


class Finished(NamedTuple):
    """A run of three rounds: node 0 is plain, and loses its reply in round 2."""

    ledger: CommunicationLedger
    grid: InProcessGrid
    result: Result


def loses_the_second(node: Node, server_round: int) -> bool:
    return node.partition_id == 0 and server_round == 2


@pytest.fixture
def finished() -> Finished:
    strategy = DeepCABACStrategy(
        FedAvg(min_available_nodes=N_NODES, min_train_nodes=N_NODES, min_evaluate_nodes=N_NODES),
        EXACT,
    )
    apps = [make_app(mods=())] + [make_app() for _ in range(N_NODES - 1)]
    grid = InProcessGrid(apps, faults=LosesReplies(loses_the_second))
    result = strategy.start(grid, initial_arrays(), num_rounds=3)
    return Finished(strategy.communication, grid, result)


def test_packet_bytes_are_those_that_travelled(finished: Finished) -> None:
    ledger, grid, _ = finished
    updates = [
        (exchange.node.node_id, exchange.server_round, parse_update(exchange.reply.content))
        for exchange in grid.train_exchanges()
    ]
    expected = {(node, r): len(update.packet) for node, r, update in updates if update is not None}
    found = {
        (row["node_id"], row["server_round"]): row["uplink_packet_bytes"]
        for row in ledger.to_dicts()
        if row["coding"] in {"fresh", "warm"}
    }
    assert found == expected
    assert len(found) == 3 * (N_NODES - 1)


def test_rows_say_what_happened_to_each_message(finished: Finished) -> None:
    ledger, _, _ = finished
    rows = pd.DataFrame(ledger.to_dicts())
    assert len(rows) == 3 * 2 * N_NODES
    plain = rows[(rows.node_id == 1000) & (rows.phase == "train")]
    assert list(plain.coding) == ["uncompressed", "none", "uncompressed"]
    assert list(plain.failure.fillna("")) == ["", "no reply", ""]
    assert list(plain.uplink_raw_bytes) == [MODEL_BYTES, 0, MODEL_BYTES]
    assert list(plain.uplink_packet_bytes) == [MODEL_BYTES, 0, MODEL_BYTES]
    other = rows[(rows.node_id == 1001) & (rows.phase == "train")]
    assert list(other.coding) == ["fresh", "warm", "warm"]
    assert set(other.uplink_raw_bytes) == {MODEL_BYTES}
    assert (other.encode_seconds > 0).all()
    assert (other.decode_seconds > 0).all()
    expected = 8 * other.uplink_packet_bytes / (MODEL_BYTES / 4)
    assert list(other.bits_per_weight) == list(expected)
    assert set(rows.downlink_raw_bytes) == {MODEL_BYTES}
    evaluate = rows[rows.phase == "evaluate"]
    assert set(evaluate.uplink_packet_bytes) == {0}
    assert set(evaluate.coding) == {"none"}
    assert evaluate.failure.isna().all()


def test_totals_are_the_sums_of_the_rows(finished: Finished) -> None:
    ledger, _, _ = finished
    rows = pd.DataFrame(ledger.to_dicts())
    for totals, own in [
        (ledger.totals, rows),
        (ledger.nodes[1002], rows[rows.node_id == 1002]),
        (ledger.rounds[1].totals(), rows[rows.server_round == 2]),
        (
            ledger.rounds[1].totals("train"),
            rows[(rows.server_round == 2) & (rows.phase == "train")],
        ),
    ]:
        for name in [column for column in rows if str(column).endswith(("_bytes", "_seconds"))]:
            assert getattr(totals, str(name)) == pytest.approx(own[name].sum())
        assert totals.messages == len(own)
        assert totals.failures == own.failure.notna().sum()
        assert totals.uplink_ratio == own.uplink_raw_bytes.sum() / own.uplink_packet_bytes.sum()
        both = (own.uplink_raw_bytes + own.downlink_raw_bytes).sum()
        assert totals.ratio == both / (own.uplink_packet_bytes + own.downlink_packet_bytes).sum()
    assert ledger.totals.downlink_ratio == 1
    assert set(ledger.nodes) == {1000, 1001, 1002, 1003}


def test_bytes_per_tensor_add_up_to_the_packets_without_their_headers(finished: Finished) -> None:
    ledger, _, _ = finished
    for record in ledger.rounds:
        packets = [row for row in record.transfers if row.coding in {"fresh", "warm"}]
        n_bytes = sum(row.uplink_packet_bytes for row in packets)
        assert set(record.uplink_tensor_bytes) == set(initial_arrays())
        by_tensor = sum(record.uplink_tensor_bytes.values())
        assert 0.5 * (n_bytes - 32 * len(packets)) <= by_tensor <= n_bytes


def test_totals_are_appended_to_the_metrics_of_the_round(finished: Finished) -> None:
    ledger, _, result = finished
    for record in ledger.rounds:
        metrics = result.train_metrics_clientapp[record.server_round]
        assert metrics["train_loss"] > 0
        expected = record.totals("train").to_dict()
        found = {
            name.removeprefix("deepcabac-").replace("-", "_"): value
            for name, value in metrics.items()
            if name.startswith("deepcabac-")
        }
        assert found == expected
        assert {type(value) for value in found.values()} == {int, float}
        assert found["uplink_packet_bytes"] > 0
        assert found["uplink_ratio"] > 1


def test_jsonl_holds_the_rows(finished: Finished, tmp_path: Path) -> None:
    ledger, _, _ = finished
    path = tmp_path / "communication.jsonl"
    ledger.write_jsonl(path)
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert rows == ledger.to_dicts()


def test_ledger_says_in_one_line_what_the_run_cost(finished: Finished) -> None:
    text = str(finished[0])
    assert text.startswith("3 rounds, 23 of 24 replies usable; uplink ")
    assert "\n" not in text


def test_empty_ledger_has_zero_totals() -> None:
    totals = CommunicationLedger().totals
    assert totals == Totals.of([])
    assert (totals.messages, totals.ratio, totals.bits_per_weight) == (0, 1.0, 0.0)
    assert CommunicationLedger().to_dicts() == []


def payload(n_bytes: int, n_arrays: int) -> Payload:
    if n_arrays == 0:
        return Payload()
    size = n_bytes // n_arrays
    arrays = {
        str(i): Array("uint8", (size,), "x", bytes([i % 256]) * size) for i in range(n_arrays)
    }
    return Payload.of(RecordDict({"arrays": ArrayRecord(arrays)}))


# What a counting proxy saw of one message and one reply: payload and Arrays down, the same up, and
# the bytes on the wire, up and down.
MEASURED = [
    ((0, 0), (0, 0), 11_848, 2_836),
    ((0, 0), (16_100, 161), 416_272, 66_151),
    ((0, 0), (16_100, 1), 30_702, 3_296),
    ((0, 0), (644_000, 161), 1_043_990, 66_021),
    ((0, 0), (644_000, 1), 660_323, 3_554),
    ((644_000, 161), (0, 0), 313_186, 765_116),
    ((644_000, 1), (0, 0), 13_796, 647_798),
    ((20_000_000, 1), (20_000_000, 1), 20_024_491, 20_006_007),
]


@pytest.mark.parametrize(("down", "up", "wire_up", "wire_down"), MEASURED)
def test_wire_estimate_reproduces_what_was_measured(
    down: tuple[int, int], up: tuple[int, int], wire_up: int, wire_down: int
) -> None:
    transfer = CommunicationLedger().begin(1).open("train", 1)
    transfer.sent(raw_bytes=0, packet_bytes=0, message=payload(*down))
    transfer.replied(payload(*up))
    assert transfer.uplink_wire_bytes == pytest.approx(wire_up, rel=0.07)
    assert transfer.downlink_wire_bytes == pytest.approx(wire_down, rel=0.07)
