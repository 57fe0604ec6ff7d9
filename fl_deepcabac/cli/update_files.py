# SPDX-License-Identifier: Apache-2.0
"""Files of updates: one update each, or a recorded stream in one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from fl_deepcabac.cli.array_files import ArrayFileError, Arrays, read_arrays
from fl_deepcabac.schema import Schema

__all__ = ["read_updates"]

_OF_A_ROUND = re.compile(r"r(\d+)/(.+)", flags=re.DOTALL)


def read_updates(paths: Sequence[Path]) -> list[Arrays]:
    """Read the updates of a client.

    Parameters
    ----------
    paths : sequence of Path
        One update each, in order; or a single file whose arrays are named ``r{round}/{tensor}``.

    Returns
    -------
    list of dict of str to ndarray
        All with the same names, shapes and dtypes, in the order of the first.

    Raises
    ------
    ArrayFileError
        If a file is none of arrays, or its update is of another model than the first.
    OSError, ImportError
        As `read_arrays`.
    """
    named = [(str(path), read_arrays(path)) for path in paths]
    if len(named) == 1:
        path, arrays = named[0]
        rounds = _rounds(arrays)
        named = [(f"{path}, round {number}", update) for number, update in rounds.items()] or named
    first = named[0][1]
    return [_in_order_of(first, update, name, named[0][0]) for name, update in named]


def _in_order_of(first: Arrays, update: Arrays, name: str, first_name: str) -> Arrays:
    """Return an update with its tensors in the order of the first; safetensors keep none."""
    if update.keys() == first.keys():
        ordered = {tensor: update[tensor] for tensor in first}
        if Schema.from_arrays(ordered) == Schema.from_arrays(first):
            return ordered
    raise ArrayFileError(
        f"{name}: expected the names, shapes and dtypes of {first_name}, found others"
    )


def _rounds(arrays: Arrays) -> dict[int, Arrays]:
    """Return the updates of a recorded stream in order; none if it is a plain update."""
    rounds: dict[int, Arrays] = {}
    for name, array in arrays.items():
        if (match := _OF_A_ROUND.fullmatch(name)) is None:
            return {}
        rounds.setdefault(int(match[1]), {})[match[2]] = array
    return dict(sorted(rounds.items()))
