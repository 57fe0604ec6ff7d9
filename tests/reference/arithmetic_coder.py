# SPDX-License-Identifier: Apache-2.0
"""The arithmetic coder (spec 6.1 and 6.3).

A codeword is a number, and coding a bin is choosing one part of an interval [low, low + range) that
the number must lie in. `low` is kept here as one integer of any length, so that a carry is ordinary
addition: its last 32 bits are what the document calls the window, all above is already payload.
"""

from reference.errors import Rejected

TOP = 1 << 32
SMALL = 1 << 24
BYPASS_PROBABILITY = 32768


class Encoder:
    """Narrows the interval by the bins it is told, and ends with the shortest number inside."""

    def __init__(self) -> None:
        self.low = 0
        self.range = TOP - 1
        self.n_shifts = 0  # bytes of `low` above its window

    def code(self, bit: int, probability: int, name: str) -> int:  # noqa: ARG002, traced by the worked example
        """Code one bin whose probability of being 1 is `probability` / 65536."""
        bound = self.range * probability >> 16
        if bit:
            self.range = bound
        else:
            self.low += bound
            self.range -= bound
        while self.range < SMALL:
            self.low <<= 8
            self.range <<= 8
            self.n_shifts += 1
        return int(bit)

    def finish(self) -> bytes:
        """Return the bytes of the codeword."""
        return shortest_ending(self.low, self.range, self.n_shifts)


def shortest_ending(low: int, width: int, n_shifts: int) -> bytes:
    """Return the number in the interval that ends in the most zero bytes, without them (6.3)."""
    for n_zeros in (4, 3, 2, 1, 0):
        unit = 1 << 8 * n_zeros
        number = -(-low // unit) * unit
        if number < low + width:
            return (number >> 8 * n_zeros).to_bytes(n_shifts + 4 - n_zeros, "big")
    raise AssertionError("every interval holds its own low end")


class Decoder:
    """Finds out which part of the interval the number lies in; what it is told is ignored."""

    def __init__(self, codeword: bytes) -> None:
        self.codeword = codeword
        self.range = TOP - 1
        self.position = 0
        self.number = 0  # the number minus `low`, what the document calls `code`
        for _ in range(4):
            self.number = self.number << 8 | self.next_byte()

    def next_byte(self) -> int:
        """Return the next byte of the codeword, zero past its end."""
        self.position += 1
        return self.codeword[self.position - 1] if self.position <= len(self.codeword) else 0

    def code(self, _bit: int, probability: int, name: str) -> int:  # noqa: ARG002
        """Return the next bin."""
        bound = self.range * probability >> 16
        bit = int(self.number < bound)
        if bit:
            self.range = bound
        else:
            self.number -= bound
            self.range -= bound
        while self.range < SMALL:
            self.number = (self.number << 8 | self.next_byte()) % TOP
            self.range <<= 8
        return bit

    def finish(self) -> None:
        """Refuse a codeword other than the one its encoder must have written (rule 16)."""
        read = self.codeword[: self.position].ljust(self.position, b"\0")
        low = int.from_bytes(read, "big") - self.number
        expected = shortest_ending(low, self.range, self.position - 4)
        if len(self.codeword) < len(expected):
            raise Rejected("truncated", 16)
        if self.codeword != expected:
            raise Rejected("corrupt", 16)
