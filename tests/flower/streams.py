# SPDX-License-Identifier: Apache-2.0
"""The state protocol in the abstract: what both ends hold of one stream, its states as numbers."""

from __future__ import annotations

from dataclasses import dataclass, field

from flower.fault_kinds import Kind, Outcome
from flower.witness import Testimony, Vector, flatten

State = tuple[int, int]  # number of the model, number of the packet


@dataclass
class Stream:
    """One node in the protocol's own terms; sums run over packets since the last fresh one."""

    held: State | None = None
    # What the message under way names; the server may have restarted since.
    asked: State | None = None
    slots: set[State] = field(default_factory=set)
    update_sum: Vector | float = 0.0
    decoded_sum: Vector | float = 0.0
    # Messages answered without a fault, in a row.
    n_clean: int = 0

    def named(self, model: int) -> State | None:
        """The state that the server names in a message about `model`."""
        return self.held if self.held and self.held[0] == model else None

    def advance(self, outcome: Outcome, after: State, testimony: Testimony | None) -> str:
        """Move on by one message, and return how its packet must have been coded.

        `after` is the state after the packet, if the node made one.
        """
        base = self.asked if self.asked in self.slots else None
        if outcome.slots == "committed":
            self.slots = {after} if base is None else {base, after}
        elif outcome.slots == "forgotten":
            self.slots = set()
        if not outcome.is_usable:
            return "none"
        if testimony is None:
            return "a packet"
        self.held = after
        if base is None:
            self.update_sum = self.decoded_sum = 0.0
        self.update_sum = self.update_sum + testimony.update
        self.decoded_sum = self.decoded_sum + flatten(testimony.decoded)
        return "fresh" if base is None else "warm"

    def heals(self, kind: Kind, coding: str) -> bool:
        """Whether, after a fault, the next usable update is followed by a warm one."""
        if kind not in {Kind.NONE, Kind.DUPLICATE} or coding == "none":
            self.n_clean = 0
            return True
        self.n_clean += 1
        return self.n_clean == 1 or coding == "warm"
