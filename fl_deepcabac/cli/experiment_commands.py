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
from fl_deepcabac.experiments.study import Study, read_study

__all__ = ["RunsFailedError", "experiment"]


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
    if arguments.list:
        _list(study, folder, console)
        return
    require_packages(RUN_PACKAGES)
    quiet_environment()
    with console.status("loading torch, Flower and the data"):
        from fl_deepcabac.experiments.study_folder import StudyFolder  # noqa: PLC0415 (slow)
        from fl_deepcabac.experiments.study_progress import StudyProgress  # noqa: PLC0415
        from fl_deepcabac.experiments.study_runner import run_study  # noqa: PLC0415
    try:
        with StudyProgress(console, study) as progress:
            kept = StudyFolder(folder)
            outcome = run_study(study, kept, progress)
            kept.keep_study(arguments.file.read_text(encoding="utf-8"))
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


def _list(study: Study, folder: Path, console: Console) -> None:
    """Say what would be run."""
    for run in study.runs:
        is_done = (folder / "runs" / run.run_id / "run.json").is_file()
        mark = "done" if is_done else "to do"
        console.print(f"{mark:5}  {run.run_id}", markup=False, highlight=False, soft_wrap=True)
