# SPDX-License-Identifier: Apache-2.0
"""The arithmetic coder (spec 6.1 and 6.3).

A codeword is a number, and coding a bin is choosing one part of an interval [low, low + range) that
the number must lie in. `low` is kept here as one integer of any length, so that a carry is ordinary
addition: its last 64 bits are what the document calls the window, all above is already payload.
"""

from reference.errors import Rejected

TOP = 1 << 64
SMALL = 1 << 32
SHIFT = 32  # bits that move at once
BYPASS_PROBABILITY = 32768


class Encoder:
    """Narrows the interval by the bins it is told, and ends with the shortest number inside."""

    def __init__(self) -> None:
        self.low = 0
        self.range = TOP - 1
        self.n_bytes = 0  # of `low` above its window

    def code(self, bit: int, probability: int, name: str) -> int:  # noqa: ARG002, traced by the worked example
        """Code one bin whose probability of being 1 is `probability` / 65536."""
        bound = (self.range >> 16) * probability
        if bit:
            self.range = bound
        else:
            self.low += bound
            self.range -= bound
        while self.range < SMALL:
            self.low <<= SHIFT
            self.range <<= SHIFT
            self.n_bytes += SHIFT // 8
        return int(bit)

    def finish(self) -> bytes:
        """Return the bytes of the codeword."""
        return shortest_ending(self.low, self.range, self.n_bytes)


def shortest_ending(low: int, width: int, n_bytes: int) -> bytes:
    """Return the number in the interval that ends in the most zero bytes, without them (6.3)."""
    for n_zeros in range(8, -1, -1):
        unit = 1 << 8 * n_zeros
        number = -(-low // unit) * unit
        if number < low + width:
            return (number >> 8 * n_zeros).to_bytes(n_bytes + 8 - n_zeros, "big")
    raise AssertionError("every interval holds its own low end")


class Decoder:
    """Finds out which part of the interval the number lies in; what it is told is ignored."""

    def __init__(self, codeword: bytes) -> None:
        self.codeword = codeword
        self.range = TOP - 1
        self.position = 0
        self.number = 0  # the number minus `low`, what the document calls `code`
        for _ in range(2):
            self.number = self.number << SHIFT | self.next_bytes()
        if self.number >= self.range:
            raise Rejected("corrupt", 14)

    def next_bytes(self) -> int:
        """Return the next four bytes of the codeword, zeros past its end."""
        found = self.codeword[self.position : self.position + SHIFT // 8]
        self.position += SHIFT // 8
        return int.from_bytes(found.ljust(SHIFT // 8, b"\0"), "big")

    def code(self, _bit: int, probability: int, name: str) -> int:  # noqa: ARG002
        """Return the next bin."""
        bound = (self.range >> 16) * probability
        bit = int(self.number < bound)
        if bit:
            self.range = bound
        else:
            self.number -= bound
            self.range -= bound
        while self.range < SMALL:
            self.number = (self.number << SHIFT | self.next_bytes()) % TOP
            self.range <<= SHIFT
        return bit

    def finish(self) -> None:
        """Refuse a codeword other than the one its encoder must have written (rule 16)."""
        read = self.codeword[: self.position].ljust(self.position, b"\0")
        low = int.from_bytes(read, "big") - self.number
        expected = shortest_ending(low, self.range, self.position - 8)
        if len(self.codeword) < len(expected):
            raise Rejected("truncated", 16)
        if self.codeword != expected:
            raise Rejected("corrupt", 16)
