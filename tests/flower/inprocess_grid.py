# SPDX-License-Identifier: Apache-2.0
"""A Flower grid in one process: real ClientApps, real Messages, no network, no engine.

Every message, reply and client state is taken apart and put together again exactly as Flower does
on the wire, so nothing can pass by reference that would not pass by cable. Faults are injected by a
`Faults` object; this is the only place in the tests, besides conftest.py, that touches Flower's
private modules.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.supercore.inflatable.inflatable_object import InflatableObject, get_all_nested_objects
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents

T = TypeVar("T", bound=InflatableObject)

# What Flower reports for an app that raises (flwr.common.constant.ErrorCode).
CLIENT_APP_RAISED_EXCEPTION = 2
# Of the errors that the SuperLink makes itself, whichever node is at fault.
SUPERLINK_NODE_ID = 1


def over_the_wire(thing: T) -> T:
    """Return what arrives when `thing` is sent."""
    contents = {key: part.deflate() for key, part in get_all_nested_objects(thing).items()}
    arrived: Any = inflate_object_from_contents(thing.object_id, contents)
    return arrived


@dataclass
class Node:
    """One client: its app, and the state that Flower keeps for it between messages."""

    node_id: int
    partition_id: int
    app: ClientApp
    context: Context
    # What becomes of the state when the app raises: see `InProcessGrid`.
    rolls_back: bool = False
    # Others are not sampled.
    is_connected: bool = True

    def forget(self) -> None:
        """Lose the state, as a SuperNode does that is restarted."""
        self.context.state = RecordDict()


class Faults:
    """What goes wrong: nothing. Override a method to change that.

    Each is called once per message. `server_round` is what the strategy wrote into the config.
    """

    def before_training(self, node: Node, message: Message, server_round: int) -> Message | None:
        """Return the message that reaches the node; None if none does."""
        del node, server_round
        return message

    def after_training(self, node: Node, reply: Message, server_round: int) -> Message | None:
        """Return the reply that reaches the server; None if none does."""
        del node, server_round
        return reply

    def arriving(self, replies: list[Message]) -> list[Message]:
        """Return what the server finds when it pulls `replies`, each an object of its own."""
        return replies


@dataclass
class LosesReplies(Faults):
    """Drops the replies that `when` picks; the client has committed its state by then."""

    when: Callable[[Node, int], bool]

    def after_training(self, node: Node, reply: Message, server_round: int) -> Message | None:
        return None if self.when(node, server_round) else reply


@dataclass
class ChangesReplies(Faults):
    """Passes the replies that `when` picks through `change`."""

    when: Callable[[Node, int], bool]
    change: Callable[[Message], Message]

    def after_training(self, node: Node, reply: Message, server_round: int) -> Message | None:
        return self.change(reply) if self.when(node, server_round) else reply


@dataclass
class Exchange:
    """One message as it arrived and its reply as it was sent."""

    node: Node
    server_round: int
    message: Message
    reply: Message


@dataclass
class InProcessGrid(Grid):
    """A grid whose nodes answer within `push_messages`.

    Parameters
    ----------
    apps : list of ClientApp
        One per node.
    faults : Faults
    rolls_back : bool
        What becomes of a client's state when its app raises: taken back, as in Flower's simulation,
        or kept, as in a deployment.
    seed : int
        Of the order in which replies arrive.
    """

    apps: list[ClientApp]
    faults: Faults = field(default_factory=Faults)
    rolls_back: bool = False
    run_id: int = 1
    seed: int = 0
    exchanges: list[Exchange] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.nodes: dict[int, Node] = {}
        self._n_nodes_ever = 0
        for app in self.apps:
            self.add_node(app)
        self._replies: dict[str, Message] = {}
        self._random = random.Random(self.seed)

    def add_node(self, app: ClientApp) -> Node:
        """Let a node join, under an id that no other ever had."""
        partition_id = self._n_nodes_ever
        node_id = 1000 + partition_id
        self._n_nodes_ever += 1
        node_config: dict[str, Any] = {"partition-id": partition_id}
        context = Context(self.run_id, node_id, node_config, RecordDict(), {})
        node = self.nodes[node_id] = Node(node_id, partition_id, app, context, self.rolls_back)
        return node

    def set_run(self, run: Any) -> None:
        raise NotImplementedError

    @property
    def run(self) -> Any:
        raise NotImplementedError

    def create_message(self, *args: Any, **kwargs: Any) -> Message:
        raise NotImplementedError

    def get_node_ids(self) -> Iterable[int]:
        return [node.node_id for node in self.nodes.values() if node.is_connected]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Hand each message to its node; it answers at once."""
        message_ids = []
        for message in messages:
            # As Flower's grids do: the id is entered in the strategy's own object.
            message.metadata.__dict__["_message_id"] = str(uuid.uuid4())
            message_ids.append(message.metadata.message_id)
            reply = self._deliver(message)
            if reply is not None:
                self._replies[message.metadata.message_id] = reply
        return message_ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return what has arrived, in an order of its own."""
        sent = [self._replies.pop(key) for key in message_ids if key in self._replies]
        arrived = self.faults.arriving(sent)
        self._random.shuffle(arrived)
        return arrived

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        del timeout
        return list(self.pull_messages(self.push_messages(messages)))

    def _deliver(self, message: Message) -> Message | None:
        """Take a message to its node and the reply back."""
        node = self.nodes[message.metadata.dst_node_id]
        is_train = message.metadata.message_type.startswith("train")
        server_round = _round_of(message)
        arrived = _copy(message)
        if is_train:
            reached = self.faults.before_training(node, arrived, server_round)
            if reached is None:
                return None
            arrived = reached
        reply = self._run_app(node, arrived)
        self.exchanges.append(Exchange(node, server_round, arrived, reply))
        if is_train:
            sent = self.faults.after_training(node, reply, server_round)
            return None if sent is None else _copy(sent)
        return _copy(reply)

    def _run_app(self, node: Node, message: Message) -> Message:
        """Run the app on a copy of the message, with the state it left last time."""
        before = over_the_wire(node.context.state)
        try:
            reply = node.app(_copy(message), node.context)
        except Exception as error:  # Flower turns any exception of an app into an error reply
            if node.rolls_back:
                node.context.state = before
            reason = f"{type(error)}:<'{error}'>"
            reply = Message(Error(CLIENT_APP_RAISED_EXCEPTION, reason), reply_to=message)
        node.context.state = over_the_wire(node.context.state)
        return reply

    def train_exchanges(self) -> Iterator[Exchange]:
        """Iterate over those of train messages, in order."""
        for exchange in self.exchanges:
            if exchange.message.metadata.message_type.startswith("train"):
                yield exchange


def superlink_error(message: Message, code: int, reason: str) -> Message:
    """Return the SuperLink's own error in reply to a message: it comes from node 1 (itself)."""
    error = Message(Error(code, reason), reply_to=message)
    error.metadata.__dict__["_src_node_id"] = SUPERLINK_NODE_ID
    return error


def _copy(message: Message) -> Message:
    """Send a message; its id travels beside it."""
    arrived = over_the_wire(message)
    arrived.metadata.__dict__["_message_id"] = message.metadata.message_id
    return arrived


def _round_of(message: Message) -> int:
    rounds = [record.get("server-round") for record in message.content.config_records.values()]
    return next((value for value in rounds if isinstance(value, int)), 0)
