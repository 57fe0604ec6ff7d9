# SPDX-License-Identifier: Apache-2.0
"""The way down when messages get lost and nodes forget; docs/protocol.md 9."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from flower.downlink_run import CODEC, bytes_of, drift, packet_bytes, run
from flower.four_nodes import N_NODES, fedavg, first_node_in_round, rows_of
from flower.inprocess_grid import Faults, InProcessGrid, LosesReplies, Node, superlink_error
from flower.toy import Arrays, initial_arrays, make_app
from flwr.app import Array, ArrayRecord, Message

from fl_deepcabac.flower import DeepCABACStrategy, DownlinkConfig
from fl_deepcabac.flower.broadcast_records import BROADCAST_STYPE


@dataclass
class Forgets(Faults):
    """Loses the state of the first node before a round."""

    in_round: int

    def before_training(self, node: Node, message: Message, server_round: int) -> Message | None:
        if node.partition_id == 0 and server_round == self.in_round:
            node.forget()
        return message


def test_a_node_that_forgot_says_so_and_gets_a_keyframe() -> None:
    strategy, _, seen, _ = run(faults=Forgets(3), num_rounds=5)
    rows = [row for row in rows_of(strategy, 0) if row.phase == "train"]
    failures = [row.failure for row in rows]
    assert failures[2] is not None
    assert "needs a keyframe" in failures[2]
    assert [failure for i, failure in enumerate(failures) if i != 2] == [None] * 4
    # Evaluation, right after the round in which it failed, brings the keyframe.
    sent = packet_bytes(strategy, 0, "evaluate")
    assert sent[2] > 3 * sent[1]
    assert bytes_of(seen.by_node[0, 4]) == bytes_of(seen.by_strategy[5])
    assert strategy.communication.totals.failures == 1


def test_a_lost_reply_leads_to_the_chain_from_what_was_acknowledged() -> None:
    strategy, _, seen, _ = run(faults=LosesReplies(first_node_in_round(3)), num_rounds=5)
    assert [row.failure for row in rows_of(strategy, 0)].count("no reply") == 1
    assert bytes_of(seen.by_node[0, 5]) == bytes_of(seen.by_strategy[5])
    assert max(packet_bytes(strategy, 0, "evaluate")) < packet_bytes(strategy, 0, "train")[0]


@dataclass
class Absent(Faults):
    """Keeps messages from the first node in some rounds."""

    rounds: tuple[int, ...]

    def before_training(self, node: Node, message: Message, server_round: int) -> Message | None:
        is_away = node.partition_id == 0 and server_round in self.rounds
        return None if is_away else message


def test_a_node_that_was_away_gets_the_chain_or_a_keyframe() -> None:
    inner = fedavg(fraction_evaluate=0.0)
    strategy, _, seen, _ = run(faults=Absent((2, 3)), inner=inner, num_rounds=5)
    sent = packet_bytes(strategy, 0, "train")
    others = packet_bytes(strategy, 1, "train")
    assert others[3] < sent[3] < sent[0]
    assert bytes_of(seen.by_node[0, 2]) == bytes_of(seen.by_strategy[4])

    inner = fedavg(fraction_evaluate=0.0)
    away = tuple(range(2, 19))
    strategy, _, seen, _ = run(faults=Absent(away), inner=inner, num_rounds=20)
    sent = packet_bytes(strategy, 0, "train")
    assert sent[18] < 1.3 * sent[0]
    assert bytes_of(seen.by_node[0, 3]) == bytes_of(seen.by_strategy[20])
    for partition in range(1, N_NODES):
        assert bytes_of(seen.by_node[partition, 20]) == bytes_of(seen.by_strategy[20])


@pytest.mark.parametrize("rolls_back", [False, True])
def test_an_app_that_raises_costs_its_round_only(rolls_back: bool) -> None:
    n_trained = [0]

    def train(weights: Arrays, rng: np.random.Generator) -> Arrays:
        n_trained[0] += 1
        if n_trained[0] in {5, 10}:
            raise RuntimeError("training failed")
        return drift(weights, rng)

    inner = fedavg(fraction_evaluate=0.0)
    strategy, _, _, _ = run(train=train, inner=inner, num_rounds=5, rolls_back=rolls_back)
    totals = strategy.communication.totals
    assert totals.failures == 2
    assert totals.downlink_packet_bytes < 2 * N_NODES * packet_bytes(strategy, 0, "train")[0]


def test_damaged_packets_heal_by_keyframe() -> None:
    @dataclass
    class Damages(Faults):
        def before_training(self, node: Node, message: Message, server_round: int) -> Message:
            if node.partition_id == 0 and server_round == 2:
                [name] = message.content.array_records
                [array] = message.content[name].values()
                data = array.data[:-3] + bytes([array.data[-3] ^ 64]) + array.data[-2:]
                changed = Array("uint8", (len(data),), BROADCAST_STYPE, data)
                message.content[name] = ArrayRecord({"packet": changed})
            return message

    inner = fedavg(fraction_evaluate=0.0)
    strategy, _, seen, _ = run(faults=Damages(), inner=inner)
    rows = rows_of(strategy, 0)
    assert [row.failure is None for row in rows] == [True, False, True, True]
    assert bytes_of(seen.by_node[0, 2]) == bytes_of(seen.by_strategy[3])


@dataclass
class Gone(Faults):
    """The SuperLink answers for the first node in a round, whose SuperNode has lost everything."""

    in_round: int
    message: Message | None = None

    def before_training(self, node: Node, message: Message, server_round: int) -> Message | None:
        if node.partition_id == 0 and server_round == self.in_round:
            node.forget()
            self.message = message
        return message

    def after_training(self, node: Node, reply: Message, server_round: int) -> Message | None:
        if node.partition_id == 0 and server_round == self.in_round and self.message is not None:
            return superlink_error(self.message, 5, "Node Unavailable")
        return reply


def test_a_node_that_the_superlink_says_is_gone_gets_a_keyframe() -> None:
    inner = fedavg(fraction_evaluate=0.0)
    strategy, _, seen, _ = run(faults=Gone(2), inner=inner)
    rows = rows_of(strategy, 0)
    assert [row.failure is None for row in rows] == [True, False, True, True]
    assert bytes_of(seen.by_node[0, 2]) == bytes_of(seen.by_strategy[3])


def test_a_server_that_starts_again_knows_no_copies() -> None:
    _, grid, _, arrays = run()
    again = DeepCABACStrategy(fedavg(), CODEC, downlink=DownlinkConfig())
    again.start(grid, arrays, num_rounds=2)
    assert again.communication.totals.failures == 0
    sent = packet_bytes(again, 0, "train")
    assert 0 < sent[1] < sent[0] / 3


def test_a_model_of_other_tensors_starts_anew() -> None:
    strategy = DeepCABACStrategy(fedavg(), CODEC, downlink=DownlinkConfig())
    grid = InProcessGrid([make_app(train=drift) for _ in range(N_NODES)])
    strategy.start(grid, initial_arrays(40), num_rounds=2)
    strategy.start(grid, initial_arrays(60), num_rounds=2)
    assert strategy.communication.totals.failures == 0
    small, _, large, _ = packet_bytes(strategy, 2, "train")
    assert large > small


def test_a_model_that_diverged_travels_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    n_trained = [0]

    def train(weights: Arrays, rng: np.random.Generator) -> Arrays:
        n_trained[0] += 1
        moved = drift(weights, rng)
        if n_trained[0] <= N_NODES:
            moved["fc.bias"] = moved["fc.bias"].astype(np.float32) * np.float32(np.inf)
        return {name: np.nan_to_num(a, posinf=np.inf, neginf=np.inf) for name, a in moved.items()}

    # Uncompressed replies carry infinity into the global model.
    strategy = DeepCABACStrategy(fedavg(), CODEC, downlink=DownlinkConfig())
    apps = [make_app(mods=(_only_down,), train=train) for _ in range(N_NODES)]
    grid = InProcessGrid(apps)
    strategy.start(grid, initial_arrays(40), num_rounds=3)
    sent = packet_bytes(strategy, 0, "train")
    raw = rows_of(strategy, 0)[0].downlink_raw_bytes
    assert sent[0] < raw
    assert sent[1] == raw
    assert caplog.text.count("travels down uncompressed") == 1


def _only_down(msg: Message, context: Any, call_next: Any) -> Message:
    from fl_deepcabac.flower.client import _restore_weights  # noqa: PLC0415

    _restore_weights(msg, context)
    return call_next(msg, context)
