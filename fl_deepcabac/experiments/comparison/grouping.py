# SPDX-License-Identifier: Apache-2.0
"""Runs put together by what is held equal: settings, then codecs, then seeds.

Runs of one setting differ in codec and seed alone. Invariants: a label stands for one codec, runs
that lack rounds are never among those that are averaged, and every run that is not used has its
note. Equal runs give an equal comparison, in whatever order they come.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fl_deepcabac.errors import DeepCabacError
from fl_deepcabac.experiments.comparison.naming import (
    common_words,
    distinct_labels,
    natural_key,
    setting_titles,
)
from fl_deepcabac.experiments.rows import RoundRow
from fl_deepcabac.experiments.study_folder import FinishedRun

__all__ = ["CodecRuns", "Comparison", "ComparisonError", "Setting", "compare"]

# Differ between runs that are averaged, or change nothing but the time a run takes.
_NOT_HELD = ("seed", "workers", "data_dir")
UNCOMPRESSED, OURS = "none", "deepcabac"


class ComparisonError(DeepCabacError, ValueError):
    """There is nothing to compare."""


@dataclass(frozen=True)
class CodecRuns:
    """All runs of one codec in one setting.

    Parameters
    ----------
    label : str
        Stands for this codec on the whole page.
    codec : str
        Name of the method.
    codec_settings : mapping
    runs : mapping of int to sequence of RoundRow
        By seed, ascending; each with every round.
    """

    label: str
    codec: str
    codec_settings: Mapping[str, Any]
    runs: Mapping[int, Sequence[RoundRow]]

    @property
    def is_ours(self) -> bool:
        """Whether this is the codec of this package."""
        return self.codec == OURS

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds, ascending."""
        return tuple(self.runs)


@dataclass(frozen=True)
class Setting:
    """What is held equal, and all codecs that were run in it.

    Parameters
    ----------
    title : str
        Tells it from the other settings of the comparison.
    case : str
        As the study calls it.
    values : mapping
        The fields of `RunSettings` that are held; those left to the task are absent.
    codecs : tuple of CodecRuns
        By label.
    """

    title: str
    case: str
    values: Mapping[str, Any]
    codecs: tuple[CodecRuns, ...]

    @property
    def baseline(self) -> CodecRuns | None:
        """The first codec that compresses nothing."""
        return next((runs for runs in self.codecs if runs.codec == UNCOMPRESSED), None)


@dataclass(frozen=True)
class Comparison:
    """Everything that is compared.

    Parameters
    ----------
    subtitle : str
        What all settings have in common.
    settings : tuple of Setting
        At least one, each with at least one codec.
    notes : tuple of str
        What was not used, or is not as one would expect.
    made_with : mapping of str to tuple of str
        Versions of each package, and the machines, that made the runs.
    """

    subtitle: str
    settings: tuple[Setting, ...]
    notes: tuple[str, ...]
    made_with: Mapping[str, tuple[str, ...]]

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of all codecs, in order."""
        found = {runs.label for setting in self.settings for runs in setting.codecs}
        return tuple(sorted(found, key=natural_key))

    @property
    def n_runs(self) -> int:
        """Number of runs that are used."""
        return sum(len(runs.runs) for setting in self.settings for runs in setting.codecs)


def compare(runs: Iterable[FinishedRun]) -> Comparison:
    """Put runs together.

    Parameters
    ----------
    runs : iterable of FinishedRun
        Of one or more studies.

    Returns
    -------
    Comparison

    Raises
    ------
    ComparisonError
        If no run came to its end.
    """
    ordered = sorted(runs, key=lambda run: natural_key(str(run.about["run_id"])))
    notes = [note for run in ordered if (note := _lack(run))]
    whole = [run for run in ordered if not _lack(run)]
    if not whole:
        raise ComparisonError(f"expected a run that came to its end, found none of {len(ordered)}")
    labels = distinct_labels(run.about for run in whole)
    groups: dict[str, list[tuple[str, FinishedRun]]] = {}
    for run, label in zip(whole, labels, strict=True):
        groups.setdefault(_key_of(run), []).append((label, run))
    described = [(str(group[0][1].about["case"]), _held(group[0][1])) for group in groups.values()]
    titles = setting_titles(described)
    settings = []
    for title, (case, values), group in zip(titles, described, groups.values(), strict=True):
        codecs, more_notes = _by_codec(group, title)
        settings.append(Setting(title, case, values, codecs))
        notes += more_notes
    settings.sort(key=lambda setting: natural_key(setting.title))
    return Comparison(
        subtitle=common_words([values for _, values in described]),
        settings=tuple(settings),
        notes=(*notes, *_warnings(whole)),
        made_with=_made_with(whole),
    )


def _lack(run: FinishedRun) -> str:
    """Say what keeps a run from being averaged; empty if nothing does."""
    about = run.about
    n_planned = int(about["settings"]["rounds"])
    is_complete = [row.round for row in run.rows] == list(range(1, n_planned + 1))
    if run.is_whole and is_complete:
        return ""
    reason = f" ({about['reason']})" if about.get("reason") else ""
    return f"{about['run_id']} is left out: {len(run.rows)} of {n_planned} rounds{reason}."


def _held(run: FinishedRun) -> dict[str, Any]:
    """Return what is held equal; what is None is left to the task, as if it were not there."""
    settings = run.about["settings"]
    return {
        name: value
        for name, value in settings.items()
        if name not in _NOT_HELD and value is not None
    }


def _key_of(run: FinishedRun) -> str:
    return json.dumps([run.about["case"], _held(run)], sort_keys=True)


def _by_codec(
    group: Sequence[tuple[str, FinishedRun]], title: str
) -> tuple[tuple[CodecRuns, ...], list[str]]:
    """Sort the runs of a setting by codec and seed; each seed counts once."""
    about: dict[str, dict[str, Any]] = {}
    by_seed: dict[str, dict[int, list[RoundRow]]] = {}
    notes = []
    for label, run in group:
        about.setdefault(label, run.about)
        seeds = by_seed.setdefault(label, {})
        seed = int(run.about["settings"]["seed"])
        if seed in seeds:
            notes.append(
                f"{run.about['run_id']} is left out: {label} has another run of seed {seed}."
            )
            continue
        seeds[seed] = run.rows
    codecs = tuple(
        CodecRuns(
            label,
            str(about[label]["codec"]),
            about[label]["codec_settings"],
            dict(sorted(by_seed[label].items())),
        )
        for label in sorted(by_seed, key=natural_key)
    )
    return codecs, [*notes, *_oddities(codecs, title)]


def _oddities(codecs: Sequence[CodecRuns], title: str) -> list[str]:
    """Say which codecs lack seeds, accuracies or updates that others have."""
    notes = []
    every_seed = sorted({seed for runs in codecs for seed in runs.seeds})
    for runs in codecs:
        place = f"{title}, {runs.label}"
        if missing := [seed for seed in every_seed if seed not in runs.runs]:
            notes.append(f"{place}: no whole run of seed {', '.join(map(str, missing))}.")
        if diverged := [seed for seed, rows in runs.runs.items() if rows[-1].accuracy is None]:
            notes.append(
                f"{place}: no finite accuracy in the end with seed "
                f"{', '.join(map(str, diverged))}, so none is stated."
            )
        rows_of_all = [row for rows in runs.runs.values() for row in rows]
        if lost := sum(row.failures for row in rows_of_all):
            n_updates = sum(row.clients for row in rows_of_all)
            notes.append(f"{place}: {lost} of {n_updates} updates were lost.")
    if not any(runs.codec == UNCOMPRESSED for runs in codecs):
        notes.append(f"{title}: no uncompressed run, so nothing is compared with one.")
    return notes


def _warnings(runs: Sequence[FinishedRun]) -> list[str]:
    """Pass on what the package warned of, each text once."""
    counted = Counter(str(text) for run in runs for text in run.about.get("warnings") or ())
    return [f"Warning in {number} of {len(runs)} runs: {text}" for text, number in counted.items()]


def _made_with(runs: Sequence[FinishedRun]) -> dict[str, tuple[str, ...]]:
    """Collect the versions of each package, and what the machines were."""
    found: dict[str, set[str]] = {}
    for run in runs:
        for section in ("versions", "machine"):
            for name, value in (run.about.get(section) or {}).items():
                found.setdefault(name, set()).add(str(value))
    return {name: tuple(sorted(values, key=natural_key)) for name, values in found.items()}
