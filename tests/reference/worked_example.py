# SPDX-License-Identifier: Apache-2.0
"""The worked example of section 12: three levels, fast profile, fresh state.

`render` computes the whole text of the section, so that a test can demand that the document says
exactly this. To renew it: ``python -m reference.worked_example docs/bitstream.md`` in ``tests/``.
"""

# ruff: noqa: E501 - the text below is the document's, whose lines are longer
from __future__ import annotations

import re
import sys
from pathlib import Path

from reference import packet
from reference.arithmetic_coder import Encoder
from reference.contexts import FAST
from reference.reconstruction import NO_OFFSETS
from reference.stream import LevelState, StreamState, Tensor
from reference.update_coder import Update, UpdateCoder

SCHEMA = [Tensor("w", "float32", (3,))]
STEP = 0x3F000000  # 0.5
LEVELS = [2, 0, -1]
HEADING = "## 12. Worked example"


class TracingEncoder(Encoder):
    """Writes down every bin and the interval after it."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[str] = []

    def code(self, bit: int, probability: int, name: str) -> int:
        """Code a bin and note it as a row of a table."""
        answer = super().code(bit, probability, name)
        low = f"{self.low:0{2 * self.n_bytes + 16}x}"
        out, window = low[:-16], low[-16:]
        row = (str(len(self.rows) + 1), f"`{name}`", str(answer), str(probability))
        self.rows.append(f"| {' | '.join(row)} | {out} | {window} | {self.range:016x} |")
        return answer


def spaced(data: bytes) -> str:
    """Return bytes as hexadecimal pairs."""
    return data.hex(" ")


def render() -> str:
    """Return section 12 as it must stand in the document, heading included."""
    encoder = TracingEncoder()
    state = LevelState(FAST, [SCHEMA[0].shape])
    UpdateCoder([encoder], state).code(Update([STEP], [LEVELS], [NO_OFFSETS]))
    payload = encoder.finish()
    stream = StreamState(SCHEMA, FAST)
    whole, after = packet.encode(stream, b"", [STEP], [LEVELS])
    assert whole.endswith(payload)
    rows = "\n".join(encoder.rows)
    return f"""{HEADING}
The schema is one tensor, `[["w","float32",[3]]]`. Its update 1.0, 0.0, -0.5 with the step 0.5 (bits `3f000000`) has
the levels 2, 0, -1. Profile `fast`, fresh state. P is the probability of a 1 before the bin, in units of 2^-16; the last
three columns hold, after it and in hexadecimal, the bytes out of the window with carries in, the window, `range`.

| | bin | value | P | out | low | range |
|---|---|---|---|---|---|---|
{rows}

Bin 1 is `tensor_zero`, bin 2 says that quantisation is not dependent, bins 3 to 16 are the step: not the one predicted,
d = (3f000000 >> 20) - (3c000000 >> 20) = 48, whose code has s = 5 and the bypass bins of 49 - 32 = 17; not negative; no low
bits. Bin 17 says that the block is coded. It is not sparse, as `row` is 64. Bins 18 to 21 are the level 2, 22 the level 0, 23 to
25 the level -1. The first level has no neighbours, but R = 24 and so the class 6 of `spatial`; the second has the 2 to its left,
the third the 0 and the 2. Bin 26 keeps the offsets at 0.

The interval holds a number that ends in {zero_bytes(encoder)} zero bytes, so the payload is

    {spaced(payload)}

and the packet, with the schema digest `{stream.schema_digest.hex()}` and the digest of the fresh state `{stream.digest.hex()}`:

    {spaced(whole[:16])}
    {spaced(whole[16:32])}
    {spaced(whole[32:])}

The third line begins with the content digest: the upper half of (3f800000 * 9e3779b97f4a7c15 + bf000000 * 5 * 9e3779b97f4a7c15) mod 2^64.

After it the digest of the state is `{after.digest.hex()}`. The history of the tensor holds the magnitude codes
{numbers(after.levels.tensors[0].magnitudes)} and the signed codes {numbers(after.levels.tensors[0].signs)}.
"""


def zero_bytes(encoder: Encoder) -> int:
    """Return how many bytes of the last window the payload leaves out."""
    return encoder.n_bytes + 8 - len(encoder.finish())


def numbers(values: list[int]) -> str:
    """Return numbers as a list in running text."""
    return ", ".join(str(value) for value in values)


def section_of(document: str) -> str:
    """Return section 12 as it stands in the document."""
    found = re.search(rf"^{re.escape(HEADING)}\n.*?(?=\n^## )", document, re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[0]


if __name__ == "__main__":
    path = Path(sys.argv[1])
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace(section_of(text), render()), encoding="utf-8")
