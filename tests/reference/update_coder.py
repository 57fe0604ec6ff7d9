# SPDX-License-Identifier: Apache-2.0
"""One update (spec 5.1): a head, the levels, a tail."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field

from reference.bins import Bins, Coder
from reference.chunks import Part, divide
from reference.contexts import LevelContexts
from reference.errors import Rejected
from reference.history import (
    MAGNITUDE_LIMIT,
    SIGNED_LIMIT,
    next_magnitude,
    next_signed,
    rescaled,
    rescaling_ratio,
)
from reference.level_coder import PartCoder
from reference.neighbourhood import FIRST_ROW_SCALE, Neighbourhood
from reference.reconstruction import NO_OFFSETS, Offsets, fixed_value, near
from reference.stream import LevelState, TensorState
from reference.trellis import Path, places_of

FIRST_PREDICTION = 0x3C000000  # 2^-7
SMALLEST_STEP = 27 << 23  # 2^-100
LARGEST_STEP = 227 << 23  # 2^100


@dataclass
class Update:
    """What the bins of an update say: for each tensor a step, as float32 bits, levels and offsets.

    `fixed`: the values they stand for in units of 2^-8 step, which coding fills in.
    """

    steps: list[int]
    levels: list[list[int]]
    offsets: list[Offsets]
    is_dependent: int = 0
    fixed: list[list[int]] = field(default_factory=list)


def unknown(state: LevelState) -> Update:
    """Return what a decoder pretends to encode."""
    levels = [[0] * len(tensor.magnitudes) for tensor in state.tensors]
    return Update([0] * len(levels), levels, [NO_OFFSETS] * len(levels))


class UpdateCoder:
    """Codes one update and moves the state on. One coder for each chunk."""

    def __init__(self, coders: Sequence[Coder], state: LevelState) -> None:
        self.all_bins = [Bins(coder) for coder in coders]
        self.state = state
        self.chunks = divide([len(tensor.magnitudes) for tensor in state.tensors])
        assert len(self.chunks) == len(coders)
        self.previous_step = FIRST_PREDICTION
        self.is_zero = [True] * len(state.tensors)

    def code(self, wanted: Update) -> Update:
        """Code head, chunks and tail."""
        answer = unknown(self.state)
        answer.steps = [tensor.step for tensor in self.state.tensors]
        answer.offsets = [tensor.offsets for tensor in self.state.tensors]
        if any(wanted.levels):
            self.head(wanted, answer)
            self.all_levels(wanted, answer)
            self.tail(wanted, answer)
        self.end(answer)
        return answer

    # The head (5.1, 5.2).

    def head(self, wanted: Update, answer: Update) -> None:
        """Code what comes before all levels."""
        bins, contexts = self.all_bins[0], self.state.tensor_contexts
        for number, tensor in enumerate(self.state.tensors):
            levels = wanted.levels[number]
            if not levels:
                continue
            if bins.adaptive(not any(levels), contexts.tensor_zero[int(tensor.n_rows > 1)]):
                continue
            if all(self.is_zero):  # so far
                answer.is_dependent = bins.adaptive(wanted.is_dependent, contexts.dependent)
            self.is_zero[number] = False
            self.step(tensor, wanted.steps[number])
            answer.steps[number] = tensor.step

    def step(self, tensor: TensorState, step: int) -> None:
        """Code a step (5.2), rescale the history to it (7.5) and remember it."""
        bins, contexts, own = self.all_bins[0], self.state.tensor_contexts, tensor.step
        predicted = own or self.previous_step
        if bins.adaptive(step == predicted, contexts.repeats[int(own != 0)]):
            new = predicted
        else:
            d = (step >> 20) - (predicted >> 20)
            size = bins.exponential_golomb(abs(d), contexts.prefix)
            is_negative = size and bins.adaptive(d < 0, contexts.negative)
            high = (predicted >> 20) + (-size if is_negative else size)
            low = 0
            if bins.adaptive(step & 0xFFFFF != 0, contexts.has_low_bits):
                low = bins.bypass(step & 0xFFFFF, 20)
            new = (high << 20) + low
        if not SMALLEST_STEP <= new <= LARGEST_STEP:
            raise Rejected("corrupt", 15)
        if own not in (0, new):
            ratio = rescaling_ratio(own, new)
            for i, (magnitude, sign) in enumerate(
                zip(tensor.magnitudes, tensor.signs, strict=True)
            ):
                tensor.magnitudes[i] = rescaled(magnitude, ratio, MAGNITUDE_LIMIT)
                tensor.signs[i] = rescaled(sign, ratio, SIGNED_LIMIT)
        tensor.step = self.previous_step = new

    # The chunks (4.3, 7.8).

    def all_levels(self, wanted: Update, answer: Update) -> None:
        """Code every chunk with contexts of its own, and merge what has become of them."""
        for contexts in self.state.sets:
            contexts.settle()
        copies = [copy.deepcopy(self.state.sets) for _ in self.chunks]
        for parts, bins, sets in zip(self.chunks, self.all_bins, copies, strict=True):
            row_scales = [FIRST_ROW_SCALE, FIRST_ROW_SCALE]
            for part in parts:
                if not self.is_zero[part.tensor]:
                    self.part(part, bins, sets, row_scales, wanted, answer)
        for number, contexts in enumerate(self.state.sets):
            contexts.merge([sets[number] for sets in copies])

    def part(
        self,
        part: Part,
        bins: Bins,
        sets: list[LevelContexts],
        row_scales: list[int],
        wanted: Update,
        answer: Update,
    ) -> None:
        """Code the levels of one part."""
        tensor = self.state.tensors[part.tensor]
        one_set = int(tensor.n_rows > 1)
        here = slice(part.begin, part.end)
        around = Neighbourhood(
            tensor,
            part.begin,
            tensor.magnitudes[here],
            tensor.signs[here],
            row_scales[one_set],
        )
        path = Path(answer.is_dependent)
        coder = PartCoder(bins, self.state.profile, sets[one_set], around, path)
        answer.levels[part.tensor][here] = coder.code(wanted.levels[part.tensor][here])
        row_scales[one_set] = around.row_scale

    # The tail (5.7).

    def tail(self, wanted: Update, answer: Update) -> None:
        """Code what comes after all levels."""
        previous = NO_OFFSETS
        for number, tensor in enumerate(self.state.tensors):
            if not self.is_zero[number]:
                previous = self.offsets(wanted.offsets[number], tensor.offsets, previous)
                answer.offsets[number] = tensor.offsets = previous

    def offsets(self, offsets: Offsets, own: Offsets, previous: Offsets) -> Offsets:
        """Code the offsets of one tensor; whether they are within range is judged later."""
        bins, contexts = self.all_bins[-1], self.state.tensor_contexts
        if bins.adaptive(offsets == own, contexts.keeps_offsets):
            return own
        if bins.adaptive(offsets == previous, contexts.copies_offsets):
            return previous
        answer = []
        for wanted, old in zip(offsets, own, strict=True):
            size = bins.exponential_golomb(abs(wanted - old), contexts.offset_prefix)
            is_negative = size and bins.bypass(int(wanted < old), 1)
            answer.append(old - size if is_negative else old + size)
        return tuple(answer)

    # Values and history (8, 7.4).

    def end(self, answer: Update) -> None:
        """Work out values, and move the history on."""
        answer.fixed = [[0] * len(levels) for levels in answer.levels]
        for part in (part for parts in self.chunks for part in parts):
            tensor, number = self.state.tensors[part.tensor], part.tensor
            levels = answer.levels[number][part.begin : part.end]
            places = places_of(levels, answer.is_dependent)
            for i, place in enumerate(places, part.begin):
                magnitude, sign = tensor.magnitudes[i], tensor.signs[i]
                around = near(places, i - part.begin)
                if place == around == magnitude == sign == 0:
                    continue
                if not self.is_zero[number]:
                    answer.fixed[number][i] = fixed_value(place, around, sign, tensor.offsets)
                tensor.magnitudes[i] = next_magnitude(magnitude, place)
                tensor.signs[i] = next_signed(sign, place)
