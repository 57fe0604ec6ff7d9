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

import numpy as np
from flwr.app import ArrayRecord, Message
from numpy.typing import NDArray

from fl_deepcabac.codec import decode_update
from fl_deepcabac.config import Profile
from fl_deepcabac.errors import DecodeError, DeepCabacError, StateMismatchError
from fl_deepcabac.flower.ledger import Transfer
from fl_deepcabac.flower.records import (
    FRESH_TOKEN,
    NUMPY_STYPE,
    check_binding,
    parse_update,
)
from fl_deepcabac.flower.saved_state import SavedState, restore_state
from fl_deepcabac.packet import PacketHeader, inspect_packet
from fl_deepcabac.report import UpdateReport
from fl_deepcabac.schema import Schema
from fl_deepcabac.update_norm import check_update_norm

__all__ = ["Acceptance", "CheckedPacket", "Instruction", "SentModel", "check_replies"]

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
class Acceptance:
    """What replies must be like.

    Parameters
    ----------
    profile : {"fast", "max"}
        That nodes were told to use.
    max_update_norm : float or None
        The largest Euclidean norm of an update; None is no limit.
    """

    profile: Profile
    max_update_norm: float | None = None


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
    pairs: Sequence[tuple[Message, Instruction | None]], acceptance: Acceptance
) -> Iterator[Verdict]:
    """Check all replies of a round, a few at a time.

    Parameters
    ----------
    pairs : sequence of (Message, Instruction or None)
        Each reply with its instruction; None where it answers none.
    acceptance : Acceptance

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
            i: pool.submit(_check, reply, None, acceptance)
            for i, (reply, instruction) in enumerate(pairs)
            if instruction is None
        }
        wait(strays.values())
        waiting: deque[Future[Verdict]] = deque()
        for i, (reply, instruction) in enumerate(pairs):
            if len(waiting) == CHECKS_AHEAD * n_threads:
                yield waiting.popleft().result()
            waiting.append(strays.get(i) or pool.submit(_check, reply, instruction, acceptance))
        while waiting:
            yield waiting.popleft().result()


def _check(reply: Message, instruction: Instruction | None, acceptance: Acceptance) -> Verdict:
    """Check one reply."""
    if reply.has_error():
        return None
    try:
        update = parse_update(reply.content)
        if update is None:
            _check_uncompressed(reply, instruction, acceptance)
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
        state = restore_state(base, instruction.schema, acceptance.profile)
        decoded = decode_update(
            update.packet,
            schema=instruction.schema,
            state=state,
            max_update_norm=acceptance.max_update_norm,
        )
        state_after = SavedState.of(decoded.state)
        seconds = time.perf_counter() - start
    except DeepCabacError as error:
        return error
    return CheckedPacket(
        record_name=update.record_name,
        packet=update.packet,
        schema=instruction.schema,
        profile=acceptance.profile,
        state_before=base,
        state_after=state_after,
        report=decoded.report,
        encode_seconds=update.encode_seconds,
        decode_seconds=seconds,
    )


def _check_uncompressed(
    reply: Message, instruction: Instruction | None, acceptance: Acceptance
) -> None:
    """Hold weights that came as they are to the same bound."""
    if acceptance.max_update_norm is None or instruction is None or instruction.schema is None:
        return
    for record in reply.content.array_records.values():
        updates = _updates_of(record, instruction.reference)
        check_update_norm(updates, acceptance.max_update_norm)


def _updates_of(record: ArrayRecord, reference: ArrayRecord) -> Iterator[NDArray[np.generic]]:
    """Yield weights less the reference's, of each tensor that both have in the same shape."""
    for name, array in record.items():
        if name not in reference or array.stype != NUMPY_STYPE:
            continue
        base = reference[name].numpy()
        try:
            weights = np.asarray(array.numpy())
        except Exception:  # what NumPy cannot read is found again where it is counted
            continue
        if weights.shape == base.shape and weights.dtype.kind == base.dtype.kind == "f":
            with np.errstate(over="ignore", invalid="ignore"):
                yield weights.astype(np.float64) - base


def _base_of(header: PacketHeader, named: SavedState | None) -> SavedState | None:
    """Choose what a packet may be coded against: the state named to its node, or a fresh one."""
    if header.is_fresh:
        return None
    if named is None:
        raise StateMismatchError(expected=FRESH_TOKEN, found=header.base_state_digest)
    return named
