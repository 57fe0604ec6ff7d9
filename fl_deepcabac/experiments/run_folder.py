# SPDX-License-Identifier: Apache-2.0
"""The folder of a run: what was run (``config.json``) and what came out (``rounds.jsonl``).

Everything else in the folder, the figure and the page, is made from these two and can be made
again. Rows are appended as rounds end, so that an interrupted run leaves what it had. Invariant: a
folder that holds anything but an earlier run is never written to.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from fl_deepcabac.atomic_file import write_atomically
from fl_deepcabac.errors import DeepCabacError
from fl_deepcabac.experiments.rows import RoundRow, RowError, rows_by_run
from fl_deepcabac.experiments.settings import RunSettings, SettingsError

__all__ = [
    "CONFIG_NAME",
    "FIGURE_NAME",
    "LOG_NAME",
    "PAGE_NAME",
    "ROWS_NAME",
    "RunFolderError",
    "RunRecord",
    "append_row",
    "prepare_folder",
    "read_rows",
    "read_run",
    "write_config",
]

CONFIG_NAME = "config.json"
ROWS_NAME = "rounds.jsonl"
FIGURE_NAME = "savings.png"
PAGE_NAME = "report.html"
LOG_NAME = "engine.log"
_NAMES = frozenset({CONFIG_NAME, ROWS_NAME, FIGURE_NAME, PAGE_NAME, LOG_NAME})


class RunFolderError(DeepCabacError, ValueError):
    """A folder is no run folder, or must not become one."""


@dataclass(frozen=True)
class RunRecord:
    """What a run folder holds.

    Parameters
    ----------
    config : dict
        ``settings`` (`RunSettings`), ``training`` (the plan in force), ``runs`` (label, codec and
        codec settings of each), ``model`` (name and shape of each tensor), ``versions``,
        ``machine`` and ``started``.
    runs : dict of str to list of RoundRow
        By label, rounds ascending.
    """

    config: dict[str, Any]
    runs: dict[str, list[RoundRow]]


def prepare_folder(folder: Path) -> None:
    """Make the folder, or empty it of an earlier run.

    Parameters
    ----------
    folder : Path

    Raises
    ------
    RunFolderError
        If it is a file, or holds anything that is not of a run.
    OSError
        If it cannot be made or written to.
    """
    if folder.exists() and not folder.is_dir():
        raise RunFolderError(f"{folder}: expected a folder, found a file")
    folder.mkdir(parents=True, exist_ok=True)
    strangers = sorted(entry.name for entry in folder.iterdir() if entry.name not in _NAMES)
    if strangers:
        raise RunFolderError(
            f"{folder}: expected a new folder, an empty one or an earlier run, "
            f"found {strangers[0]!r} in it"
        )
    for entry in folder.iterdir():
        entry.unlink()


def write_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Write what is run.

    Parameters
    ----------
    folder : Path
        As `prepare_folder` left it.
    config : mapping
        As in `RunRecord`.
    """
    text = json.dumps(config, indent=2, allow_nan=False) + "\n"
    write_atomically(folder / CONFIG_NAME, text.encode())


def append_row(folder: Path, row: RoundRow) -> None:
    """Add one row; it is on disk when this returns."""
    with (folder / ROWS_NAME).open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(row.to_dict(), allow_nan=False) + "\n")


def read_run(folder: Path) -> RunRecord:
    """Read a run folder.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    RunRecord

    Raises
    ------
    RunFolderError
        If the folder or one of its two files is missing, or does not hold what it should.
    OSError
        If a file cannot be read.
    """
    for name in (CONFIG_NAME, ROWS_NAME):
        if not (folder / name).is_file():
            raise RunFolderError(f"{folder}: expected a run folder with {name}, found none")
    config = _read_config(folder / CONFIG_NAME)
    rows = read_rows(folder / ROWS_NAME)
    return RunRecord(config, rows_by_run(rows))


def _read_config(path: Path) -> dict[str, Any]:
    """Read ``config.json`` and check everything that is made use of."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise RunFolderError(f"{path}: expected JSON, found: {error}") from error
    sections = config.keys() if isinstance(config, dict) else ()
    for section, is_sound in _SECTION_CHECKS.items():
        if section in _OPTIONAL and section not in sections:
            continue
        if section not in sections:
            raise RunFolderError(f"{path}: expected the section {section!r}, found none")
        if not is_sound(config[section]):
            raise RunFolderError(
                f"{path}, section {section!r}: expected what simulate writes, found something else"
            )
    try:
        _check_settings(config["settings"])
    except (SettingsError, OverflowError) as error:
        raise RunFolderError(f"{path}, section 'settings': {error}") from error
    checked: dict[str, Any] = config
    return checked


def _check_settings(settings: dict[str, Any]) -> None:
    """Raise `SettingsError` unless these are all the fields of `RunSettings`, each in its range."""
    for field in fields(RunSettings):
        if field.name not in settings:
            raise SettingsError(field.name, expected="a value", found="none")
    RunSettings.from_dict(settings)


def _is_plain(value: object, *, depth: int = 2) -> bool:
    """Say whether this is a JSON value that is short to write: a scalar, or few lists of them."""
    if isinstance(value, list):
        return depth > 0 and all(_is_plain(part, depth=depth - 1) for part in value)
    return not isinstance(value, dict)


def _is_pairs(value: object) -> bool:
    """Say whether this is a mapping of names to plain values."""
    return isinstance(value, dict) and all(map(_is_plain, value.values()))


def _is_run(value: object) -> bool:
    """Say whether this is an entry of ``runs``."""
    return (
        isinstance(value, dict)
        and isinstance(value.get("label"), str)
        and isinstance(value.get("codec"), str)
        and _is_pairs(value.get("codec_settings"))
    )


def _is_tensor(value: object) -> bool:
    """Say whether this is an entry of ``model``."""
    return (
        isinstance(value, dict)
        and isinstance(value.get("name"), str)
        and isinstance(value.get("shape"), list)
        and all(type(length) is int and length >= 0 for length in value["shape"])
    )


# Not in run folders of earlier versions.
_OPTIONAL = {"machine"}
_SECTION_CHECKS: dict[str, Callable[[object], bool]] = {
    "settings": _is_pairs,
    "training": _is_pairs,
    "runs": lambda value: isinstance(value, list) and all(map(_is_run, value)),
    "model": lambda value: isinstance(value, list) and all(map(_is_tensor, value)),
    "versions": _is_pairs,
    "machine": _is_pairs,
    "started": lambda value: isinstance(value, str),
}


def read_rows(path: Path) -> list[RoundRow]:
    """Read ``rounds.jsonl``.

    Parameters
    ----------
    path : Path

    Returns
    -------
    list of RoundRow
        At least one, in the order of the file.

    Raises
    ------
    RunFolderError
        If the file does not hold rounds.
    OSError
        If it cannot be read.
    """
    rows = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            values = json.loads(line)
            if not isinstance(values, dict):
                raise RowError(f"expected a JSON object, found {type(values).__name__}")
            rows.append(RoundRow.from_dict(values))
        except (ValueError, RecursionError) as error:
            raise RunFolderError(
                f"{path}, line {number}: expected a round, found: {error}"
            ) from error
    if not rows:
        raise RunFolderError(f"{path}: expected at least one round, found none")
    return rows
