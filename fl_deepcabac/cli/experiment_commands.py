# SPDX-License-Identifier: Apache-2.0
"""The command for studies: ``experiment``."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from fl_deepcabac.cli.arguments import PROGRAM
from fl_deepcabac.cli.comparison_commands import report_comparison
from fl_deepcabac.cli.run_commands import RUN_PACKAGES, require_packages
from fl_deepcabac.errors import DeepCabacError
from fl_deepcabac.experiments.environment import quiet_environment
from fl_deepcabac.experiments.study import read_study

__all__ = ["RunsFailedError", "experiment"]

# What `--list` says of a run's status.
_MARKS = {"finished": "done", "failed": "failed", None: "to do"}


class RunsFailedError(DeepCabacError, RuntimeError):
    """Some runs of a study failed; the others are kept."""


def experiment(arguments: argparse.Namespace, console: Console) -> None:
    """Run what is left of a study, and make its report.

    Parameters
    ----------
    arguments : Namespace
        Of ``experiment``.
    console : Console
        For progress and results.

    Raises
    ------
    RunsFailedError
        In the end, if runs failed.
    """
    study = read_study(arguments.file)
    folder = arguments.out or Path("runs") / arguments.file.stem
    require_packages(RUN_PACKAGES)
    quiet_environment()
    with console.status("loading torch, Flower and the data"):
        from fl_deepcabac.experiments.study_folder import StudyFolder  # noqa: PLC0415 (slow)
        from fl_deepcabac.experiments.study_progress import StudyProgress  # noqa: PLC0415
        from fl_deepcabac.experiments.study_runner import build_codecs, run_study  # noqa: PLC0415
    if arguments.list:
        kept = StudyFolder(folder) if StudyFolder.is_one(folder) else None
        for run in study.runs:
            mark = _MARKS[kept.status(run.run_id) if kept else None]
            console.print(f"{mark:6}  {run.run_id}", markup=False, highlight=False, soft_wrap=True)
        build_codecs(study)
        return
    # What cannot be run leaves no folder.
    build_codecs(study)
    try:
        with StudyProgress(console, study) as progress:
            kept = StudyFolder(folder)
            kept.keep_study(arguments.file.stem, arguments.file.read_text(encoding="utf-8"))
            outcome = run_study(study, kept, progress)
    except KeyboardInterrupt:
        again = f"{PROGRAM} experiment {arguments.file} --out {folder}"
        raise KeyboardInterrupt(f"interrupted; {again} goes on with the run at work") from None
    text = f"{outcome.n_run} runs done, {outcome.n_skipped} done before; {folder}"
    console.print(text, markup=False, highlight=False, soft_wrap=True)
    if outcome.n_run + outcome.n_skipped > len(outcome.failures):
        report_comparison([folder], None, console)
    if outcome.failures:
        run_id, reason = next(iter(outcome.failures.items()))
        raise RunsFailedError(
            f"expected all runs to end well, found {len(outcome.failures)} that failed; the first, "
            f"{run_id}: {reason}"
        )
