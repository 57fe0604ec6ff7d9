# SPDX-License-Identifier: Apache-2.0
"""States under a budget: which stay in memory, which go, and which settings are refused."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flower.small_states import SCHEMA, files, held, saved, spilling
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples

from fl_deepcabac import ConfigError, Schema
from fl_deepcabac.flower.node_states import NodeStates
from fl_deepcabac.flower.records import FRESH_TOKEN
from fl_deepcabac.flower.saved_state import SavedState, token_of

OTHER_SCHEMA = Schema.from_arrays({"w": np.zeros((4, 5), np.float32)})


def in_memory(states: NodeStates) -> int:
    """Count the bytes that are really there, and those of states that are named."""
    kept = {state for _, state in states._held.values()} | states._named
    return sum(len(state._content) for state in kept if state._content is not None)


def test_without_a_budget_every_state_stays() -> None:
    states = NodeStates()
    for node in range(50):
        states.put(node, SCHEMA, saved(node))
    assert held(states, 50) == set(range(50))
    assert (states.n_bytes, str(states)) == (500, "all in memory")


def test_least_recently_used_state_is_dropped() -> None:
    states = NodeStates(30)
    for node in range(3):
        states.put(node, SCHEMA, saved(node))
    assert states.get(0, SCHEMA) is not None
    states.release()
    states.put(3, SCHEMA, saved(3))
    assert held(states, 4) == {0, 2, 3}


def test_least_recently_used_state_is_spilled(tmp_path: Path) -> None:
    states = spilling(tmp_path, budget=30, n_nodes=5)
    assert {file.read_bytes()[0] for file in files(tmp_path)} == {0, 1}
    assert held(states, 5) == {0, 1, 2, 3, 4}
    assert states.n_bytes == 30


def test_dropped_node_is_named_the_fresh_token() -> None:
    states = NodeStates(10)
    states.put(0, SCHEMA, saved(0))
    states.put(1, SCHEMA, saved(1))
    assert token_of(states.get(0, SCHEMA)) == FRESH_TOKEN
    assert token_of(states.get(1, SCHEMA)) == saved(1).digest


def test_state_named_to_a_node_is_not_dropped_before_its_release() -> None:
    states = NodeStates(20)
    states.put(0, SCHEMA, saved(0))
    states.put(1, SCHEMA, saved(1))
    named = states.get(0, SCHEMA)
    assert named is not None
    for node in range(2, 9):
        states.put(node, SCHEMA, saved(node))
        assert named.read() == saved(0).read()
        assert states.n_bytes <= 20
    assert held(states, 9) == {0, 8}


@pytest.mark.parametrize("spills", [False, True])
def test_superseded_state_is_readable_until_release_and_counts(
    spills: bool, tmp_path: Path
) -> None:
    states = NodeStates(10, tmp_path if spills else None)
    states.put(0, SCHEMA, saved(0))
    named = states.get(0, SCHEMA)
    assert named is not None
    states.put(0, SCHEMA, saved(1))
    assert named.read() == saved(0).read()
    assert (states.n_bytes, in_memory(states)) == (10, 10)
    states.release()
    with pytest.raises(RuntimeError, match="found one that was discarded"):
        named.read()
    # Dropped, the new state had to give way to the one that a reply was decoded against.
    assert token_of(states.get(0, SCHEMA)) == (saved(1).digest if spills else FRESH_TOKEN)
    assert files(tmp_path) == []


def test_state_larger_than_the_budget_drives_out_no_other(tmp_path: Path) -> None:
    for directory, kept in ((None, {0, 1}), (tmp_path, {0, 1, 2})):
        states = NodeStates(20, directory)
        for node in range(2):
            states.put(node, SCHEMA, saved(node))
        states.put(2, SCHEMA, saved(2, n_bytes=1000))
        assert held(states, 3) == kept
        assert states.n_bytes == 20
    assert [file.stat().st_size for file in files(tmp_path)] == [1000]


def test_budget_of_nothing_keeps_nothing_in_memory(tmp_path: Path) -> None:
    dropped = NodeStates(0)
    dropped.put(0, SCHEMA, saved(0))
    assert (held(dropped, 1), dropped.n_bytes) == (set(), 0)
    spilled = spilling(tmp_path, n_nodes=3)
    assert (held(spilled, 3), spilled.n_bytes) == ({0, 1, 2}, 0)
    assert len(files(tmp_path)) == 3


def test_state_of_another_schema_is_not_found(tmp_path: Path) -> None:
    for states in (NodeStates(), spilling(tmp_path)):
        states.put(0, SCHEMA, saved(0))
        assert states.get(0, OTHER_SCHEMA) is None
        assert states.get(0, SCHEMA) is not None
        assert states.get(1, SCHEMA) is None


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "get", "release"]),
        st.integers(0, 5),
        st.integers(0, 40),
    ),
    max_size=40,
)


@examples(150)
@given(actions=ACTIONS, budget=st.integers(0, 100), mode=st.sampled_from(["drop", "spill", "full"]))
def test_budget_holds_and_no_state_is_another(
    actions: list[tuple[str, int, int]],
    budget: int,
    mode: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Whatever happens in whatever order; `full` is a disk that takes no file."""
    directory = tmp_path_factory.mktemp("states")
    states = NodeStates(budget, None if mode == "drop" else directory)
    if mode == "full":
        directory.rmdir()
        directory.write_bytes(b"")
    latest: dict[int, bytes] = {}
    named: list[tuple[SavedState, bytes]] = []
    for number, (action, node, n_bytes) in enumerate(actions):
        if action == "put":
            state = saved(number, n_bytes)
            latest[node] = state.read()
            states.put(node, SCHEMA, state)
        elif action == "get":
            found = states.get(node, SCHEMA)
            if found is not None:
                named.append((found, latest[node]))
            assert mode != "spill" or (found is None) == (node not in latest)
        else:
            states.release()
            named.clear()
        assert in_memory(states) == states.n_bytes <= budget
        assert all(state.read() == content for state, content in named)
    states.close()
    assert mode == "full" or files(directory) == []


@pytest.mark.parametrize("budget", [True, 1.5, "1 GB", b"1"])
def test_budget_of_another_type_is_refused(budget: Any) -> None:
    with pytest.raises(TypeError, match="state_budget_bytes: expected an int or None, found"):
        NodeStates(budget)


def test_settings_out_of_range_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least 0 bytes, or None for no limit, found -1"):
        NodeStates(-1)
    with pytest.raises(ConfigError, match="expected a state_budget_bytes beside it"):
        NodeStates(None, tmp_path)
    file = tmp_path / "file"
    file.write_bytes(b"")
    with pytest.raises(ConfigError, match="expected a directory, found"):
        NodeStates(1, file)
    directory: Any = 3
    with pytest.raises(TypeError, match="spill_directory: expected a path or None, found int"):
        NodeStates(1, directory)
    assert NodeStates(np.int64(3)).budget_bytes == 3


def test_str_says_what_is_kept_where(tmp_path: Path) -> None:
    assert str(NodeStates(2_000_000)) == "at most 2,000,000 bytes in memory, the rest dropped"
    assert str(NodeStates(1, tmp_path)).endswith(f"the rest in {tmp_path}")


def test_no_warning_without_cause(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    states = spilling(tmp_path, budget=10, n_nodes=5)
    held(states, 6)
    states.close()
    assert caplog.records == []
