# SPDX-License-Identifier: Apache-2.0
"""Run folders: written for good, read with care, never over someone else's files."""

from __future__ import annotations

from pathlib import Path

import pytest
from experiments.made_up import make_config, make_runs

from fl_deepcabac.experiments.run_folder import (
    RunFolderError,
    append_row,
    prepare_folder,
    read_run,
    write_config,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder that holds a run."""
    made = tmp_path / "deep" / "run"
    prepare_folder(made)
    write_config(made, make_config())
    for rows in make_runs().values():
        for row in rows:
            append_row(made, row)
    return made


def test_folder_returns_what_was_written(folder: Path) -> None:
    record = read_run(folder)
    assert record.config == make_config()
    assert record.runs == make_runs()


def test_folder_of_an_earlier_run_is_emptied(folder: Path) -> None:
    prepare_folder(folder)
    assert list(folder.iterdir()) == []


def test_folder_with_other_files_is_left_alone(folder: Path) -> None:
    (folder / "thesis.tex").write_text("years of work", encoding="utf-8")
    before = sorted(folder.iterdir())
    with pytest.raises(RunFolderError, match=r"found 'thesis\.tex' in it"):
        prepare_folder(folder)
    assert sorted(folder.iterdir()) == before


def test_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    with pytest.raises(RunFolderError, match="expected a folder, found a file"):
        prepare_folder(path)


@pytest.mark.parametrize("name", ["config.json", "rounds.jsonl"])
def test_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(RunFolderError, match=f"expected a run folder with {name}, found none"):
        read_run(folder)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '"settings"', "[" * 100_000])
def test_broken_config_is_named(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text, encoding="utf-8")
    with pytest.raises(RunFolderError, match=r"config\.json: expected"):
        read_run(folder)


@pytest.mark.parametrize(
    ("section", "value"),
    [
        ("settings", [1]),
        ("settings", {}),
        ("settings", make_config()["settings"] | {"alpha": "x"}),
        ("settings", make_config()["settings"] | {"alpha": 10**400}),
        ("training", None),
        ("runs", {}),
        ("runs", [{"label": "compressed"}]),
        ("runs", [{"label": "a", "codec": "b", "codec_settings": {"step": [[[[1]]]]}}]),
        ("model", [{}]),
        ("model", [{"name": "w", "shape": ["2"]}]),
        ("versions", "1"),
        ("machine", "1"),
        ("started", {}),
    ],
)
def test_broken_section_is_named(folder: Path, section: str, value: object) -> None:
    write_config(folder, make_config(**{section: value}))
    with pytest.raises(RunFolderError, match=rf"config\.json, section '{section}'"):
        read_run(folder)


def test_a_folder_from_before_machines_were_kept_is_read(folder: Path) -> None:
    config = make_config()
    del config["machine"]
    write_config(folder, config)
    assert read_run(folder).config == config


@pytest.mark.parametrize("line", [b"{", b"[]", b"{}", b"\xff", b'{"run": 1}', b"[" * 100_000])
def test_broken_row_is_named_with_its_line(folder: Path, line: bytes) -> None:
    with (folder / "rounds.jsonl").open("ab") as stream:
        stream.write(line + b"\n")
    with pytest.raises(RunFolderError, match=r"rounds\.jsonl, line 7: expected a round"):
        read_run(folder)


def test_folder_without_rounds_is_refused(folder: Path) -> None:
    (folder / "rounds.jsonl").write_bytes(b"")
    with pytest.raises(RunFolderError, match="expected at least one round, found none"):
        read_run(folder)
