# SPDX-License-Identifier: Apache-2.0
"""What lies around a level, put into the classes that choose its contexts (spec 7.2).

All positions are counted within one part (4.3), and nothing outside it is looked at. The places of
its levels are filled in as they become known; those that are not, and those of blocks that are not
coded, count as zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reference.history import signed_value_of, value_of
from reference.mixing import clip
from reference.stream import TensorState

PLACE_CLIP = 127  # half steps
FIRST_ROW_SCALE = 64
LEAST_WIDTH = 96


def joined_columns(n_columns: int) -> int:
    """Return the columns of a tensor once short rows are joined to long enough ones."""
    return n_columns * max(-(-LEAST_WIDTH // n_columns), 1)


def half_octave(value: int) -> int:
    """Return H(v): two classes for each doubling."""
    if value < 2:
        return value
    t = value.bit_length() - 1
    return 1 + 2 * t + (value >> (t - 1) & 1)


def capped(value: int, n_classes: int) -> int:
    """Return C(v, m)."""
    return min(half_octave(value), n_classes - 1)


def signum_class(number: int) -> int:
    """Return 0, 1, 2 for a number below, at, above zero."""
    return 0 if number < 0 else 1 if number == 0 else 2


def sign_class(code: int) -> int:
    """Return how surely a signed code speaks for one sign: 4 when it does not."""
    t = sum(abs(code) >= threshold for threshold in (2, 8, 16, 32))
    return 4 + t if code >= 0 else 4 - t


def truncated_half(value: int) -> int:
    """Return value / 2, towards zero."""
    return -(-value // 2) if value < 0 else value // 2


@dataclass(frozen=True)
class Classes:
    """The classes of one position, by the names of the table in 7.2."""

    history: int
    spatial: int
    magnitude: int
    sign: int
    left_signum: int
    signed: int
    left: int
    up: int
    column: int
    row: int
    around: int
    around_sign: int
    up_signum: int


class Neighbourhood:
    """The places of one part as far as they are known, and the scales learned from them."""

    def __init__(
        self,
        tensor: TensorState,
        begin: int,
        magnitudes: Sequence[int],
        signs: Sequence[int],
        row_scale: int,
    ) -> None:
        self.n_columns = joined_columns(tensor.n_columns)
        self.has_rows = tensor.n_rows > 1
        self.first_column = begin % self.n_columns
        self.places = [0] * len(magnitudes)
        self.magnitude_codes = magnitudes
        self.signed_codes = signs
        self.row_scale = row_scale
        self.column_scales = [0] * self.n_columns

    def put(self, i: int, place: int) -> None:
        """Make a place known."""
        self.places[i] = clip(place, PLACE_CLIP)

    def place(self, i: int) -> int:
        """Return L(i)."""
        return self.places[i] if i >= 0 else 0

    def magnitude(self, i: int) -> int:
        """Return M(i)."""
        return abs(self.place(i))

    def column(self, i: int) -> int:
        """Return the column of position i."""
        return (self.first_column + i) % self.n_columns

    def end_coded_block(self, begin: int, end: int) -> None:
        """Move the scales; they are read within a block as they were at its start."""
        total = sum(self.magnitude(i) for i in range(begin, end))
        self.row_scale += 7 * (128 * total // (end - begin) - self.row_scale) >> 3
        if self.has_rows:
            for i in range(begin, end):
                x = self.column(i)
                self.column_scales[x] += 128 * self.magnitude(i) - self.column_scales[x] >> 4

    def block_classes(self, begin: int, end: int, left_is_coded: int) -> tuple[int, int, int]:
        """Return left, up and activity of a block."""
        above = range(begin - self.n_columns, end - self.n_columns)
        up = any(self.place(j) != 0 for j in above)
        activity = capped(sum(self.magnitude_codes[begin:end]) >> 5, 8)
        return int(left_is_coded), int(up), activity

    def is_sparse(self, begin: int, end: int) -> bool:
        """Return whether the levels of a block are found by halving (5.4)."""
        return sum(self.magnitude_codes[begin:end]) + 8 * self.row_scale < 64

    def classes(self, i: int) -> Classes:
        """Return the classes of position i."""
        u = self.n_columns
        left = 2 * self.magnitude(i - 1) + self.magnitude(i - 2)
        up = 2 * self.magnitude(i - u) + self.magnitude(i - u - 1) + self.magnitude(i - u + 1)
        row = 3 * self.row_scale >> 3
        column = self.column_scales[self.column(i)] if self.has_rows else 0
        spatial = column + row + (13 * up >> 3) + (13 * left >> 3) >> 2

        average = value_of(self.magnitude_codes[i])
        signed_code = self.signed_codes[i]
        before, after = max(i - 1, 0), min(i + 1, len(self.places) - 1)
        around = value_of(self.magnitude_codes[before]) + value_of(self.magnitude_codes[after])
        around_code = truncated_half(self.signed_codes[before] + self.signed_codes[after])
        t = min(half_octave(abs(signed_value_of(signed_code))) // 2, 8)

        return Classes(
            history=capped(average, 24),
            spatial=capped(spatial, 16),
            magnitude=capped(average + spatial >> 3, 24),
            sign=sign_class(signed_code),
            left_signum=signum_class(self.place(i - 1)),
            signed=8 + t if signed_code >= 0 else 8 - t,
            left=capped(left // 2, 12),
            up=capped(up // 2, 12),
            column=capped(column >> 2, 16),
            row=capped(row, 16),
            around=capped(around, 24),
            around_sign=sign_class(around_code),
            up_signum=signum_class(self.place(i - u)),
        )
