# SPDX-License-Identifier: Apache-2.0
"""Packet bytes of made-up streams, committed, so that a change of size shows as a diff.

`size_ledger.csv` has one line for each stream, profile, quantiser and step, and one column a round.
The streams are the same on every machine and need no file. A test compares; this script rewrites:

    python benchmarks/size_ledger.py            # or make bench-sizes
"""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from running import encode_stream
from synthetic import Update, make_sparse_levels, make_stream, make_zero_stream, scale_levels

import fl_deepcabac as dc

PATH = Path(__file__).with_name("size_ledger.csv")
N_ROUNDS = 4
STEP = 0.006
DENSE_STREAMS = ["3k", "20k", "200k"]
# Every step with the default quantiser, every other quantiser with the middle step.
DENSE_SETTINGS = [
    ("rdoq", 0.003),
    ("rdoq", STEP),
    ("rdoq", 0.012),
    ("deadzone", STEP),
    ("uniform", STEP),
]
# Rate-distortion optimisation would drop lone levels; these streams are about their positions.
SPARSE_STREAMS = {"400k 0.1 %": 0.001, "400k 0.01 %": 0.0001}
ZERO_STREAM = "400k zeros"


@cache
def updates_of(stream: str) -> list[Update]:
    """Return a stream of the ledger by its name."""
    if stream in SPARSE_STREAMS:
        levels = make_sparse_levels("400k", N_ROUNDS, density=SPARSE_STREAMS[stream])
        return scale_levels(levels, STEP)
    if stream == ZERO_STREAM:
        return make_zero_stream("400k", N_ROUNDS)
    return make_stream(stream, N_ROUNDS)


def cases() -> Iterator[tuple[str, str, str, float]]:
    """Yield stream, profile, quantiser and step of each line."""
    for profile in ("fast", "max"):
        for stream in DENSE_STREAMS:
            for quantizer, step in DENSE_SETTINGS:
                yield stream, profile, quantizer, step
        for stream in (*SPARSE_STREAMS, ZERO_STREAM):
            yield stream, profile, "uniform", STEP


def make_ledger() -> str:
    """Return the text of the ledger."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    rounds = [f"round_{number}" for number in range(N_ROUNDS)]
    writer.writerow(["stream", "profile", "quantizer", "step", *rounds])
    for stream, profile, quantizer, step in cases():
        config = dc.CodecConfig(step=step, quantizer=quantizer, profile=profile)
        coded = encode_stream(updates_of(stream), config)
        writer.writerow(
            [stream, profile, quantizer, step, *(len(update.packet) for update in coded)]
        )
    return text.getvalue()


def main() -> None:
    """Rewrite the ledger."""
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    before = PATH.read_text(encoding="utf-8").splitlines() if PATH.exists() else []
    PATH.write_text(make_ledger(), encoding="utf-8")
    after = PATH.read_text(encoding="utf-8").splitlines()
    n_changed = len(set(after) - set(before))
    print(f"{PATH.name}: {len(after) - 1} lines, {n_changed} of them new or changed")


if __name__ == "__main__":
    main()
