# SPDX-License-Identifier: Apache-2.0
"""Streams of updates to measure on: recorded ones from a folder, or one made up.

A recorded stream is a file ``NAME.npz`` with one array ``r{round}/{tensor}`` for every tensor and
round, as `fl_deepcabac` would meet them. Beside it ``NAME.nncodec.json`` may hold NNCodec points:
rows of ``bpp``, ``rmse``, ``dq``, ``lam``.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rate_distortion import Points
from synthetic import Update, make_stream

DEFAULT_FOLDER = Path("../shared/streams")
N_SYNTHETIC_ROUNDS = 8


@dataclass(frozen=True)
class Recording:
    """The updates of one client, one a round, and what NNCodec makes of them where that is known.

    Parameters
    ----------
    name : str
    updates : list of dict of str to ndarray
    references : dict of str to list of (float, float)
        NNCodec's RMSE and bits per weight, by the way it was run.
    """

    name: str
    updates: list[Update]
    references: dict[str, Points] = field(default_factory=dict)

    @property
    def n_weights(self) -> int:
        """Weights of one update."""
        return sum(array.size for array in self.updates[0].values())

    @property
    def rms(self) -> float:
        """Root mean square of all values of all rounds."""
        total = sum(
            float(np.sum(np.square(array, dtype=np.float64)))
            for update in self.updates
            for array in update.values()
        )
        return math.sqrt(total / self.n_weights / len(self.updates))


def load_stream(path: Path) -> list[Update]:
    """Return the updates of a stream, one a round."""
    with np.load(path) as arrays:
        rounds: dict[int, Update] = {}
        for key in arrays.files:
            number, _, tensor = key.partition("/")
            rounds.setdefault(int(number[1:]), {})[tensor] = arrays[key]
    return [rounds[number] for number in sorted(rounds)]


def load_references(path: Path) -> dict[str, Points]:
    """Return NNCodec's points with everything on and as its federated pipeline runs it."""
    if not path.exists():
        return {}
    rows = json.loads(path.read_text(encoding="utf-8"))
    plain = [row for row in rows if row["dq"] == 0 and row["lam"] == 0]
    return {
        "everything on": [(row["rmse"], row["bpp"]) for row in rows],
        "federated pipeline": [(row["rmse"], row["bpp"]) for row in plain],
    }


def open_recordings(folder: Path) -> Iterator[Recording]:
    """Yield the streams of a folder; where it holds none, say so and yield a synthetic one."""
    paths = sorted(folder.glob("*.npz"))
    if not paths:
        print(f"no NAME.npz in {folder}: measuring a synthetic stream of 200 k weights instead")
        yield Recording("synthetic", make_stream("200k", N_SYNTHETIC_ROUNDS))
    for path in paths:
        references = load_references(path.with_suffix(".nncodec.json"))
        yield Recording(path.stem, load_stream(path), references)


def cut(recording: Recording, n_weights: int) -> Recording:
    """Return a stream of about `n_weights`: the first rows and columns of each tensor.

    Both axes shrink alike, and no tensor is dropped, so that a small model of the same kind is
    left, with real dependence between rounds.
    """
    share = math.sqrt(n_weights / recording.n_weights)

    def corner(array: np.ndarray) -> np.ndarray:
        # Past the second axis are the taps of a filter, which stay together.
        kept = tuple(slice(math.ceil(share * size)) for size in array.shape[:2])
        return np.ascontiguousarray(array[kept])

    updates = [
        {name: corner(array) for name, array in update.items()} for update in recording.updates
    ]
    return Recording(recording.name, updates)


def parse_folder(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse a command line that names the folder of streams besides what `parser` knows."""
    parser.add_argument("folder", type=Path, nargs="?", default=DEFAULT_FOLDER)
    return parser.parse_args()
