# SPDX-License-Identifier: Apache-2.0
"""Saved states of a few bytes, and what tests ask about them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fl_deepcabac import Schema
from fl_deepcabac.flower.node_states import NodeStates
from fl_deepcabac.flower.saved_state import SavedState

SCHEMA = Schema.from_arrays({"w": np.zeros((4, 4), np.float32)})


def saved(number: int, n_bytes: int = 10) -> SavedState:
    """Return a state whose content is told apart by its number."""
    return SavedState(number.to_bytes(8, "little"), bytes([number % 256]) * n_bytes)


def held(states: NodeStates, n_nodes: int) -> set[int]:
    """Return the nodes whose next packet may be warm; names none of their states."""
    found = {node for node in range(n_nodes) if states.get(node, SCHEMA) is not None}
    states.release()
    return found


def files(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if path.is_file())


def spilling(directory: Path, *, budget: int = 0, n_nodes: int = 1) -> NodeStates:
    states = NodeStates(budget, directory)
    for node in range(n_nodes):
        states.put(node, SCHEMA, saved(node))
    return states
