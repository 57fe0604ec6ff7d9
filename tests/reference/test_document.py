# SPDX-License-Identifier: Apache-2.0
"""The document says what the twin and the codec do."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import fl_deepcabac as dc
from reference import worked_example
from reference.mixing import SQUASH, STRETCH

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "bitstream.md"


def test_worked_example_stands_in_the_document() -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    assert worked_example.section_of(document) == worked_example.render()


def test_worked_example_is_what_the_codec_writes() -> None:
    update = {"w": np.array([1.0, 0.0, -0.5], np.float32)}
    packet = dc.compress(update, dc.CodecConfig(step=0.5, quantizer="uniform"))
    lines = [packet[:16], packet[16:32], packet[32:]]
    example = "\n".join(f"    {line.hex(' ')}" for line in lines)
    assert example in worked_example.render()


def test_mixing_tables_are_monotonic_and_invert_each_other() -> None:
    assert sorted(STRETCH) == STRETCH
    assert [SQUASH[x] for x in range(-2047, 2048)] == sorted(SQUASH.values())
    # Where a cell of 16 probabilities spans less than one unit of log odds, both agree to a cell.
    assert all(abs((SQUASH[STRETCH[c]] >> 4) - c) <= 8 for c in range(16, 4080))
