# SPDX-License-Identifier: Apache-2.0
"""The level syntax (spec 5): which bins a tensor has, in which order and in which context.

`coder` is an Encoder or a Decoder. Both are told each bin; only the encoder listens. See the
package's docstring for why the same text therefore decodes.
"""

from __future__ import annotations

from typing import Protocol

from reference.arithmetic_coder import BYPASS_PROBABILITY
from reference.contexts import FAST, Context, LevelContexts, StepContexts, Table
from reference.errors import Rejected
from reference.history import (
    MAGNITUDE_LIMIT,
    SIGNED_LIMIT,
    next_magnitude,
    next_signed,
    rescaled,
    rescaling_ratio,
)
from reference.mixing import STRETCH, Mixer
from reference.neighbourhood import Classes, Neighbourhood
from reference.stream import LevelState, TensorState

BLOCK = 64
N_GREATER = 10
LONGEST_PREFIX = 24
FIRST_PREDICTION = 0x3C000000  # 2^-7
SMALLEST_STEP = 27 << 23  # 2^-100
LARGEST_STEP = 227 << 23  # 2^100


class Coder(Protocol):
    """What Encoder and Decoder have in common."""

    def code(self, bit: int, probability: int, name: str) -> int:
        """Code one bin and return it."""


class UpdateCoder:
    """Codes the tensors of one update in turn and moves the state on."""

    def __init__(self, coder: Coder, state: LevelState) -> None:
        self.coder = coder
        self.state = state
        self.previous_step = FIRST_PREDICTION

    # The three kinds of bin.

    def adaptive(self, bit: bool | int, context: Context) -> int:
        """Code a bin by one context (6.2)."""
        answer = self.coder.code(int(bit), context.probability, context.name)
        context.update(answer)
        return answer

    def mixed(self, bit: bool | int, contexts: list[Context], mixer: Mixer) -> int:
        """Code a bin by several contexts (7.6)."""
        inputs = [STRETCH[context.probability >> 4] for context in contexts]
        probability = mixer.mix(inputs)
        answer = self.coder.code(int(bit), probability, contexts[0].name)
        mixer.update(answer, inputs, probability)
        for context in contexts:
            context.update(answer)
        return answer

    def bypass(self, value: int, n_bits: int) -> int:
        """Code the low bits of a value, most significant first, as even chances (6.1)."""
        answer = 0
        for position in reversed(range(n_bits)):
            bit = value >> position & 1
            answer = answer << 1 | self.coder.code(bit, BYPASS_PROBABILITY, "bypass")
        return answer

    def exponential_golomb(self, value: int, prefix: Table) -> int:
        """Code a value >= 0 of any size (5.5)."""
        s = (value + 1).bit_length() - 1
        p = 0
        while p < LONGEST_PREFIX and self.adaptive(p < s, prefix[p]):
            p += 1
        return (1 << p) + self.bypass(value + 1, p) - 1

    # Tensors, steps, blocks, levels.

    def tensor(self, tensor: TensorState, step: int, levels: list[int]) -> list[int]:
        """Code one tensor (5.1). The step is given as the bits of a float32."""
        if not levels:
            return []
        contexts = self.state.sets[0 if tensor.n_rows == 1 else 1]
        answer = [0] * len(levels)
        if not self.adaptive(not any(levels), contexts.tensor_zero):
            self.step(tensor, step, self.state.step_contexts)
            around = Neighbourhood(tensor.n_rows, tensor.n_columns, tensor.magnitudes, tensor.signs)
            left_is_coded = False
            for begin in range(0, len(levels), BLOCK):
                end = min(begin + BLOCK, len(levels))
                block = around.block_classes(begin, end, left_is_coded)
                is_coded = self.adaptive(any(levels[begin:end]), contexts.block_coded[block])
                left_is_coded = bool(is_coded)
                if is_coded:
                    for i in range(begin, end):
                        answer[i] = self.level(levels[i], around.classes(i), contexts)
                        around.put(i, answer[i])
                    around.end_coded_block(begin, end)
        tensor.magnitudes = [
            next_magnitude(code, level)
            for code, level in zip(tensor.magnitudes, answer, strict=True)
        ]
        tensor.signs = [
            next_signed(code, level) for code, level in zip(tensor.signs, answer, strict=True)
        ]
        return answer

    def step(self, tensor: TensorState, step: int, contexts: StepContexts) -> None:
        """Code a step (5.2), rescale the history to it (7.5) and remember it."""
        own = tensor.step
        predicted = own or self.previous_step
        if self.adaptive(step == predicted, contexts.repeats[int(own != 0)]):
            new = predicted
        else:
            d = (step >> 20) - (predicted >> 20)
            magnitude = self.exponential_golomb(abs(d), contexts.prefix)
            is_negative = magnitude and self.adaptive(d < 0, contexts.negative)
            high = (predicted >> 20) + (-magnitude if is_negative else magnitude)
            low = 0
            if self.adaptive(step & 0xFFFFF != 0, contexts.has_low_bits):
                low = self.bypass(step & 0xFFFFF, 20)
            new = (high << 20) + low
        if not SMALLEST_STEP <= new <= LARGEST_STEP:
            raise Rejected("corrupt", 14)
        if own not in (0, new):
            ratio = rescaling_ratio(own, new)
            tensor.magnitudes = [rescaled(c, ratio, MAGNITUDE_LIMIT) for c in tensor.magnitudes]
            tensor.signs = [rescaled(c, ratio, SIGNED_LIMIT) for c in tensor.signs]
        tensor.step = self.previous_step = new

    def level(self, level: int, classes: Classes, contexts: LevelContexts) -> int:
        """Code one level (5.3)."""
        if not self.magnitude_bin(0, level != 0, classes, contexts):
            return 0
        is_negative = self.sign_bin(level < 0, classes, contexts)
        magnitude = self.magnitude(abs(level), classes, contexts)
        return -magnitude if is_negative else magnitude

    def magnitude(self, magnitude: int, classes: Classes, contexts: LevelContexts) -> int:
        """Code a magnitude > 0 (5.4)."""
        for k in range(1, N_GREATER + 1):
            if not self.magnitude_bin(k, magnitude > k, classes, contexts):
                return k
        beyond = max(magnitude - 11, 0)
        return 11 + self.exponential_golomb(beyond, contexts.remainder_prefix)

    def magnitude_bin(self, j: int, bit: bool, classes: Classes, contexts: LevelContexts) -> int:
        """Code `significant` (j = 0) or `greater`[j]: one context (7.3) or five (7.7)."""
        if j == 0:
            own = contexts.significant[classes.history, classes.spatial]
        else:
            own = contexts.greater[j, classes.magnitude]
        if self.state.profile == FAST:
            return self.adaptive(bit, own)
        inputs = [
            own,
            contexts.by_average[j][classes.history, classes.signed],
            contexts.by_neighbours[j][classes.left, classes.up],
            contexts.by_scales[j][classes.column, classes.row],
            contexts.by_around[j][classes.history, classes.around],
        ]
        return self.mixed(bit, inputs, contexts.magnitude_mixers[j, classes.history])

    def sign_bin(self, bit: bool, classes: Classes, contexts: LevelContexts) -> int:
        """Code `negative`: one context (7.3) or three (7.7)."""
        own = contexts.negative[classes.sign, classes.left_signum]
        if self.state.profile == FAST:
            return self.adaptive(bit, own)
        inputs = [
            own,
            contexts.sign_by_average[classes.history, classes.signed],
            contexts.sign_by_neighbours[
                classes.left_signum, classes.up_signum, classes.around_sign
            ],
        ]
        return self.mixed(bit, inputs, contexts.sign_mixers[classes.history])
