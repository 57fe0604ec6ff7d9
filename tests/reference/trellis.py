# SPDX-License-Identifier: Apache-2.0
"""Dependent quantisation (spec 5.6): two interleaved quantisers, and what says which one applies.

Quantiser 0 has the even places, quantiser 1 zero and the odd ones; places count half steps.
"""

from __future__ import annotations

# So many zeros lead every state back to itself.
ZERO_CYCLE = 31


def next_state(state: int, level: int) -> int:
    """Return the state after a level."""
    return (state >> 1) ^ (18 if state % 2 else 0) ^ (4 if level % 2 else 0)


def place_of(level: int, quantiser: int) -> int:
    """Return where a level lies, in half steps."""
    if level == 0:
        return 0
    return 2 * level - quantiser if level > 0 else 2 * level + quantiser


class Path:
    """The state along the levels of one part; without dependent quantisation it stays 0."""

    def __init__(self, is_dependent: int) -> None:
        self.is_dependent = is_dependent
        self.state = 0

    @property
    def quantiser(self) -> int:
        """The quantiser of the next level."""
        return self.state & 1

    def advance(self, level: int) -> int:
        """Go past one level; return its place."""
        if not self.is_dependent:
            return 2 * level
        place = place_of(level, self.quantiser)
        self.state = next_state(self.state, level)
        return place

    def pass_zeros(self, n: int) -> None:
        """Go past a run of zeros."""
        for _ in range(n % ZERO_CYCLE):
            self.advance(0)


def places_of(levels: list[int], is_dependent: int) -> list[int]:
    """Return the places of the levels of one part."""
    path = Path(is_dependent)
    return [path.advance(level) for level in levels]
