# SPDX-License-Identifier: Apache-2.0
"""The kinds of bin, written once for both directions.

`coder` is an Encoder or a Decoder. Both are told each bin; only the encoder listens. See the
package's docstring for why the same text therefore decodes.
"""

from __future__ import annotations

from typing import Protocol

from reference.arithmetic_coder import BYPASS_PROBABILITY
from reference.contexts import Context, Table
from reference.mixing import STRETCH, Mixer

LONGEST_PREFIX = 24


class Coder(Protocol):
    """What Encoder and Decoder have in common."""

    def code(self, bit: int, probability: int, name: str) -> int:
        """Code one bin and return it."""


class Bins:
    """Codes bins of every kind in one codeword."""

    def __init__(self, coder: Coder) -> None:
        self.coder = coder

    def adaptive(self, bit: bool | int, context: Context) -> int:
        """Code a bin by one context (6.2)."""
        answer = self.coder.code(int(bit), context.probability, context.name)
        context.update(answer)
        return answer

    def steady(self, bit: bool | int, context: Context) -> int:
        """Code a bin by one context that moves steadily (6.2)."""
        answer = self.coder.code(int(bit), context.probability, context.name)
        context.update(answer, is_steady=True)
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
