# SPDX-License-Identifier: Apache-2.0
"""Who holds which state, when messages get lost and clients forget."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from flower.four_nodes import (
    N_NODES,
    change_packet,
    codings,
    fedavg,
    first_node_in_round,
    rows_of,
    run,
)
from flower.inprocess_grid import Faults, InProcessGrid, LosesReplies, Node
from flower.toy import (
    EXACT,
    Arrays,
    arrays_of,
    initial_arrays,
    make_app,
    new_context,
    record_of,
    train_message,
)
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp.strategy import FedAvg

from fl_deepcabac import CodecConfig, Schema, inspect_packet
from fl_deepcabac.flower import DeepCABACStrategy, deepcabac_mod
from fl_deepcabac.flower.records import FRESH_TOKEN, parse_update, write_settings
from fl_deepcabac.flower.state import ClientSlots


def test_streams_are_fresh_once_and_warm_ever_after() -> None:
    strategy, _, _ = run()
    for partition in range(N_NODES):
        assert codings(strategy, partition) == ["fresh", "warm", "warm", "warm"]


def test_lost_reply_is_coded_anew_against_the_acknowledged_state() -> None:
    strategy, grid, _ = run(LosesReplies(first_node_in_round(2)))
    assert codings(strategy, 0) == ["fresh", "none", "warm", "warm"]
    assert rows_of(strategy, 0)[1].failure == "no reply"
    packets = [
        parse_update(exchange.reply.content)
        for exchange in grid.train_exchanges()
        if exchange.node.partition_id == 0
    ]
    headers = [inspect_packet(update.packet) for update in packets if update is not None]
    assert headers[1].base_state_digest == headers[2].base_state_digest
    assert codings(strategy, 1) == ["fresh", "warm", "warm", "warm"]


def test_lost_first_reply_leaves_the_next_one_fresh() -> None:
    strategy, _, _ = run(LosesReplies(first_node_in_round(1)))
    assert codings(strategy, 0) == ["none", "fresh", "warm", "warm"]


@dataclass
class Forgets(Faults):
    """Loses the state of the first node before round 3."""

    def before_training(self, node: Node, message: Message, server_round: int) -> Message | None:
        if node.partition_id == 0 and server_round == 3:
            node.forget()
        return message


def test_client_that_forgot_answers_fresh() -> None:
    strategy, _, _ = run(Forgets())
    assert codings(strategy, 0) == ["fresh", "warm", "fresh", "warm"]
    assert strategy.communication.totals.failures == 0


def test_server_without_state_asks_for_fresh_packets() -> None:
    grid = InProcessGrid([make_app() for _ in range(N_NODES)])
    DeepCABACStrategy(fedavg(), EXACT).start(grid, initial_arrays(), num_rounds=2)
    restarted = DeepCABACStrategy(fedavg(), EXACT)
    restarted.start(grid, initial_arrays(), num_rounds=2)
    assert codings(restarted, 0) == ["fresh", "warm"]
    assert restarted.communication.totals.failures == 0


def test_strategy_started_again_goes_on_warm_with_the_same_nodes() -> None:
    grid = InProcessGrid([make_app() for _ in range(N_NODES)])
    strategy = DeepCABACStrategy(fedavg(), EXACT)
    for _ in range(2):
        strategy.start(grid, initial_arrays(), num_rounds=1)
    assert codings(strategy, 0) == ["fresh", "warm"]


def test_other_model_starts_all_streams_afresh() -> None:
    grid = InProcessGrid([make_app() for _ in range(N_NODES)])
    strategy = DeepCABACStrategy(fedavg(), EXACT)
    strategy.start(grid, initial_arrays(), num_rounds=2)
    strategy.start(grid, initial_arrays(n_hidden=8), num_rounds=2)
    assert codings(strategy, 0) == ["fresh", "warm", "fresh", "warm"]
    assert strategy.communication.totals.failures == 0


@pytest.mark.parametrize("rolls_back", [True, False])
def test_app_that_raises_costs_its_own_round_only(rolls_back: bool) -> None:
    def diverge(weights: Arrays, rng: np.random.Generator) -> Arrays:
        raised = rng.integers(0, 3) == 0
        if raised:
            raise FloatingPointError("diverged")
        return {name: array + np.float32(1 / 64) for name, array in weights.items()}

    apps = [make_app(train=diverge) for _ in range(N_NODES)]
    strategy, _, _ = run(apps=apps, num_rounds=6, rolls_back=rolls_back)
    totals = strategy.communication.totals
    assert 0 < totals.failures < totals.messages
    reasons = {row.failure for i in range(N_NODES) for row in rows_of(strategy, i)} - {None}
    assert all("FloatingPointError" in str(reason) for reason in reasons)
    for partition in range(N_NODES):
        good = [coding for coding in codings(strategy, partition) if coding != "none"]
        assert good == ["fresh"] + ["warm"] * (len(good) - 1)


def test_round_without_a_usable_reply_is_a_loud_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    strategy, _, result = run(LosesReplies(lambda *_: True), num_rounds=1)
    assert strategy.communication.totals.failures == N_NODES
    warnings = [r for r in caplog.records if r.name == "fl_deepcabac" and r.levelname == "WARNING"]
    assert "none of 4 train messages led to a usable reply; reasons: no reply" in (
        warnings[0].getMessage()
    )
    assert 1 not in result.train_metrics_clientapp


def test_plain_client_among_compressing_ones_takes_part() -> None:
    apps = [make_app(mods=())] + [make_app() for _ in range(N_NODES - 1)]
    strategy, _, result = run(apps=apps)
    assert codings(strategy, 0) == ["uncompressed"] * 4
    assert codings(strategy, 1) == ["fresh", "warm", "warm", "warm"]
    _, _, expected = run()
    for name, array in arrays_of(result.arrays).items():
        np.testing.assert_allclose(array, expected.arrays[name].numpy(), atol=1e-6)


def test_plain_server_with_compressing_clients_stays_plain() -> None:
    plain = fedavg()
    grid = InProcessGrid([make_app() for _ in range(N_NODES)])
    result = plain.start(grid, initial_arrays(), num_rounds=2)
    assert all(not node.context.state for node in grid.nodes.values())
    assert arrays_of(result.arrays)["fc.bias"].shape == (24,)


def test_random_faults_never_desynchronise() -> None:
    """Losses, damage, amnesia and crashes for 15 rounds: no packet against an unknown state."""
    rng = random.Random(7)

    class Storm(Faults):
        def before_training(self, node: Node, message: Message, _: int) -> Message | None:
            if rng.random() < 0.1:
                node.forget()
            return None if rng.random() < 0.1 else message

        def after_training(self, _: Node, reply: Message, __: int) -> Message | None:
            if rng.random() < 0.1:
                return change_packet(lambda data: data[:-1])(reply)
            return None if rng.random() < 0.1 else reply

    strategy, _, _ = run(Storm(), num_rounds=15)
    rows = [row for record in strategy.communication.rounds for row in record.transfers]
    reasons = {str(row.failure).split(":")[0] for row in rows if row.failure}
    assert reasons <= {"no reply", "TruncatedPacketError"}
    assert sum(row.coding == "warm" for row in rows) > len(rows) / 3


def test_residual_of_a_lost_reply_is_not_counted_twice() -> None:
    """With error feedback, what the server decodes adds up to what the client trained."""
    config = CodecConfig(step=0.5, quantizer="uniform", error_feedback=True)
    trained: list[Arrays] = []
    decoded: list[float] = []

    def train(weights: Arrays, rng: np.random.Generator) -> Arrays:
        del rng
        trained.append(weights)
        return {name: array + np.float32(0.1) for name, array in weights.items()}

    class Freezes(FedAvg):
        """Keeps the model, so that each round's update is 0.1 again; notes what it decodes."""

        def aggregate_train(self, _round: int, replies: Any) -> Any:
            for reply in replies:
                weights = reply.content["arrays"]["fc.bias"].numpy()
                decoded.append(float(weights[0] - start["fc.bias"].numpy()[0]))
            return None, None

    start = initial_arrays()
    strategy = DeepCABACStrategy(
        Freezes(min_available_nodes=1, min_train_nodes=1, fraction_evaluate=0.0), config
    )
    grid = InProcessGrid([make_app(train=train)], faults=LosesReplies(first_node_in_round(4)))
    strategy.start(grid, start, num_rounds=13)
    # 12 good rounds of 0.1 each; the lost one contributes nothing, its residual neither.
    assert len(decoded) == 12
    assert sum(decoded) == pytest.approx(1.2, abs=0.25 + 1e-3)


def test_without_error_feedback_no_residual_is_kept() -> None:
    for feedback, n_residuals in ((True, 2), (False, 0)):
        config = CodecConfig(step=0.5, error_feedback=feedback)
        _, grid, _ = run(config=config, num_rounds=3)
        state = grid.nodes[1000].context.state
        assert len(state.array_records) == n_residuals
        assert all(value for record in state.config_records.values() for value in record.values())


def test_state_is_keyed_by_run_and_earlier_runs_are_dropped() -> None:
    arrays = initial_arrays()

    def answer(context: Any, token: bytes) -> bytes:
        msg = train_message(arrays)
        msg.content = write_settings(msg.content, EXACT, token=token)
        trained = record_of({k: v + np.float32(1 / 64) for k, v in arrays_of(arrays).items()})
        reply = deepcabac_mod(
            msg, context, lambda m, _: Message(RecordDict({"a": trained}), reply_to=m)
        )
        update = parse_update(reply.content)
        assert update is not None
        return update.packet

    first = new_context(run_id=1)
    answer(first, FRESH_TOKEN)
    [states] = first.state.config_records.values()
    [key] = states
    token = bytes.fromhex(key)
    second = new_context(run_id=2, state=first.state)
    assert inspect_packet(answer(second, token)).is_fresh
    assert all(".2." in name for name in second.state)
    assert len(second.state) == 2


def test_unreadable_slot_is_one_the_client_does_not_have() -> None:
    arrays = initial_arrays()
    schema = Schema.from_arrays(arrays_of(arrays))
    records = RecordDict({"fl-deepcabac.1.states": ConfigRecord({"00" * 8: b"garbage"})})
    assert ClientSlots(records, 1).find(bytes(8), schema, "fast") is None
    assert ClientSlots(RecordDict(), 1).find(bytes(8), schema, "fast") is None


def test_budget_travels_with_the_settings_and_binds_every_packet(
    caplog: pytest.LogCaptureFixture,
) -> None:
    config = CodecConfig(target_bytes=180, step_overrides={"*": 0.5})
    strategy, _, _ = run(config=config)
    for partition in range(N_NODES):
        assert codings(strategy, partition) == ["fresh", "warm", "warm", "warm"]
        assert max(row.uplink_packet_bytes for row in rows_of(strategy, partition)) <= 180
    caplog.set_level("INFO")
    strategy.summary()
    assert "at most 180 bytes" in caplog.text
    DeepCABACStrategy(fedavg(), CodecConfig(target_bits_per_weight=0.5)).summary()
    assert "at most 0.5 bits per weight" in caplog.text
