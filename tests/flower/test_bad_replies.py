# SPDX-License-Identifier: Apache-2.0
"""Replies that are damaged, forged or sent twice cost their own node's round and no more."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from flower.four_nodes import (
    N_NODES,
    change_packet,
    codings,
    fedavg,
    first_node_in_round,
    put_packet,
    rows_of,
    run,
)
from flower.inprocess_grid import ChangesReplies, Faults, InProcessGrid, Node
from flower.toy import (
    EXACT,
    initial_arrays,
    make_app,
    new_context,
    record_of,
    train_message,
)
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.serverapp.strategy import FedAvg

from fl_deepcabac import CodecConfig, CorruptPacketError
from fl_deepcabac.flower import DeepCABACStrategy, deepcabac_mod
from fl_deepcabac.flower.records import (
    CHECKSUM_BYTES,
    ENVELOPE_HEAD,
    FRESH_TOKEN,
    check_binding,
    parse_update,
    write_settings,
    write_update,
)

HEAD = ENVELOPE_HEAD.size


def flip(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda data: data[:-1], "TruncatedPacketError: packet"),
        (lambda data: flip(data, 40), "CorruptPacketError: CRC-32"),
        (lambda data: data[:2], "TruncatedPacketError: envelope"),
        (lambda data: data[:HEAD], "TruncatedPacketError: packet"),
        (lambda data: data + b"\0", "CorruptPacketError: length"),
        (lambda data: data[:HEAD] + b"GIF" + data[HEAD + 3 :], "CorruptPacketError: magic"),
        (lambda data: data[: HEAD + 3] + b"\xff" + data[HEAD + 4 :], "UnsupportedVersionError"),
        (lambda data: flip(data, 0), "CorruptPacketError: envelope at byte 0"),
        (lambda data: flip(data, CHECKSUM_BYTES), "CorruptPacketError: envelope at byte 0"),
        (lambda data: data[:4] + b"\0\x7c" + data[6:], "CorruptPacketError: envelope at byte 4"),
        (lambda data: data[:4] + b"\0\x7e" + data[6:], "CorruptPacketError: envelope at byte 4"),
        (lambda data: data[:4] + b"\0\xbc" + data[6:], "CorruptPacketError: envelope at byte 4"),
    ],
)
def test_damaged_packet_becomes_the_error_of_its_node_and_the_round_goes_on(
    change: Any, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    faults = ChangesReplies(first_node_in_round(2), change_packet(change))
    strategy, _, result = run(faults)
    row = rows_of(strategy, 0)[1]
    assert row.failure is not None
    assert row.failure.startswith(reason)
    assert row.uplink_packet_bytes > 0
    assert row.uplink_raw_bytes == 0
    # The state stayed: the client codes the next packet against the acknowledged one.
    assert codings(strategy, 0) == ["fresh", "none", "warm", "warm"]
    assert codings(strategy, 1) == ["fresh", "warm", "warm", "warm"]
    assert result.train_metrics_clientapp[2]["deepcabac-failures"] == 1
    assert "reply of node 1000 is unusable" in caplog.text


def test_error_reply_names_the_node_to_the_inner_strategy() -> None:
    seen: list[Message] = []

    class Spy(FedAvg):
        def aggregate_train(self, server_round: int, replies: Any) -> Any:
            seen.extend(replies)
            return super().aggregate_train(server_round, replies)

    strategy = DeepCABACStrategy(
        Spy(min_available_nodes=N_NODES, min_train_nodes=N_NODES, fraction_evaluate=0.0), EXACT
    )
    faults = ChangesReplies(first_node_in_round(1), change_packet(lambda data: data[:-1]))
    grid = InProcessGrid([make_app() for _ in range(N_NODES)], faults=faults)
    strategy.start(grid, initial_arrays(), num_rounds=1)
    [error] = [reply for reply in seen if reply.has_error()]
    assert error.metadata.src_node_id == 1000
    assert "TruncatedPacketError" in str(error.error.reason)
    assert len(seen) == N_NODES


def as_two_packets(reply: Message) -> Message:
    reply.content["again"] = reply.content["arrays"]
    return reply


def beside_weights(reply: Message) -> Message:
    reply.content["weights"] = record_of({"w": np.zeros(3, np.float32)})
    return reply


def with_wrong_shape(reply: Message) -> Message:
    [array] = reply.content["arrays"].values()
    array.shape = (3,)
    return reply


def with_wrong_dtype(reply: Message) -> Message:
    [array] = reply.content["arrays"].values()
    array.dtype = "float32"
    return reply


@pytest.mark.parametrize(
    "change", [as_two_packets, beside_weights, with_wrong_shape, with_wrong_dtype]
)
def test_envelope_of_another_form_is_refused(change: Any) -> None:
    strategy, _, _ = run(ChangesReplies(first_node_in_round(1), change), num_rounds=2)
    assert str(rows_of(strategy, 0)[0].failure).startswith("CorruptPacketError: envelope")
    assert codings(strategy, 0) == ["none", "fresh"]


@pytest.mark.parametrize("data", [b"", b"\x93NUMPY\x01\0", b"PK\x05\x06" + bytes(18)])
def test_weights_that_numpy_cannot_read_cost_their_own_node_alone(data: bytes) -> None:
    """Such as those of a client without the mod."""

    def unreadable(reply: Message) -> Message:
        reply.content["arrays"] = ArrayRecord({"w": Array("float32", (3,), "numpy.ndarray", data)})
        return reply

    strategy, _, result = run(ChangesReplies(first_node_in_round(1), unreadable), num_rounds=2)
    row = rows_of(strategy, 0)[0]
    assert str(row.failure).startswith("CorruptPacketError: array 'w'")
    assert (row.uplink_packet_bytes, row.uplink_raw_bytes) == (len(data), 0)
    assert codings(strategy, 0) == ["none", "fresh"]
    assert codings(strategy, 1) == ["fresh", "warm"]
    assert result.train_metrics_clientapp[1]["deepcabac-failures"] == 1


def packet_in(reply: Message) -> bytes:
    update = parse_update(reply.content)
    assert update is not None
    return update.packet


def test_packet_of_another_model_is_refused() -> None:
    other = initial_arrays(n_hidden=3)

    def from_other_model(reply: Message) -> Message:
        msg = train_message(other)
        msg.content = write_settings(msg.content, EXACT, token=FRESH_TOKEN)
        content = RecordDict({"arrays": other})
        answer = deepcabac_mod(msg, new_context(), lambda m, _: Message(content, reply_to=m))
        put_packet(reply, packet_in(answer))
        return reply

    strategy, _, _ = run(ChangesReplies(first_node_in_round(1), from_other_model), num_rounds=2)
    assert str(rows_of(strategy, 0)[0].failure).startswith("SchemaMismatchError")


def test_packet_coded_against_a_state_not_named_is_refused() -> None:
    """A client that holds on to an older state, which is no longer the one named to it."""
    packets: list[bytes] = []

    class Lags(Faults):
        def after_training(self, node: Node, reply: Message, server_round: int) -> Message | None:
            if node.partition_id == 0:
                packets.append(packet_in(reply))
                if server_round == 3:
                    put_packet(reply, packets[1])
            return reply

    strategy, _, _ = run(Lags())
    assert str(rows_of(strategy, 0)[2].failure).startswith("StateMismatchError")
    assert codings(strategy, 0) == ["fresh", "warm", "none", "warm"]


@pytest.mark.parametrize("earlier_round", [1, 2])
def test_packet_of_an_earlier_round_is_refused(earlier_round: int) -> None:
    """Even a fresh one, which says nothing of when it was coded."""
    kept: list[ArrayRecord] = []

    class Replays(Faults):
        def after_training(self, node: Node, reply: Message, server_round: int) -> Message | None:
            if node.partition_id == 0:
                kept.append(ArrayRecord(dict(reply.content.array_records["arrays"])))
                if server_round == 3:
                    reply.content["arrays"] = kept[earlier_round - 1]
            return reply

    strategy, _, _ = run(Replays())
    found = str(rows_of(strategy, 0)[2].failure)
    assert re.match(r"CorruptPacketError: envelope .* to answer message '.+' to node 1000", found)
    assert codings(strategy, 0) == ["fresh", "warm", "none", "warm"]


def test_packets_of_two_nodes_that_change_places_are_refused() -> None:
    class Swaps(Faults):
        def arriving(self, replies: list[Message]) -> list[Message]:
            if replies:
                first, second = replies[0].content, replies[1].content
                arrays = first["arrays"]
                first["arrays"] = second["arrays"]
                second["arrays"] = arrays
            return replies

    strategy, _, _ = run(Swaps(), num_rounds=1)
    found = sorted(codings(strategy, i) for i in range(N_NODES))
    assert found == [["fresh"]] * 2 + [["none"]] * 2


def test_packet_answers_a_message_without_id() -> None:
    """As in tests of an app, which no grid has given one."""
    message = Message(RecordDict(), dst_node_id=3, message_type="train")
    content = RecordDict({"a": write_update(b"p", answers=message.metadata, encode_seconds=0.25)})
    update = parse_update(content)
    assert update is not None
    check_binding(update, message.metadata)
    other = Message(RecordDict(), dst_node_id=4, message_type="train")
    with pytest.raises(CorruptPacketError, match="to answer message '' to node 4, found"):
        check_binding(update, other.metadata)


def test_packet_with_another_profile_is_refused() -> None:
    def with_profile_max(reply: Message) -> Message:
        [exchange] = [e for e in grid.train_exchanges() if e.node.partition_id == 0]
        msg = exchange.message
        config = CodecConfig(step=1 / 64, profile="max")
        arrays = msg.content["arrays"]
        msg.content = write_settings(
            RecordDict({"arrays": arrays, "config": ConfigRecord()}), config, token=FRESH_TOKEN
        )
        content = RecordDict({"arrays": arrays})
        other = deepcabac_mod(msg, new_context(), lambda m, _: Message(content, reply_to=m))
        reply.content["arrays"] = other.content["arrays"]
        return reply

    grid = InProcessGrid([make_app() for _ in range(N_NODES)])
    grid.faults = ChangesReplies(first_node_in_round(1), with_profile_max)
    strategy = DeepCABACStrategy(fedavg(), EXACT)
    strategy.start(grid, initial_arrays(), num_rounds=1)
    assert rows_of(strategy, 0)[0].coding == "none"
    assert "envelope" not in str(rows_of(strategy, 0)[0].failure)
    assert strategy.communication.totals.failures == 1


def aggregate(strategy: DeepCABACStrategy, replies: list[Message]) -> list[Message]:
    with strategy._codec_endpoint.receive_train(1, replies) as received:
        return received


def test_second_reply_to_one_message_is_refused_and_changes_no_state() -> None:
    strategy = DeepCABACStrategy(fedavg(), EXACT)
    grid = InProcessGrid([make_app() for _ in range(N_NODES)])
    messages = strategy.configure_train(1, initial_arrays(), ConfigRecord(), grid)
    replies = list(grid.send_and_receive(messages))
    received = aggregate(strategy, [*replies, replies[0]])
    assert [reply.has_error() for reply in received] == [False] * N_NODES + [True]
    assert "the second" in str(received[-1].error.reason)
    assert received[-1].metadata.src_node_id == replies[0].metadata.src_node_id
    totals = strategy.communication.totals
    assert (totals.fresh, totals.failures) == (N_NODES, 1)


def test_replies_to_unknown_messages_are_refused_as_packets_and_passed_on_otherwise() -> None:
    strategy = DeepCABACStrategy(fedavg(), EXACT)
    grid = InProcessGrid([make_app() for _ in range(N_NODES)])
    messages = strategy.configure_train(1, initial_arrays(), ConfigRecord(), grid)
    replies = list(grid.send_and_receive(messages))
    other = DeepCABACStrategy(fedavg(), EXACT)
    plain = Message(RecordDict({"arrays": initial_arrays()}), reply_to=train_message(ArrayRecord()))
    received = aggregate(other, [replies[0], plain])
    assert received[0].has_error()
    assert received[1] is plain
