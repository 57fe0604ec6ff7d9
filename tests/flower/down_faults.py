# SPDX-License-Identifier: Apache-2.0
"""What can befall a model on its way down: the envelope that stands for it is exchanged."""

from __future__ import annotations

import random
from collections.abc import Iterable

from flower.fault_kinds import Kind
from flwr.app import Array, ArrayRecord, Message

from fl_deepcabac.flower.broadcast_records import BROADCAST_STYPE, PACKET_KEY
from fl_deepcabac.flower.records import replace_record

# Old envelopes of a node kept for replays.
N_OLD_ENVELOPES = 8

# None where the record is empty, because the node holds the model.
Envelope = bytes | None


class DownFaults:
    """Exchanges envelopes, for those of other nodes and of earlier messages too.

    Parameters
    ----------
    rng : Random
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._sent: dict[int, Envelope] = {}
        self._old: dict[int, list[bytes]] = {}

    def begin(self, messages: Iterable[Message]) -> None:
        """Note what is about to be sent."""
        for node_id, envelope in self._sent.items():
            if envelope is not None:
                old = self._old.setdefault(node_id, [])
                old.append(envelope)
                del old[:-N_OLD_ENVELOPES]
        self._sent = {
            message.metadata.dst_node_id: envelope_in(message)
            for message in messages
            if stands_for_a_model(message)
        }

    def befall(self, message: Message, kind: Kind) -> bool:
        """Do it to a message, and say whether there was anything to do it with."""
        node_id = message.metadata.dst_node_id
        if node_id not in self._sent:
            return False
        own = envelope_in(message)
        candidates: list[Envelope] = []
        if kind is Kind.DOWN_OTHER:
            candidates = [one for one in self._sent.values() if one != own]
        elif kind is Kind.DOWN_OLD:
            candidates = [one for one in self._old.get(node_id, []) if one != own]
        elif own is not None:
            candidates = [self._spoilt(own, kind)]
        if candidates:
            put_envelope(message, self._rng.choice(candidates))
        return bool(candidates)

    def _spoilt(self, envelope: bytes, kind: Kind) -> Envelope:
        if kind is Kind.DOWN_BIT_FLIP:
            return flip_a_bit(envelope, self._rng)
        if kind is Kind.DOWN_TRUNCATION:
            return envelope[: self._rng.randrange(len(envelope))]
        return None


def stands_for_a_model(message: Message) -> bool:
    """Whether a message carries no weights but what its node needs to have them."""
    [record] = message.content.array_records.values()
    return all(array.stype == BROADCAST_STYPE for array in record.values())


def envelope_in(message: Message) -> Envelope:
    [record] = message.content.array_records.values()
    return next((array.data for array in record.values()), None)


def put_envelope(message: Message, envelope: Envelope) -> None:
    [name] = message.content.array_records
    record = ArrayRecord()
    if envelope is not None:
        record[PACKET_KEY] = Array("uint8", (len(envelope),), BROADCAST_STYPE, envelope)
    message.content = replace_record(message.content, name, record)


def flip_a_bit(data: bytes, rng: random.Random) -> bytes:
    flipped = int.from_bytes(data, "little") ^ 1 << rng.randrange(8 * len(data))
    return flipped.to_bytes(len(data), "little")
