# SPDX-License-Identifier: Apache-2.0
"""Files written at once: whatever fails or is killed, the old content or the new is there."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fl_deepcabac.atomic_file import remove_unfinished, replace_atomically, write_atomically

# Writes contents of one letter each, one after the other, for as long as it lives.
WRITES_FOREVER = """
import sys
from pathlib import Path
from fl_deepcabac.atomic_file import replace_atomically
for i in range(10**9):
    with replace_atomically(Path(sys.argv[1]), durable=bool(i % 2)) as file:
        for part in range(50):
            file.write(b"abcdefghij"[i % 10 : i % 10 + 1] * 20_000)
    print(i, flush=True)
"""
N_KILLS = 12


def fails(*_: object) -> None:
    raise OSError(28, "No space left on device", "elsewhere")


def test_write_follows_links(tmp_path: Path) -> None:
    link, place = tmp_path / "link", tmp_path / "deep" / "x"
    place.parent.mkdir()
    link.symlink_to(place)
    for content in (b"first", b"second"):
        write_atomically(link, content)
        assert link.is_symlink()
        assert place.read_bytes() == content
    assert list(place.parent.iterdir()) == [place]


def test_write_to_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="expected a regular file") as info:
        write_atomically(pipe, b"new")
    assert info.value.filename == str(pipe)
    assert pipe.is_fifo()


def test_write_below_a_file_names_the_place(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError) as info:
        write_atomically(tmp_path / "file" / "x", b"new")
    assert info.value.filename == str(tmp_path / "file" / "x")


def test_write_to_a_folder_or_into_none_names_the_place(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="found a folder"):
        write_atomically(tmp_path, b"new")
    with pytest.raises(FileNotFoundError) as info:
        write_atomically(tmp_path / "none" / "x", b"new")
    assert info.value.filename == str(tmp_path / "none" / "x")


@pytest.mark.parametrize("call", ["fsync", "replace", "body"])
def test_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"old")
    if call == "fsync":
        monkeypatch.setattr(os, "fsync", fails)
    elif call == "replace":
        monkeypatch.setattr(Path, "replace", fails)

    def write() -> None:
        with replace_atomically(path, durable=True) as file:
            file.write(b"new")
            if call == "body":
                fails()

    with pytest.raises(OSError, match="No space left on device") as info:
        write()
    assert info.value.filename == str(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_killed_writer_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"?" * 1_000_000)
    seen = set()
    for i in range(N_KILLS):
        command = [sys.executable, "-c", WRITES_FOREVER, str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            for _ in range(1 + i % 4):
                process.stdout.readline()
            time.sleep(random.Random(i).uniform(0, 0.01))
            process.send_signal(signal.SIGKILL)
        content = path.read_bytes()
        assert len(content) == 1_000_000
        assert len(set(content)) == 1
        seen.add(content[:1])
    assert len(seen) > 1
    (tmp_path / ".y.12345678.part").touch()
    (tmp_path / ".x.12345678.part").touch()
    remove_unfinished(path)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".y.12345678.part", "x"]
