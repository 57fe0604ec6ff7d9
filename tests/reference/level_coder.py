# SPDX-License-Identifier: Apache-2.0
"""The levels of one part (spec 5.3, 5.4): which bins they have, in which order and context."""

from __future__ import annotations

from reference.bins import Bins
from reference.chunks import BLOCK
from reference.contexts import FAST, LevelContexts
from reference.neighbourhood import Classes, Neighbourhood
from reference.trellis import Path

N_GREATER = 10
SECOND_FIRST = 11  # index of `greater` for k = 1 in quantiser 1
SIGNIFICANT = 12  # index of `significant` of quantiser 0 among the mixed bins


class PartCoder:
    """Codes the levels of one part, block by block."""

    def __init__(
        self,
        bins: Bins,
        profile: int,
        contexts: LevelContexts,
        around: Neighbourhood,
        path: Path,
    ) -> None:
        self.bins = bins
        self.profile = profile
        self.contexts = contexts
        self.around = around
        self.path = path

    def code(self, levels: list[int]) -> list[int]:
        """Code all levels (5.3)."""
        answer = [0] * len(levels)
        is_coded = 0
        for begin in range(0, len(levels), BLOCK):
            end = min(begin + BLOCK, len(levels))
            block = self.around.block_classes(begin, end, is_coded)
            is_coded = self.bins.steady(any(levels[begin:end]), self.contexts.block_coded[block])
            if not is_coded:
                self.path.pass_zeros(end - begin)
                continue
            if self.around.is_sparse(begin, end):
                self.halved_block(levels, answer, begin, end)
            else:
                for i in range(begin, end):
                    answer[i] = self.level(i, levels[i])
            self.around.end_coded_block(begin, end)
        return answer

    def halved_block(self, levels: list[int], answer: list[int], begin: int, end: int) -> None:
        """Code a sparse block (5.4): its levels in order, zeros passed over between them."""
        position = begin

        def run(first: int, size: int, depth: int) -> None:
            """Code a run that holds a level."""
            nonlocal position
            if size == 1:
                self.path.pass_zeros(first - position)
                answer[first] = self.nonzero(first, levels[first])
                position = first + 1
                return
            size //= 2
            left, right = self.halves(levels, first, size, depth, end)
            if left:
                run(first, size, depth + 1)
            if right:
                run(first + size, size, depth + 1)

        run(begin, BLOCK, 0)
        self.path.pass_zeros(end - position)

    def halves(
        self, levels: list[int], first: int, half: int, depth: int, end: int
    ) -> tuple[int, int]:
        """Code which halves of a run hold a level."""
        middle, behind = first + half, first + 2 * half
        if middle >= end:
            return 1, 0
        left_sum = sum(self.around.magnitude_codes[first:middle])
        right_sum = sum(self.around.magnitude_codes[middle:behind])
        balance = 1 + (left_sum > right_sum) - (left_sum < right_sum)
        left = self.bins.steady(any(levels[first:middle]), self.contexts.left_half[depth, balance])
        if not left:
            return 0, 1
        context = self.contexts.right_half[depth, int(right_sum != 0)]
        return 1, self.bins.steady(any(levels[middle:behind]), context)

    def level(self, i: int, level: int) -> int:
        """Code one level (5.3)."""
        if not self.magnitude_bin(0, level != 0, self.around.classes(i)):
            self.path.advance(0)
            return 0
        return self.nonzero(i, level)

    def nonzero(self, i: int, level: int) -> int:
        """Code a level that is not zero, and make its place known."""
        classes = self.around.classes(i)
        is_negative = self.sign_bin(level < 0, classes)
        magnitude = self.magnitude(abs(level), classes)
        answer = -magnitude if is_negative else magnitude
        self.around.put(i, self.path.advance(answer))
        return answer

    def magnitude(self, magnitude: int, classes: Classes) -> int:
        """Code a magnitude > 0 (5.3)."""
        for k in range(1, N_GREATER + 1):
            if not self.magnitude_bin(k, magnitude > k, classes):
                return k
        beyond = max(magnitude - 11, 0)
        return 11 + self.bins.exponential_golomb(beyond, self.contexts.remainder_prefix)

    def magnitude_bin(self, k: int, bit: bool, classes: Classes) -> int:
        """Code `significant` (k = 0) or "greater than k": one context (7.3) or five (7.7)."""
        contexts, quantiser = self.contexts, self.path.quantiser
        if k == 0:
            j = SIGNIFICANT + quantiser
            own = contexts.significant[quantiser, classes.history, classes.spatial]
        else:
            j = SECOND_FIRST if k == 1 and quantiser else k
            own = contexts.greater[j, classes.magnitude]
        if self.profile == FAST:
            return self.bins.adaptive(bit, own)
        inputs = [
            own,
            contexts.by_average[j][classes.history, classes.signed],
            contexts.by_neighbours[j][classes.left, classes.up],
            contexts.by_scales[j][classes.column, classes.row],
            contexts.by_around[j][classes.history, classes.around],
        ]
        return self.bins.mixed(bit, inputs, contexts.magnitude_mixers[j, classes.history])

    def sign_bin(self, bit: bool, classes: Classes) -> int:
        """Code `negative`: one context (7.3) or three (7.7)."""
        contexts = self.contexts
        own = contexts.negative[classes.sign, classes.left_signum]
        if self.profile == FAST:
            return self.bins.adaptive(bit, own)
        inputs = [
            own,
            contexts.sign_by_average[classes.history, classes.signed],
            contexts.sign_by_neighbours[
                classes.left_signum, classes.up_signum, classes.around_sign
            ],
        ]
        return self.bins.mixed(bit, inputs, contexts.sign_mixers[classes.history])
