# SPDX-License-Identifier: Apache-2.0
"""Reading the tidy table of a study, so that published results can be compared and drawn again.

A table holds all of a run but the bytes by layer and the versions of packages, which it does not
have. Invariant: what is read and written again is the same text.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import fields
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from fl_deepcabac.experiments.rows import RoundRow, RowError
from fl_deepcabac.experiments.run_folder import RunFolderError
from fl_deepcabac.experiments.settings import RunSettings, SettingsError
from fl_deepcabac.experiments.study_folder import FinishedRun

__all__ = ["read_results"]

_SETTINGS: Final = {entry.name: str(entry.type) for entry in fields(RunSettings)}
_ROW: Final = {
    entry.name: str(entry.type) for entry in fields(RoundRow) if entry.name != "layer_bytes"
}
# Columns that have another name in the table, or none.
_COLUMN_OF: Final = {"clients": "clients_asked", "run": "label"}
_ABOUT: Final = ("run_id", "case", "label", "codec", "codec_settings")


def read_results(path: Path) -> Iterator[FinishedRun]:
    """Yield the runs of a ``results.csv``.

    Parameters
    ----------
    path : Path
        As `StudyFolder.write_results` writes it: the rounds of a run one after the other.

    Yields
    ------
    FinishedRun
        In the order of the file, rounds without bytes by layer.

    Raises
    ------
    RunFolderError
        If the file is no such table.
    OSError
        If it cannot be read.
    """
    with path.open(encoding="utf-8", newline="") as stream:
        reader = csv.DictReader(stream)
        wanted = {*_ABOUT, *_SETTINGS, *(_COLUMN_OF.get(name, name) for name in _ROW)}
        if missing := sorted(wanted - set(reader.fieldnames or ())):
            raise RunFolderError(f"{path}: expected a column {missing[0]}, found none")
        for run_id, group in groupby(reader, key=lambda line: line["run_id"]):
            lines = list(group)
            try:
                yield _run_of(lines)
            except (ValueError, TypeError, RowError, SettingsError) as error:
                raise RunFolderError(f"{path}: run {run_id}: {error}") from error


def _run_of(lines: list[dict[str, str]]) -> FinishedRun:
    """Make a run of its lines."""
    first = lines[0]
    settings = {
        name: _alpha(first[name]) if name == "alpha" else _value(first[name], kind)
        for name, kind in sorted(_SETTINGS.items())
    }
    # What is not a setting of any run is found here.
    RunSettings.from_dict(settings)
    rows = [
        RoundRow.from_dict(
            {name: _value(line[_COLUMN_OF.get(name, name)], kind) for name, kind in _ROW.items()}
        )
        for line in lines
    ]
    about = {
        **{name: first[name] for name in _ABOUT},
        "codec_settings": json.loads(first["codec_settings"]),
        "settings": settings,
        # The table has none of the others.
        "status": "finished",
        "reason": None,
        "versions": {},
    }
    return FinishedRun(about, sorted(rows, key=lambda row: row.round))


def _value(text: str, kind: str) -> Any:
    """Read one cell as the type its field is annotated with."""
    if text == "" and "None" in kind:
        return None
    if kind.startswith("str"):
        return text
    if kind.startswith("int"):
        return int(text)
    return float(text)


def _alpha(text: str) -> float | str | None:
    """Read how skewed the partitions are: a number, a word, or nothing, which is IID."""
    if text == "":
        return None
    try:
        return float(text)
    except ValueError:
        return text
