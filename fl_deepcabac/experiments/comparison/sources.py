# SPDX-License-Identifier: Apache-2.0
"""Finished runs, read from folders of studies, of single runs, and from tables of results alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fl_deepcabac.experiments.results_table import read_results
from fl_deepcabac.experiments.rows import RoundRow
from fl_deepcabac.experiments.run_folder import CONFIG_NAME, RunFolderError, read_run
from fl_deepcabac.experiments.study_folder import FinishedRun, StudyFolder

__all__ = ["read_runs"]


def read_runs(folders: Sequence[Path]) -> list[FinishedRun]:
    """Read all runs that have ended.

    Parameters
    ----------
    folders : sequence of Path
        Of studies, or as ``simulate`` writes them; or the ``results.csv`` of a study.

    Returns
    -------
    list of FinishedRun

    Raises
    ------
    RunFolderError
        If a folder is neither, or a file in it does not hold what it should.
    OSError
        If a file cannot be read.
    """
    runs: list[FinishedRun] = []
    for folder in folders:
        if folder.is_file():
            runs += read_results(folder)
        elif StudyFolder.is_one(folder):
            runs += StudyFolder(folder).runs()
        elif (folder / CONFIG_NAME).is_file():
            runs += _runs_of_simulation(folder)
        else:
            raise RunFolderError(
                f"{folder}: expected the folder of a study or, with {CONFIG_NAME}, of a run, or a "
                "table of results, found "
                f"{'another folder' if folder.is_dir() else 'none'}"
            )
    return runs


def _runs_of_simulation(folder: Path) -> Iterator[FinishedRun]:
    """Yield the runs of one run folder, described as those of a study are."""
    record = read_run(folder)
    for run in record.config["runs"]:
        rows: list[RoundRow] = record.runs.get(run["label"], [])
        about: dict[str, Any] = {
            "run_id": f"{folder.resolve().name}/{run['label']}",
            "case": "",
            "label": run["label"],
            "settings": record.config["settings"],
            "codec": run["codec"],
            "codec_settings": run["codec_settings"],
            # Whether all rounds are there is looked at by whoever averages.
            "status": "finished",
            "reason": None,
            "versions": record.config["versions"],
            "machine": record.config.get("machine", {}),
        }
        yield FinishedRun(about, rows)
