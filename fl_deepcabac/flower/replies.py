# SPDX-License-Identifier: Apache-2.0
"""Whether a reply is what its instruction asked for.

Checking decodes the packet once, for certain, and keeps everything but the values: these are
decoded again when the inner strategy reads them, one reply at a time. Invariant: nothing here
changes a state, a message or the ledger, so replies can be checked in parallel (the core releases
the GIL).
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Final

from flwr.app import ArrayRecord, Message

from fl_deepcabac.codec import decode_update
from fl_deepcabac.config import Profile
from fl_deepcabac.errors import DecodeError, DeepCabacError, StateMismatchError
from fl_deepcabac.flower.ledger import Transfer
from fl_deepcabac.flower.records import FRESH_TOKEN, check_binding, parse_update
from fl_deepcabac.flower.saved_state import SavedState, restore_state
from fl_deepcabac.packet import PacketHeader, inspect_packet
from fl_deepcabac.report import UpdateReport
from fl_deepcabac.schema import Schema

__all__ = ["CheckedPacket", "Instruction", "SentModel", "check_replies"]

# Each thread that checks a packet holds one decoded update for as long as that takes.
MAX_CHECKS_AT_ONCE: Final = 4
# Keeps every thread busy while the verdict that is next in order is still being reached.
CHECKS_AHEAD: Final = 2


@dataclass(frozen=True)
class SentModel:
    """The broadcast model as a message stood for it; `digest` names it.

    `keeps_copy` says whether a node that answers holds it from then on.
    """

    weights: ArrayRecord
    digest: bytes
    keeps_copy: bool


@dataclass(frozen=True)
class Instruction:
    """One message on its way: what its reply will be measured against.

    Parameters
    ----------
    message : Message
        Flower's grids enter its id when they send it.
    transfer : Transfer
        Its row in the ledger.
    schema : Schema or None
        Of the weights sent; None if the node was not asked to compress.
    state : SavedState or None
        The state that the token in the message names; None for a fresh one.
    model : SentModel or None
        The model that the message stands for; None where its weights travel as they are.
    """

    message: Message
    transfer: Transfer
    schema: Schema | None = None
    state: SavedState | None = None
    model: SentModel | None = None

    @property
    def reference(self) -> ArrayRecord:
        """The weights that the node trained from."""
        if self.model is not None:
            return self.model.weights
        [record] = self.message.content.array_records.values()
        return record


@dataclass(frozen=True)
class CheckedPacket:
    """A packet that decodes, and everything about it but its values.

    `state_before` is None where the packet was coded against a fresh state.
    """

    record_name: str
    packet: bytes
    schema: Schema
    profile: Profile
    state_before: SavedState | None
    state_after: SavedState
    report: UpdateReport
    encode_seconds: float
    decode_seconds: float


# A good packet, what is wrong with a bad one, or None where there is none.
Verdict = CheckedPacket | DeepCabacError | None


def check_replies(
    pairs: Sequence[tuple[Message, Instruction | None]], profile: Profile
) -> Iterator[Verdict]:
    """Check all replies of a round, a few at a time.

    Parameters
    ----------
    pairs : sequence of (Message, Instruction or None)
        Each reply with its instruction; None where it answers none.
    profile : {"fast", "max"}
        That nodes were told to use.

    Yields
    ------
    CheckedPacket, DeepCabacError or None
        In order. No more than `CHECKS_AHEAD` a thread are waiting to be taken, because each may
        hold a state that `NodeStates` does not count yet.
    """
    n_threads = min(MAX_CHECKS_AT_ONCE, os.cpu_count() or 1)
    with ThreadPoolExecutor(n_threads) as pool:
        # Those that answer nothing first, which takes no decoding: a second reply may be the same
        # object as the first, which gets other content once its verdict has been taken.
        strays = {
            i: pool.submit(_check, reply, None, profile)
            for i, (reply, instruction) in enumerate(pairs)
            if instruction is None
        }
        wait(strays.values())
        waiting: deque[Future[Verdict]] = deque()
        for i, (reply, instruction) in enumerate(pairs):
            if len(waiting) == CHECKS_AHEAD * n_threads:
                yield waiting.popleft().result()
            waiting.append(strays.get(i) or pool.submit(_check, reply, instruction, profile))
        while waiting:
            yield waiting.popleft().result()


def _check(reply: Message, instruction: Instruction | None, profile: Profile) -> Verdict:
    """Check one reply."""
    if reply.has_error():
        return None
    try:
        update = parse_update(reply.content)
        if update is None:
            return None
        if instruction is None or instruction.schema is None:
            raise DecodeError(
                "expected one packet in reply to each message that asks for it, found one in reply "
                f"to {reply.metadata.reply_to_message_id!r}: unknown, late, or the second"
            )
        # First, because what it finds wrong with a damaged packet says more.
        header = inspect_packet(update.packet)
        check_binding(update, instruction.message.metadata)
        base = _base_of(header, instruction.state)
        start = time.perf_counter()
        state = restore_state(base, instruction.schema, profile)
        decoded = decode_update(update.packet, schema=instruction.schema, state=state)
        state_after = SavedState.of(decoded.state)
        seconds = time.perf_counter() - start
    except DeepCabacError as error:
        return error
    return CheckedPacket(
        record_name=update.record_name,
        packet=update.packet,
        schema=instruction.schema,
        profile=profile,
        state_before=base,
        state_after=state_after,
        report=decoded.report,
        encode_seconds=update.encode_seconds,
        decode_seconds=seconds,
    )


def _base_of(header: PacketHeader, named: SavedState | None) -> SavedState | None:
    """Choose what a packet may be coded against: the state named to its node, or a fresh one."""
    if header.is_fresh:
        return None
    if named is None:
        raise StateMismatchError(expected=FRESH_TOKEN, found=header.base_state_digest)
    return named
