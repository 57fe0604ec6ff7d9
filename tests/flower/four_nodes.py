# SPDX-License-Identifier: Apache-2.0
"""A run of FedAvg with four nodes, some of which may be made to misbehave."""

from __future__ import annotations

from typing import Any

from flower.inprocess_grid import Faults, InProcessGrid
from flower.toy import EXACT, initial_arrays, make_app
from flwr.app import Array, ArrayRecord, Message, RecordDict
from flwr.serverapp.strategy import FedAvg, Result

from fl_deepcabac import CodecConfig
from fl_deepcabac.flower import DeepCABACStrategy, Transfer
from fl_deepcabac.flower.records import PACKET_STYPE, write_update

N_NODES = 4


def fedavg(**kwargs: Any) -> FedAvg:
    nodes = {"min_available_nodes": N_NODES, "min_train_nodes": N_NODES, "fraction_evaluate": 0.0}
    return FedAvg(**{**nodes, **kwargs})


def run(
    faults: Faults | None = None,
    *,
    config: CodecConfig = EXACT,
    num_rounds: int = 4,
    apps: list[Any] | None = None,
    **grid_settings: Any,
) -> tuple[DeepCABACStrategy, InProcessGrid, Result]:
    strategy = DeepCABACStrategy(fedavg(), config)
    apps = apps or [make_app() for _ in range(N_NODES)]
    grid = InProcessGrid(apps, faults=faults or Faults(), **grid_settings)
    result = strategy.start(grid, initial_arrays(), num_rounds=num_rounds)
    return strategy, grid, result


def rows_of(strategy: DeepCABACStrategy, partition: int) -> list[Transfer]:
    return [
        row
        for record in strategy.communication.rounds
        for row in record.transfers
        if row.node_id == 1000 + partition
    ]


def codings(strategy: DeepCABACStrategy, partition: int) -> list[str]:
    return [row.coding for row in rows_of(strategy, partition)]


def first_node_in_round(wanted: int) -> Any:
    return lambda node, server_round: node.partition_id == 0 and server_round == wanted


def change_packet(change: Any) -> Any:
    """Return a change of replies that puts other bytes in the place of the packet's envelope."""

    def apply(reply: Message) -> Message:
        [array] = reply.content["arrays"].values()
        data = change(array.data)
        reply.content["arrays"] = ArrayRecord(
            {"packet": Array("uint8", (len(data),), PACKET_STYPE, data)}
        )
        return reply

    return apply


def put_packet(reply: Message, packet: bytes) -> None:
    """Put another packet into a reply, bound to the message that this answers."""
    told = reply.metadata
    answered = Message(RecordDict(), dst_node_id=told.src_node_id, message_type=told.message_type)
    answered.metadata.__dict__["_message_id"] = told.reply_to_message_id
    reply.content["arrays"] = write_update(packet, answers=answered.metadata, encode_seconds=0.0)
