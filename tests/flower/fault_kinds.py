# SPDX-License-Identifier: Apache-2.0
"""What can go wrong with one train message and its reply, and what must come of it.

`OUTCOMES` is the tables of docs/protocol.md as data.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Literal, NamedTuple


class Kind(StrEnum):
    """What can go wrong with one train message and its reply."""

    NONE = "nothing"
    LOST_DOWN = "message lost"  # or its task never started
    LOST_UP = "reply lost"  # or its upload failed, or an HTTP response got lost
    LATE = "reply late"
    DUPLICATE = "reply twice"
    RAISES = "app raises"
    RAISES_ROLLED_BACK = "raises after commit, rolled back"
    RAISES_KEPT = "raises after commit, kept"
    KILLED = "killed between reply and state"
    SILENT = "ClientApp silent"
    DIES = "SuperNode dies"
    BIT_FLIP = "envelope with a flipped bit"
    TRUNCATION = "envelope cut short"
    SWAP = "packets of two nodes swapped"
    REPLAY = "older packet of the node"
    # Of the model, where that travels down compressed.
    DOWN_BIT_FLIP = "model with a flipped bit"
    DOWN_TRUNCATION = "model cut short"
    DOWN_OTHER = "model as sent to another node"
    DOWN_OLD = "model of an earlier message"
    DOWN_EMPTY = "model left out"


# Every kind that goes wrong; those of the way down need one that is compressed.
DOWN_KINDS: Final = tuple(kind for kind in Kind if kind.name.startswith("DOWN_"))
KINDS: Final = tuple(kind for kind in Kind if kind is not Kind.NONE and kind not in DOWN_KINDS)
# Those that need a packet to befall, or an app that gets to work.
NEED_A_MODEL: Final = frozenset(
    {
        Kind.RAISES,
        Kind.RAISES_ROLLED_BACK,
        Kind.RAISES_KEPT,
        Kind.BIT_FLIP,
        Kind.TRUNCATION,
        Kind.SWAP,
        Kind.REPLAY,
    }
)

# What the server hears of a node: that it has the model it was sent, that its app failed, nothing,
# or that it lacks the model or is gone.
Heard = Literal["has it", "failed", "nothing", "lacks it"]


class Outcome(NamedTuple):
    """What the fault leaves of a message whose model the node can have.

    The client's slots; whether the server can use the reply; and what it hears of the node's copy.
    """

    slots: Literal["kept", "committed", "forgotten"]
    is_usable: bool
    heard: Heard


OUTCOMES: Final = {
    Kind.NONE: Outcome("committed", True, "has it"),
    Kind.LOST_DOWN: Outcome("kept", False, "nothing"),
    Kind.LOST_UP: Outcome("committed", False, "nothing"),
    Kind.LATE: Outcome("committed", False, "nothing"),
    Kind.DUPLICATE: Outcome("committed", True, "has it"),
    Kind.RAISES: Outcome("kept", False, "failed"),
    Kind.RAISES_ROLLED_BACK: Outcome("kept", False, "failed"),
    Kind.RAISES_KEPT: Outcome("committed", False, "failed"),
    Kind.KILLED: Outcome("kept", True, "has it"),
    Kind.SILENT: Outcome("kept", False, "lacks it"),
    Kind.DIES: Outcome("forgotten", False, "lacks it"),
    Kind.BIT_FLIP: Outcome("committed", False, "has it"),
    Kind.TRUNCATION: Outcome("committed", False, "has it"),
    Kind.SWAP: Outcome("committed", False, "has it"),
    Kind.REPLAY: Outcome("committed", False, "has it"),
    **dict.fromkeys(DOWN_KINDS, Outcome("committed", True, "has it")),
}
# Of a message that arrives where its model cannot be had, so that the app never sees it.
WITHOUT_MODEL: Final = Outcome("kept", False, "lacks it")


def outcome_of(kind: Kind, *, has_model: bool = True) -> Outcome:
    """Return what comes of a message, given whether its node can have the model, if it arrives."""
    outcome = OUTCOMES[kind]
    if has_model:
        return outcome
    return WITHOUT_MODEL._replace(heard=outcome.heard if outcome.heard == "nothing" else "lacks it")
