# SPDX-License-Identifier: Apache-2.0
"""The way down in the abstract: which model each node holds, and which the server thinks it does.

A model is a name here, found by the formula of docs/protocol.md 9 and not by the package's code. A
node gets to a model if all that it needs of an envelope is as it was sent, and fails if not.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from flower.fault_kinds import Heard
from flower.inprocess_grid import Node
from flower.toy import Arrays, arrays_of
from flwr.app import Message

from fl_deepcabac import DeepCabacError, Schema, inspect_packet
from fl_deepcabac.flower.broadcast_records import MODEL_KEY, Difference, Keyframe, parse_envelope
from fl_deepcabac.flower.model_copy import ModelCopy

KEEPS: Final = b"\1"

# What leads to a model: its keyframe, or the model before it and all packets from there on.
Way = Keyframe | tuple[bytes, ...]


def name_of(arrays: Arrays) -> bytes:
    """Name a model by all its bytes."""
    little = [array.astype(array.dtype.newbyteorder("<")) for array in arrays.values()]
    content = b"".join(array.tobytes() for array in little)
    return hashlib.blake2b(Schema.from_arrays(arrays).digest + content, digest_size=8).digest()


class Copies:
    """Who holds which model.

    Attributes
    ----------
    held, known : dict of int to bytes
        By node, what it holds and what the server knows it to hold.
    forms : Counter
        How models were sent.
    """

    def __init__(self) -> None:
        self.held: dict[int, bytes] = {}
        self.known: dict[int, bytes] = {}
        self.forms: Counter[str] = Counter()
        self._wanted = b""
        # Of the stream of differences, as far as nodes know it, by node.
        self._states: dict[int, bytes] = {}
        # All that was ever sent, by the model it leads to.
        self._ways: defaultdict[bytes, set[Way]] = defaultdict(set)

    def begin(self, wanted: bytes, messages: Iterable[Message]) -> Iterator[str]:
        """Note what is sent to lead to a model, and yield what is wrong with it."""
        self._wanted = wanted
        for message in messages:
            node_id = message.metadata.dst_node_id
            [record] = message.content.config_records.values()
            if record[MODEL_KEY] != wanted + KEEPS:
                yield f"name of the model for node {node_id}"
            form, is_right = self._note_envelope(message, self.known.get(node_id, b""))
            self.forms[form] += 1
            if not is_right:
                yield f"{form} for node {node_id}"

    def _note_envelope(self, message: Message, known: bytes) -> tuple[str, bool]:
        """Return how a model is sent, and whether that is right for what the node is known by."""
        envelope, ways = _envelope_in(message), self._ways[self._wanted]
        if isinstance(envelope, Keyframe):
            ways.add(envelope)
            # Chains that are too long or forgotten give way to keyframes.
            return "keyframe", known != self._wanted
        if not envelope:
            return "nothing", known == self._wanted
        ways.update(_way_from(i, envelope) for i in range(len(envelope)))
        return "chain", envelope[0].base == known != self._wanted

    def receive(self, message: Message, *, is_undone: bool) -> bool:
        """Let a node have a message as it arrived, and return whether it gets to the model.

        If `is_undone`, its state is then put back to what it was.
        """
        node_id = message.metadata.dst_node_id
        held, state = self.held.get(node_id, b""), self._states.get(node_id, b"")
        state_after = self._state_there(message, held, state)
        if not is_undone:
            self.held.pop(node_id, None)
            if state_after is not None:
                self.held[node_id], self._states[node_id] = self._wanted, state_after
        return state_after is not None

    def _state_there(self, message: Message, held: bytes, state: bytes) -> bytes | None:
        """Return the state of the stream that a node has with the model; None if it fails."""
        try:
            envelope = _envelope_in(message)
        except DeepCabacError:
            return None
        ways, stays = self._ways[self._wanted], held == self._wanted
        if isinstance(envelope, Keyframe):
            state_after = state if stays else b""
            return state_after if envelope in ways else None
        bases = [link.base for link in envelope]
        begin = len(bases) if stays else bases.index(held) if held in bases else None
        is_way = stays or (begin is not None and _way_from(begin, envelope) in ways)
        return _state_after_chain(envelope[begin:], state) if is_way else None

    def hear(self, node_id: int, heard: Heard) -> None:
        """Let the server know what has become of a message."""
        if heard == "has it":
            self.known[node_id] = self._wanted
        elif heard == "lacks it":
            self.known.pop(node_id, None)

    def check(self, nodes: Iterable[Node]) -> Iterator[str]:
        """Yield the copies of nodes that are not what they should be."""
        for node in nodes:
            copy = ModelCopy(node.context.state, node.context.run_id)
            if copy.digest != self.held.get(node.node_id, b""):
                yield f"copy of node {node.node_id}"
            elif copy.digest and name_of(arrays_of(copy.weights)) != copy.digest:
                yield f"weights in the copy of node {node.node_id}"


def _envelope_in(message: Message) -> Keyframe | Sequence[Difference]:
    [record] = message.content.array_records.values()
    return parse_envelope(record)


def _state_after_chain(chain: Sequence[Difference], state: bytes) -> bytes | None:
    """Return the state after differences; None if one was coded against another state.

    A node that got to a model by a keyframe knows nothing of the stream. The server knows that,
    unless it has gone on from a checkpoint that was saved before.
    """
    for link in chain:
        header = inspect_packet(link.packet)
        if not header.is_fresh and header.base_state_digest != state:
            return None
        # The name of a state, by docs/bitstream.md 10.
        content = header.base_state_digest + link.packet
        state = hashlib.blake2b(content, digest_size=8).digest()
    return state


def _way_from(begin: int, chain: Sequence[Difference]) -> Way:
    return chain[begin].base, *(link.packet for link in chain[begin:])
