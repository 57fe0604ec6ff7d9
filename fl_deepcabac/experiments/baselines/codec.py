# SPDX-License-Identifier: Apache-2.0
"""Any method as an `UpdateCodec`: its bytes travel through Flower as ours do.

The mod codes what training changed, the strategy decodes and hands weights to the one inside. What
each side remembers stays there: in `Context.state`, and in the strategy, by node. As the papers
have it, a client's memory goes on whatever becomes of its reply. Invariant: a reply that cannot be
decoded becomes its node's error.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from flwr.app import (
    Array,
    ArrayRecord,
    ConfigRecord,
    Context,
    Error,
    Message,
    MetricRecord,
    RecordDict,
)
from flwr.clientapp.typing import Mod
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from fl_deepcabac.errors import DecodeError, DeepCabacError, SchemaMismatchError
from fl_deepcabac.experiments.baselines.envelope import parse_payload, write_payload
from fl_deepcabac.experiments.baselines.method import Memory, Method
from fl_deepcabac.experiments.client import SETTINGS_KEY
from fl_deepcabac.experiments.codecs import CodecCost
from fl_deepcabac.experiments.settings import RunSettings
from fl_deepcabac.flower.records import replace_record
from fl_deepcabac.flower.weights import (
    add_reference,
    schema_of,
    subtract_reference,
    tensor_mismatch,
)

__all__ = ["BaselineCodec", "BaselineMod", "BaselineStrategy"]

UNUSABLE_REPLY: Final = 0xBA5E
MEMORY_PREFIX: Final = "fl-deepcabac-baseline"
# Sets the chance of methods apart from that by which clients are drawn.
CHANCE: Final = 0xBA5E

logger = logging.getLogger("fl_deepcabac")


class BaselineCodec:
    """Updates travel as a method makes them.

    Parameters
    ----------
    method : Method
    """

    def __init__(self, method: Method) -> None:
        self.method = method

    @property
    def name(self) -> str:
        """Name of the method."""
        return self.method.name

    def client_mods(self) -> list[Mod]:
        """Return the mod that encodes."""
        return [BaselineMod(self.method)]

    def wrap(self, strategy: Strategy) -> Strategy:
        """Return the strategy that decodes before the given one aggregates."""
        return BaselineStrategy(strategy, self.method)

    def round_cost(self, strategy: Strategy, server_round: int) -> CodecCost:
        """Return what a round cost."""
        assert isinstance(strategy, BaselineStrategy)
        assert strategy.server_round == server_round
        return strategy.cost

    def describe(self) -> dict[str, Any]:
        """Return the settings of the method."""
        return self.method.describe()


@dataclass(frozen=True)
class BaselineMod:
    """The client mod of a method.

    Parameters
    ----------
    method : Method
    """

    method: Method

    def __call__(
        self, msg: Message, context: Context, call_next: Callable[[Message, Context], Message]
    ) -> Message:
        """Replace the weights in the reply to a train message by a payload.

        Raises
        ------
        SchemaMismatchError
            If the reply has not the tensors of the message.
        EncodeError
            If the update cannot be coded. Flower makes both this node's error reply.
        """
        if msg.metadata.message_type.partition(".")[0] != "train":
            return call_next(msg, context)
        [received] = msg.content.array_records.values()
        reference, chance = dict(received), _chance_of(msg, context)
        reply = call_next(msg, context)
        if reply.has_error():
            return reply
        [(name, trained)] = reply.content.array_records.items()

        start = time.perf_counter()
        schema = schema_of(reference)
        update = {}
        for spec in schema.tensors:
            if spec.name not in trained:
                raise SchemaMismatchError(f"reply: expected a tensor {spec.name!r}, found none")
            local = trained[spec.name].numpy()
            if (reason := tensor_mismatch(spec, local)) is not None:
                raise SchemaMismatchError(reason)
            update[spec.name] = subtract_reference(spec, local, reference[spec.name].numpy())
        memory_name = f"{MEMORY_PREFIX}.{context.run_id}"
        memory = _find_memory(context.state, memory_name)
        payload, memory = self.method.encode(update, schema, memory, chance)
        seconds = time.perf_counter() - start

        _store_memory(context.state, memory_name, memory)
        reply.content = replace_record(reply.content, name, write_payload(payload, seconds))
        return reply


class BaselineStrategy(Strategy):
    """A strategy around another that turns payloads into weights.

    Parameters
    ----------
    inner : Strategy
        Sees ordinary replies.
    method : Method

    Attributes
    ----------
    server_round : int
        Whose cost `cost` is.
    cost : CodecCost
    """

    def __init__(self, inner: Strategy, method: Method) -> None:
        self.inner = inner
        self.server_round = 0
        self.cost = CodecCost()
        self._method = method
        self._memories: dict[int, Memory] = {}
        self._sent: list[Message] = []

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Note what the nodes train from."""
        self._sent = list(self.inner.configure_train(server_round, arrays, config, grid))
        return self._sent

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Decode the replies and let the inner strategy combine them."""
        # By now the grid has given the messages their ids.
        questions = {message.metadata.message_id: message for message in self._sent}
        usable, encode_seconds, start = 0, 0.0, time.perf_counter()
        received = []
        for reply in replies:
            question = questions.pop(reply.metadata.reply_to_message_id, None)
            decoded, seconds = self._decoded(reply, question)
            received.append(decoded)
            encode_seconds += seconds
            usable += not decoded.has_error()
        self.server_round = server_round
        self.cost = CodecCost(
            failures=len(self._sent) - usable,
            encode_seconds=encode_seconds,
            decode_seconds=time.perf_counter() - start,
        )
        self._sent = []
        return self.inner.aggregate_train(server_round, received)

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Leave it to the inner strategy."""
        return self.inner.configure_evaluate(server_round, arrays, config, grid)

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        """Leave it to the inner strategy."""
        return self.inner.aggregate_evaluate(server_round, replies)

    def summary(self) -> None:
        """Leave it to the inner strategy."""
        self.inner.summary()

    def _decoded(self, reply: Message, question: Message | None) -> tuple[Message, float]:
        """Return a reply with weights, or the error of its node; and its seconds of encoding."""
        if reply.has_error():
            return reply, 0.0
        node_id = reply.metadata.src_node_id
        try:
            if question is None:
                raise DecodeError("expected one reply to each message, found another")
            name, payload, seconds = parse_payload(reply.content)
            [reference] = question.content.array_records.values()
            schema = schema_of(reference)
            memory = self._memories.get(node_id, {})
            update, self._memories[node_id] = self._method.decode(payload, schema, memory)
        except DeepCabacError as error:
            reason = f"{type(error).__name__}: {error}"
            logger.warning("%s: reply of node %d: %s", self._method.name, node_id, reason)
            # A reply to what was never asked can only answer itself.
            return Message(Error(UNUSABLE_REPLY, reason), reply_to=question or reply), 0.0
        weights = ArrayRecord(
            {
                spec.name: Array(
                    add_reference(spec, update[spec.name], reference[spec.name].numpy())
                )
                for spec in schema.tensors
            }
        )
        reply.content = replace_record(reply.content, name, weights)
        return reply, seconds


def _chance_of(msg: Message, context: Context) -> np.random.Generator:
    """Return a generator that is this client's in this round of this run, and no other's."""
    [config] = msg.content.config_records.values()
    seed = 0
    if SETTINGS_KEY in config:
        seed = RunSettings.from_json(str(config[SETTINGS_KEY])).seed
    server_round = int(str(config.get("server-round", 0)))
    client = int(str(context.node_config.get("partition-id", context.node_id)))
    return np.random.default_rng([seed, server_round, client, CHANCE])


def _find_memory(state: RecordDict, name: str) -> Memory:
    """Return what this client remembers of this run."""
    record = state.array_records.get(name, ArrayRecord())
    return {key: array.numpy() for key, array in record.items()}


def _store_memory(state: RecordDict, name: str, memory: Mapping[str, Any]) -> None:
    """Remember, and forget what earlier runs left."""
    for key in [key for key in state if key.startswith(f"{MEMORY_PREFIX}.")]:
        del state[key]
    if memory:
        state[name] = ArrayRecord({key: Array(array) for key, array in memory.items()})
