# SPDX-License-Identifier: Apache-2.0
"""Runs a study from where it was left: one run after the other, each in Flower's engine.

The straight line: plan, build every codec once to find what is wrong with it, skip what has
finished, run the rest, and keep each round as it ends. Invariant: a run that fails costs itself; a
kill costs the run at work.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from fl_deepcabac.errors import DeepCabacError
from fl_deepcabac.experiments.baselines.catalogue import build_codec
from fl_deepcabac.experiments.client import load_partitioned, task_of
from fl_deepcabac.experiments.codecs import UpdateCodec
from fl_deepcabac.experiments.engine import Engine, simulate
from fl_deepcabac.experiments.provenance import provenance_of
from fl_deepcabac.experiments.rows import RoundRow
from fl_deepcabac.experiments.runner import RunResult, run_federated
from fl_deepcabac.experiments.settings import RunSettings
from fl_deepcabac.experiments.study import PlannedRun, Study, StudyError
from fl_deepcabac.experiments.study_folder import StudyFolder
from fl_deepcabac.experiments.tasks import DataFileError

__all__ = ["StudyObserver", "StudyOutcome", "build_codecs", "run_study"]


class StudyObserver(Protocol):
    """Hears how a study proceeds."""

    def on_skip(self, run: PlannedRun) -> None:
        """Hear that a run has finished in an earlier process."""

    def on_begin(self, run: PlannedRun) -> None:
        """Hear that a run begins."""

    def on_reply(self, phase: str, arrived: int, asked: int) -> None:
        """Hear that another client has replied; from another thread."""

    def on_round(self, row: RoundRow) -> None:
        """Hear that a round is over; from another thread."""

    def on_end(self, run: PlannedRun, reason: str | None) -> None:
        """Hear that a run has ended, well or for a reason."""


@dataclass(frozen=True)
class StudyOutcome:
    """How many runs were done in this process, skipped because an earlier one did, and failed."""

    n_run: int
    n_skipped: int
    failures: dict[str, str]


def run_study(
    study: Study,
    folder: StudyFolder,
    observer: StudyObserver,
    *,
    engine: Engine = simulate,
    run: Callable[..., RunResult] = run_federated,
) -> StudyOutcome:
    """Run what is left of a study.

    Parameters
    ----------
    study : Study
    folder : StudyFolder
    observer : StudyObserver
    engine : Engine
        What runs server and clients.
    run : callable
        `run_federated`, or something like it.

    Returns
    -------
    StudyOutcome

    Raises
    ------
    StudyError
        If a codec cannot be built, or data cannot be loaded: before anything is run.
    RunFolderError
        If another process is at work on the folder, or it holds damaged runs.
    KeyboardInterrupt
        After Ctrl-C. The run at work starts anew next time.
    """
    with folder.locked():
        left = [planned for planned in study.runs if not folder.has_finished(planned.run_id)]
        codecs = build_codecs(study)
        _check_data(left)
        failures = {}
        for planned in study.runs:
            if planned not in left:
                folder.relabel(planned.run_id, case=planned.case, label=planned.label)
                observer.on_skip(planned)
                continue
            codec = codecs[planned.label]
            if reason := _run_one(planned, codec, folder, observer, engine=engine, run=run):
                failures[planned.run_id] = reason
        folder.write_results()
    return StudyOutcome(len(left), len(study.runs) - len(left), failures)


def build_codecs(study: Study) -> dict[str, UpdateCodec]:
    """Build each codec of a study; the same objects serve all of its runs.

    Parameters
    ----------
    study : Study

    Returns
    -------
    dict of str to UpdateCodec
        By label.

    Raises
    ------
    StudyError
        If one cannot be built, here or at all.
    """
    codecs: dict[str, UpdateCodec] = {}
    for planned in study.runs:
        if planned.label not in codecs:
            try:
                codecs[planned.label] = build_codec(planned.codec)
            except DeepCabacError as error:
                raise StudyError(f"codec {planned.label!r}: {error}") from error
    return codecs


def _check_data(runs: list[PlannedRun]) -> None:
    """Load what every run needs, one seed of each kind, before hours have gone by."""
    seen: set[RunSettings] = set()
    for planned in runs:
        if planned.settings not in seen:
            seen.add(planned.settings)
            try:
                load_partitioned(planned.settings)
            except (DataFileError, DeepCabacError) as error:
                raise StudyError(f"run {planned.run_id}: {error}") from error


def _run_one(
    planned: PlannedRun,
    codec: UpdateCodec,
    folder: StudyFolder,
    observer: StudyObserver,
    *,
    engine: Engine,
    run: Callable[..., RunResult],
) -> str | None:
    """Run one and keep it; return why it failed, if it did."""
    observer.on_begin(planned)
    folder.begin(planned.run_id)
    keeper = _Keeper(planned.run_id, folder, observer)
    started, reason, warnings = time.monotonic(), None, []
    try:
        result = run(
            planned.settings,
            codec,
            label=planned.label,
            observer=keeper,
            log_path=folder.log_path(planned.run_id),
            engine=engine,
        )
        warnings = result.warnings
    except DeepCabacError as error:
        reason = str(error)
    about = {
        "run_id": planned.run_id,
        "case": planned.case,
        "label": planned.label,
        "settings": _plain(planned.settings),
        # With what the settings leave to the task.
        "plan": asdict(task_of(planned.settings).plan_for(planned.settings)),
        "codec": codec.name,
        "codec_settings": codec.describe(),
        "seconds": round(time.monotonic() - started, 3),
        "warnings": warnings,
        **provenance_of(planned.settings),
    }
    folder.end(planned.run_id, about, reason=reason)
    observer.on_end(planned, reason)
    return reason


class _Keeper:
    """Keeps rounds as they end, and passes everything on."""

    def __init__(self, run_id: str, folder: StudyFolder, observer: StudyObserver) -> None:
        self._run_id = run_id
        self._folder = folder
        self._observer = observer

    def on_reply(self, phase: str, arrived: int, asked: int) -> None:
        self._observer.on_reply(phase, arrived, asked)

    def on_round(self, row: RoundRow) -> None:
        self._folder.add_row(self._run_id, row)
        self._observer.on_round(row)


def _plain(settings: RunSettings) -> dict[str, Any]:
    """Return settings as JSON values."""
    values: dict[str, Any] = json.loads(settings.to_json())
    return values
