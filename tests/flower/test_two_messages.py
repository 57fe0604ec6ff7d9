# SPDX-License-Identifier: Apache-2.0
"""A strategy that sends a node two train messages in one round; docs/protocol.md 1.1 and 8."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from flower.four_nodes import codings
from flower.inprocess_grid import InProcessGrid
from flower.toy import Arrays, arrays_of, initial_arrays, make_app
from flower.twin import RESIDUAL_TOLERANCE
from flower.witness import Vector, Witness, find_slot, flatten
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp.strategy import FedAvg

from fl_deepcabac import CodecConfig, Schema, inspect_packet
from fl_deepcabac.flower import DeepCABACStrategy, deepcabac_mod
from fl_deepcabac.flower.records import FRESH_TOKEN, parse_settings, settings_of

if TYPE_CHECKING:
    from flower.witness import Testimony  # which pytest would take for tests

NODE = 1000


class SendsSeveral(FedAvg):
    """Sends each node so many messages a round; keeps the model, and notes what it decodes."""

    def __init__(self) -> None:
        super().__init__(min_available_nodes=1, min_train_nodes=1, fraction_evaluate=0.0)
        self.messages = range(1)
        self.decoded: list[Arrays] = []

    def configure_train(self, *arguments: Any) -> Iterable[Message]:
        rounds = [super(SendsSeveral, self).configure_train(*arguments) for _ in self.messages]
        return [message for messages in rounds for message in messages]

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        del server_round
        self.decoded = [arrays_of(reply.content.array_records["arrays"]) for reply in replies]
        return None, None


class Run:
    """One node, and rounds of one message to it or of several."""

    def __init__(self) -> None:
        numbers = count()

        def train(weights: Arrays, _: np.random.Generator) -> Arrays:
            noise = np.random.default_rng(next(numbers))
            return {
                name: (array + noise.normal(0, 1, array.shape)).astype(array.dtype)
                for name, array in weights.items()
            }

        self.inner, self.witness = SendsSeveral(), Witness()
        # Coarse, so that residuals are large.
        self.strategy = DeepCABACStrategy(self.inner, CodecConfig(relative_step=2.0))
        app = make_app(mods=(deepcabac_mod, self.witness.mod), train=train)
        self.grid = InProcessGrid([app], faults=self.witness)
        self.server_round = 0
        self.used: list[Testimony] = []

    def play_round(self, tasks: Sequence[int] = (0,), replies: Sequence[int] = (0,)) -> list[bytes]:
        """Play a round and return the tokens in it.

        Parameters
        ----------
        tasks, replies : sequence of int
            The messages in the order in which the node works on them, and those that the server
            gets an answer to, in that order.
        """
        self.server_round += 1
        self.inner.messages = range(len(tasks))
        arguments = self.server_round, initial_arrays(), ConfigRecord(), self.grid
        sent = list(self.strategy.configure_train(*arguments))
        self.grid.push_messages([sent[i] for i in tasks])
        ids = [sent[i].metadata.message_id for i in replies]
        arrived = {
            reply.metadata.reply_to_message_id: reply for reply in self.grid.pull_messages(ids)
        }
        self.strategy.aggregate_train(self.server_round, [arrived[key] for key in ids])
        used = [self.witness.testimonies[key] for key in ids]
        for decoded, testimony in zip(self.inner.decoded, used, strict=True):
            for name, expected in testimony.weights().items():
                np.testing.assert_array_equal(decoded[name], expected)
        self.used += used
        return [token_in(message) for message in sent]


def token_in(message: Message) -> bytes:
    record = settings_of(message.content)
    parsed = record and parse_settings(record)
    assert parsed
    return parsed[1]


@pytest.mark.parametrize("tasks", [(0, 1), (1, 0)])
@pytest.mark.parametrize("replies", [(0, 1), (1, 0), (0,), (1,)])
def test_second_message_names_no_state_and_the_stream_heals(
    tasks: tuple[int, int], replies: tuple[int, ...]
) -> None:
    run = Run()
    first = [run.play_round(), run.play_round()]
    assert first[0] == [FRESH_TOKEN]
    held = run.used[-1].digest_after
    assert run.play_round(tasks, replies) == [held, FRESH_TOKEN]

    # The node holds the state after the packet it made last, and no other: where the server has
    # used that one last, nothing is amiss; else it names a state that the node lacks.
    node = run.grid.nodes[NODE]
    schema = Schema.from_arrays(arrays_of(initial_arrays()))
    is_held = tasks[-1] == replies[-1]
    found = find_slot(node, run.used[-1].digest_after, schema)
    assert (found is not None) == is_held
    assert find_slot(node, held, schema) is None

    run.play_round()
    run.play_round()
    assert codings(run.strategy, 0)[-2:] == ["warm" if is_held else "fresh", "warm"]
    check_residuals(run, schema)


def test_each_of_three_messages_is_used() -> None:
    run = Run()
    run.play_round()
    held = run.used[-1].digest_after
    assert run.play_round((0, 1, 2), (0, 1, 2)) == [held, FRESH_TOKEN, FRESH_TOKEN]
    run.play_round()
    assert codings(run.strategy, 0) == ["fresh", "warm", "fresh", "fresh", "warm"]
    assert len(run.used) == 5


def check_residuals(run: Run, schema: Schema) -> None:
    """No residual is in two packets that were used, and none is in one that it does not belong to.

    What was left over is found anew, packet by packet, from updates and what was decoded of them.
    """
    left_over: dict[bytes, Vector] = {}
    for testimony in run.used:
        header = inspect_packet(testimony.packet)
        carried = testimony.update
        if not header.is_fresh:
            # Raises where the residual has gone into another packet already.
            carried = carried + left_over.pop(header.base_state_digest)
        left_over[testimony.digest_after] = carried - flatten(testimony.decoded)
    last = run.used[-1].digest_after
    slot = find_slot(run.grid.nodes[NODE], last, schema)
    assert slot is not None
    error = np.abs(flatten(slot.residual) - left_over[last]).max()
    assert error < RESIDUAL_TOLERANCE
    # One that two packets shared would be as large as this.
    assert np.abs(left_over[last]).max() > 0.1
