# SPDX-License-Identifier: Apache-2.0
"""A study: many runs that differ in what is compared, described by one TOML file.

Settings that are lists span a grid, cases are settings that go together, and each codec is run on
every point of it. Invariants: the same file plans the same runs, each with an id that depends on
what it computes and on nothing else; a file that plans anything impossible plans nothing.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Final

from fl_deepcabac.errors import ConfigError, DeepCabacError
from fl_deepcabac.experiments.settings import RunSettings

__all__ = ["PlannedRun", "Study", "StudyError", "parse_study", "read_study"]

ID_BYTES: Final = 4
MAX_SLUG: Final = 60
_SECTIONS: Final = ("title", "settings", "case", "codec")
# Lists of these are values of a codec, not alternatives.
_LABEL: Final = "label"
# Changes the time a run takes and nothing else.
_NOT_IN_ID: Final = ("workers", "data_dir")


class StudyError(DeepCabacError, ValueError):
    """A study file describes no study."""


@dataclass(frozen=True)
class PlannedRun:
    """One run of a study.

    Parameters
    ----------
    run_id : str
        Readable, and unique in every study: names its folder.
    case : str
        Label of the settings that go together; empty where the study has no cases.
    label : str
        Of the codec and its parameters.
    settings : RunSettings
    codec : dict
        As ``catalogue.build_codec`` takes it.
    """

    run_id: str
    case: str
    label: str
    settings: RunSettings
    codec: dict[str, Any]


@dataclass(frozen=True)
class Study:
    """What a study file describes.

    Parameters
    ----------
    title : str
    runs : tuple of PlannedRun
        Those with equal settings next to each other, so that a study that was interrupted has whole
        comparisons.
    """

    title: str
    runs: tuple[PlannedRun, ...]


def read_study(path: Path) -> Study:
    """Read a study file.

    Parameters
    ----------
    path : Path
        TOML.

    Returns
    -------
    Study

    Raises
    ------
    OSError
        If the file cannot be read.
    StudyError
        If it is no study; the message names the file and the entry.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StudyError(f"{path}: expected TOML, found: {error}") from None
    try:
        return parse_study(values, title=path.stem)
    except (StudyError, ConfigError) as error:
        raise StudyError(f"{path}: {error}") from None


def parse_study(values: Mapping[str, Any], *, title: str = "study") -> Study:
    """Plan the runs that a mapping describes.

    Parameters
    ----------
    values : mapping
        ``title``; ``settings``, fields of `RunSettings`, lists of values for a grid; ``case``, a
        list of tables of settings with a ``label`` each; ``codec``, a list of tables with a
        ``name``, maybe a ``label``, and parameters, lists of values for a grid.
    title : str
        Where the mapping has none.

    Returns
    -------
    Study

    Raises
    ------
    StudyError, ConfigError
        If it describes no study.
    """
    if unknown := sorted(values.keys() - set(_SECTIONS)):
        raise StudyError(f"expected the sections {', '.join(_SECTIONS)}, found {unknown[0]!r}")
    settings = _table(values.get("settings", {}), "settings")
    cases = _tables(values.get("case", [{}]), "case")
    if "codec" not in values:
        raise StudyError("expected at least one [[codec]], found none")
    codecs = [row for table in _tables(values["codec"], "codec") for row in _spread(table)]
    runs: dict[str, PlannedRun] = {}
    for case in cases:
        given = {name: value for name, value in case.items() if name != _LABEL}
        for point in _spread({**settings, **given}):
            for codec in codecs:
                run = _plan(point, codec, case=str(case.get(_LABEL, "")))
                if runs.setdefault(run.run_id, run) is not run:
                    raise StudyError(f"expected each run once, found {run.run_id} twice")
    _check_labels(runs.values())
    return Study(str(values.get("title", title)), tuple(runs.values()))


def _table(value: object, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise StudyError(f"expected a table [{name}], found {value!r}")
    return value


def _tables(value: object, name: str) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not value:
        raise StudyError(f"expected tables [[{name}]], found {value!r}")
    return [_table(item, name) for item in value]


def _spread(table: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a table for each combination of the values in its lists; labels say which."""
    for name, value in table.items():
        _check_value(name, value)
    lists = {name: value for name, value in table.items() if isinstance(value, list)}
    for values in product(*lists.values()):
        chosen = dict(zip(lists, values, strict=True))
        row = {**table, **chosen}
        if chosen and _LABEL in table:
            row[_LABEL] = ", ".join([table[_LABEL], *(f"{k} {v}" for k, v in chosen.items())])
        yield row


def _check_value(name: str, value: object) -> None:
    """Refuse what neither settings nor codecs can be given, and what would plan nothing."""
    if name == _LABEL and not isinstance(value, str):
        raise StudyError(f"label: expected text, found {value!r}")
    if isinstance(value, list):
        if not value:
            raise StudyError(f"{name}: expected at least one value, found an empty list")
        for item in value:
            _check_value(name, item)
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_value(key, item)
    elif not isinstance(value, str | bool | int | float):
        raise StudyError(f"{name}: expected text, a number or true or false, found {value}")


def _plan(point: Mapping[str, Any], codec: Mapping[str, Any], *, case: str) -> PlannedRun:
    """Check one run and give it its id."""
    settings = RunSettings.from_dict(dict(point))
    parameters = {name: value for name, value in codec.items() if name != _LABEL}
    label = str(codec.get(_LABEL, _label_of(parameters)))
    # Without those left to the task, so that settings that are added later change no id.
    computed = {
        name: value
        for name, value in json.loads(settings.to_json()).items()
        if value is not None and name not in _NOT_IN_ID
    }
    text = json.dumps([computed, parameters], sort_keys=True)
    digest = hashlib.blake2b(text.encode(), digest_size=ID_BYTES).hexdigest()
    alpha = "iid" if settings.alpha is None else settings.alpha
    skew = alpha if isinstance(alpha, str) else f"a{alpha:g}"
    words = f"{settings.task}-{case or settings.clients}-{skew}-s{settings.seed}-{label}"
    slug = re.sub(r"[^a-z0-9.]+", "-", words.lower()).strip("-.")[:MAX_SLUG]
    return PlannedRun(f"{slug}-{digest}", case, label, settings, parameters)


def _label_of(parameters: Mapping[str, Any]) -> str:
    """Name a codec by its parameters."""
    rest = [f"{key} {value}" for key, value in parameters.items() if key != "name"]
    return ", ".join([str(parameters.get("name", "?")), *rest])


def _check_labels(runs: Any) -> None:
    """Make sure that a label stands for one codec: curves and tables are named by it."""
    codec_of: dict[str, dict[str, Any]] = {}
    for run in runs:
        if codec_of.setdefault(run.label, run.codec) != run.codec:
            raise StudyError(f"expected one codec for each label, found two for {run.label!r}")
