# SPDX-License-Identifier: Apache-2.0
"""A federation of three nodes that has trained for one round, to be taken up again and again.

What a node answers is worked out by the real mod when it is first asked for, and looked up from
then on, so that an input costs little more than the server's part. Invariant: an answer depends on
what its node has answered before and on what it is told, and on nothing else.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from flower.inprocess_grid import InProcessGrid
from flower.toy import EXACT, STEP, Arrays, arrays_of, make_app, record_of, train_in_steps
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg

import fl_deepcabac as dc
from fl_deepcabac.flower import DeepCABACStrategy, DownlinkConfig
from fl_deepcabac.flower.broadcast_records import MODEL_KEY
from fl_deepcabac.flower.records import (
    FRESH_TOKEN,
    TOKEN_KEY,
    parse_update,
    settings_of,
    write_update,
)
from fl_deepcabac.flower.saved_state import SavedState
from fl_deepcabac.flower.state import ClientSlots

__all__ = ["NODES", "SCHEMA", "SETUPS", "Answer", "Inner", "Scene", "Server", "scene_of", "told"]

NODES = (1000, 1001, 1002)


def model_of(server_round: int) -> ArrayRecord:
    """Return the global model before a round: floats of whole steps, and exact tensors."""
    rng = np.random.default_rng(server_round)
    return record_of(
        {
            "w": (rng.integers(-99, 99, (6, 5)) * STEP).astype(np.float32),
            "b": (rng.integers(1, 99, 3) * STEP).astype(np.float32),
            "n": np.array(7 * server_round, np.int64),
            "counts": np.arange(3, dtype=np.uint8),
        }
    )


SCHEMA = dc.Schema.from_arrays(arrays_of(model_of(1)))


@dataclass(frozen=True)
class Setup:
    """How a server is set up."""

    downlink: DownlinkConfig | None = None
    state_budget_bytes: int | None = None
    spills: bool = False

    @property
    def keeps_states(self) -> bool:
        """Whether the server holds states from round to round."""
        return self.state_budget_bytes is None or self.spills


SETUPS = (
    Setup(),
    Setup(downlink=DownlinkConfig(profile="fast")),
    Setup(state_budget_bytes=0),
    Setup(state_budget_bytes=0, spills=True),
)


@dataclass(frozen=True, eq=False)
class Answer:
    """What a node answered to a message.

    Parameters
    ----------
    packet : bytes
    metrics : MetricRecord
    seen, weights : dict of str to ndarray
        What the node trained from, and what the server should get from it.
    digest_after : bytes
        Of the state after the packet.
    records : RecordDict
        The node's state, for its next answer.
    """

    packet: bytes
    metrics: MetricRecord
    seen: Arrays
    weights: Arrays
    digest_after: bytes
    records: RecordDict = field(repr=False)

    def reply_to(self, message: Message) -> Message:
        """Return the answer as a message."""
        arrays = write_update(self.packet, answers=message.metadata, encode_seconds=0.25)
        return Message(RecordDict({"arrays": arrays, "metrics": self.metrics}), reply_to=message)


class Inner(FedAvg):
    """FedAvg that shows what it is given to `watch`, while that can be read."""

    def __init__(self) -> None:
        everybody = {f"min_{what}_nodes": len(NODES) for what in ("available", "train", "evaluate")}
        super().__init__(**everybody)
        self.watch: Callable[[list[Message]], None] = lambda _: None

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> Any:
        received = list(replies)
        self.watch(received)
        return super().aggregate_train(server_round, received)


class Server:
    """A server as it is set up, or as it was after some rounds."""

    def __init__(self, setup: Setup) -> None:
        self.inner = Inner()
        self.strategy = DeepCABACStrategy(
            self.inner,
            EXACT,
            downlink=setup.downlink,
            state_budget_bytes=setup.state_budget_bytes,
            spill_directory=_folder().name if setup.spills else None,
        )

    def ask(self, server_round: int) -> list[Message]:
        """Return train messages of a round, by node; their ids are always the same."""
        model = model_of(server_round)
        messages = self.strategy.configure_train(server_round, model, ConfigRecord(), _grid())
        ordered = sorted(messages, key=lambda message: message.metadata.dst_node_id)
        for message in ordered:
            name = f"{server_round}-{message.metadata.dst_node_id}"
            message.metadata.__dict__["_message_id"] = name
        return ordered

    def save(self) -> Memory:
        """Return what `resume` needs."""
        endpoint = self.strategy._codec_endpoint
        states = [
            (node, schema, saved.digest, saved.read())
            for node, schema, saved in endpoint.states.items()
        ]
        return Memory(states, endpoint.models.to_plain())

    def resume(self, memory: Memory) -> None:
        """Go on from what another server saved."""
        endpoint = self.strategy._codec_endpoint
        endpoint.states = endpoint.states.refilled(
            (node, schema, SavedState(digest, content))
            for node, schema, digest, content in memory.states
        )
        endpoint.models = endpoint.models.resumed(memory.models)


@dataclass(frozen=True)
class Memory:
    """What a server remembers between rounds."""

    states: list[tuple[int, bytes, bytes, bytes]]
    models: dict[str, Any] | None

    def state_of(self, token: bytes) -> dc.StreamState:
        """Return the state that a token names."""
        for _, _, digest, content in self.states:
            if digest == token:
                return dc.StreamState.from_bytes(content, SCHEMA, EXACT.profile)
        assert token == FRESH_TOKEN
        return dc.StreamState.fresh(SCHEMA, EXACT.profile)


class Scene:
    """A setup after one round, with all that nodes have answered since."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self._answers: dict[tuple[Any, ...], Answer] = {}
        server = Server(setup)
        messages = server.ask(1)
        self.before = {m.metadata.dst_node_id: self.answer(m, None) for m in messages}
        self.late = [self.before[m.metadata.dst_node_id].reply_to(m) for m in messages]
        server.strategy.aggregate_train(1, [_again(reply) for reply in self.late])
        self.memory = server.save()

    def server(self) -> Server:
        """Return the server as it was after the round."""
        server = Server(self.setup)
        server.resume(self.memory)
        return server

    def answer(self, message: Message, before: Answer | None) -> Answer:
        """Return what a node answers, whose latest answer was `before`."""
        envelopes = [
            array.data
            for record in message.content.array_records.values()
            for array in record.values()
        ]
        key = (message.metadata.message_id, before, told(message), *envelopes)
        if key not in self._answers:
            self._answers[key] = _work_out(message, before)
        return self._answers[key]


@cache
def scene_of(setup: Setup) -> Scene:
    """Return the scene of a setup."""
    return Scene(setup)


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    """Return a folder for spilled states that is there as long as the process."""
    return tempfile.TemporaryDirectory()


@cache
def _grid() -> InProcessGrid:
    """Return what strategies ask for the ids of nodes."""
    return InProcessGrid([make_app() for _ in NODES])


def told(message: Message) -> tuple[bytes, bytes]:
    """Return the token of a train message, and what it says of its model."""
    settings = settings_of(message.content)
    assert settings is not None
    token, model = settings[TOKEN_KEY], settings.get(MODEL_KEY, b"")
    assert isinstance(token, bytes)
    assert isinstance(model, bytes)
    return token, model


def _work_out(message: Message, before: Answer | None) -> Answer:
    """Let the real mod answer a message."""
    node_id, seen = message.metadata.dst_node_id, {}

    def train(weights: Arrays, rng: np.random.Generator) -> Arrays:
        seen.update({name: array.copy() for name, array in weights.items()})
        return train_in_steps(weights, rng)

    records = RecordDict({**before.records}) if before else RecordDict()
    context = Context(1, node_id, {"partition-id": node_id - NODES[0]}, records, {})
    # A message of its own, because the mod puts the weights in.
    metadata = message.metadata
    arrived = Message(RecordDict({**message.content}), metadata=metadata)
    reply = make_app(train=train)(arrived, context)
    update = parse_update(reply.content)
    assert update is not None
    state = dc.StreamState.fresh(SCHEMA, EXACT.profile)
    if before and not dc.inspect_packet(update.packet).is_fresh:
        slot = ClientSlots(before.records, context.run_id).find(
            told(message)[0], SCHEMA, EXACT.profile
        )
        assert slot is not None
        state = slot.state
    weights, digest = weigh(update.packet, state, seen)
    metrics = reply.content.metric_records["metrics"]
    return Answer(update.packet, metrics, seen, weights, digest, context.state)


def weigh(packet: bytes, state: dc.StreamState, reference: Arrays) -> tuple[Arrays, bytes]:
    """Return the weights that a packet means, and the digest of the state after it."""
    decoded = dc.decode_update(packet, schema=SCHEMA, state=state)
    weights = {
        spec.name: np.asarray(decoded.update[spec.name])
        if spec.is_exact
        else reference[spec.name] + decoded.update[spec.name]
        for spec in SCHEMA.tensors
    }
    return weights, decoded.state.digest


def _again(reply: Message) -> Message:
    """Return a message of the same content, for a server to change."""
    return Message(RecordDict({**reply.content}), metadata=reply.metadata)
