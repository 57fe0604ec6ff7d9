# SPDX-License-Identifier: Apache-2.0
"""States in files: what is read is what was written, damage costs a fresh start, files go away."""

from __future__ import annotations

import copy
import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from flower.small_states import SCHEMA, files, held, saved, spilling

from fl_deepcabac.errors import CorruptPacketError, TruncatedPacketError
from fl_deepcabac.flower.node_states import NodeStates
from fl_deepcabac.flower.saved_state import SavedState, restore_state, token_of
from fl_deepcabac.stream import StreamState


def test_spilled_state_codes_on_as_if_it_had_stayed(tmp_path: Path) -> None:
    states = NodeStates(0, tmp_path)
    fresh = StreamState.fresh(SCHEMA, "fast")
    states.put(7, SCHEMA, SavedState.of(fresh))
    found = states.get(7, SCHEMA)
    restored = restore_state(found, SCHEMA, "fast")
    assert token_of(found) == restored.digest == fresh.digest
    assert restored.to_bytes() == fresh.to_bytes()


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def lengthen(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"\0")


def flip(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[:4] + bytes([content[4] ^ 1]) + content[5:])


def put_in_another(file: Path) -> None:
    file.write_bytes(saved(200).read())


def empty(file: Path) -> None:
    file.write_bytes(b"")


def replace_by_directory(file: Path) -> None:
    file.unlink()
    file.mkdir()


DAMAGES: list[Any] = [cut, lengthen, flip, put_in_another, empty, Path.unlink, replace_by_directory]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_damaged_file_is_one_warning_and_a_fresh_start(
    damage: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    states = spilling(tmp_path, n_nodes=2)
    [file] = [file for file in files(tmp_path) if file.read_bytes() == saved(0).read()]
    damage(file)
    assert held(states, 2) == {1}
    assert held(states, 2) == {1}
    [record] = caplog.records
    assert record.getMessage().startswith("DeepCABAC: node 0 starts afresh: its spilled state")
    states.put(0, SCHEMA, saved(9))
    assert held(states, 2) == {0, 1}
    states.close()
    assert files(tmp_path) == []


def test_damage_after_a_state_was_named_raises_and_is_never_a_wrong_state(tmp_path: Path) -> None:
    states = spilling(tmp_path)
    named = states.get(0, SCHEMA)
    assert named is not None
    [file] = files(tmp_path)
    cut(file)
    with pytest.raises(TruncatedPacketError, match="spilled state"):
        named.read()
    file.unlink()
    # Named a second time before the first reply has come: the damage is seen, the name stays.
    assert states.get(0, SCHEMA) is None
    with pytest.raises(CorruptPacketError, match="No such file"):
        named.read()
    states.release()


def test_directory_that_takes_no_file_is_one_warning_and_fresh_starts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = tmp_path / "spilled"
    states = NodeStates(20, directory)
    directory.write_bytes(b"in the way")
    for node in range(5):
        states.put(node, SCHEMA, saved(node))
    assert held(states, 5) == {3, 4}
    [record] = caplog.records
    assert "cannot spill states to" in record.getMessage()
    assert "start afresh" in record.getMessage()


def test_full_disk_is_one_warning_and_leaves_no_partial_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bytes = Path.write_bytes

    def write_half(path: Path, content: bytes) -> int:
        write_bytes(path, content[: len(content) // 2])
        raise OSError(28, "No space left on device")

    states = spilling(tmp_path, budget=20, n_nodes=3)
    monkeypatch.setattr(Path, "write_bytes", write_half)
    for node in range(3, 6):
        states.put(node, SCHEMA, saved(node))
    assert held(states, 6) == {0, 4, 5}
    assert len(files(tmp_path)) == 1
    [record] = caplog.records
    assert "No space left on device" in record.getMessage()
    monkeypatch.undo()
    states.put(6, SCHEMA, saved(6))
    assert len(files(tmp_path)) == 2


def test_files_are_private_to_a_run_and_go_with_it(tmp_path: Path) -> None:
    directory = tmp_path / "not" / "there"
    first, second = spilling(directory, n_nodes=2), spilling(directory, n_nodes=2)
    assert len(list(directory.iterdir())) == 2
    assert len(files(directory)) == 4
    first.close()
    assert len(files(directory)) == 2
    assert held(second, 2) == {0, 1}
    assert held(first, 2) == set()
    second.put(0, SCHEMA, saved(5))
    assert len(files(directory)) == 2
    del second
    gc.collect()
    assert list(directory.iterdir()) == []


def test_nothing_is_written_while_states_fit(tmp_path: Path) -> None:
    states = NodeStates(100, tmp_path / "unused")
    states.put(0, SCHEMA, saved(0))
    assert held(states, 1) == {0}
    assert not (tmp_path / "unused").exists()


def test_copy_of_a_strategy_may_go_its_own_way(tmp_path: Path) -> None:
    states = spilling(tmp_path, budget=10, n_nodes=3)
    copied = copy.deepcopy(states)
    states.put(1, SCHEMA, saved(7))
    copied.put(2, SCHEMA, saved(8))
    assert held(states, 3) == {0, 1, 2}
    # The files are the original's: what it removed is gone for the copy, and found to be.
    assert held(copied, 3) == {0, 2}


def test_states_can_be_read_while_they_are_spilled(tmp_path: Path) -> None:
    def read(state: SavedState, content: bytes, start: threading.Barrier) -> bool:
        start.wait()
        return all(state.read() == content for _ in range(20))

    with ThreadPoolExecutor(2) as pool:
        for number in range(40):
            content = bytes([number]) * 50_000
            state, start = SavedState(bytes(8), content), threading.Barrier(3)
            readers = [pool.submit(read, state, content, start) for _ in range(2)]
            start.wait()
            state.spill(tmp_path / f"{number}.state")
            assert all(reader.result() for reader in readers)
