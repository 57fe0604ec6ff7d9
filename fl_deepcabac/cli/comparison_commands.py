# SPDX-License-Identifier: Apache-2.0
"""Comparisons of studies and runs, for the commands ``report`` and ``experiment``.

Invariant: the page of a run is never replaced by a comparison.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from fl_deepcabac.cli.arguments import PROGRAM
from fl_deepcabac.experiments.run_folder import CONFIG_NAME, PAGE_NAME, RunFolderError
from fl_deepcabac.experiments.study_folder import StudyFolder

__all__ = ["is_comparison", "report_comparison"]


def is_comparison(folders: Sequence[Path], out: Path | None) -> bool:
    """Say whether more is asked for than the page of one run."""
    return (
        len(folders) > 1
        or out is not None
        or StudyFolder.is_one(folders[0])
        or folders[0].is_file()
    )


def report_comparison(folders: Sequence[Path], out: Path | None, console: Console) -> None:
    """Compare all finished runs of folders, and say what came out.

    Parameters
    ----------
    folders : sequence of Path
        Of studies, or as ``simulate`` writes them; or tables of results.
    out : Path or None
        Folder to write to; None takes the first folder.
    console : Console
        For the findings and the names of the files.

    Raises
    ------
    RunFolderError
        If a folder is of neither kind or damaged, or the report would go into the folder of a run.
    ComparisonError
        If no run came to its end.
    OSError
        If a file cannot be read or written.
    """
    target = folders[0] if out is None else out
    if target.is_file():
        raise RunFolderError(
            f"{target}: expected a folder for the comparison, found a file; "
            f"{PROGRAM} report results.csv --out DIR names one"
        )
    if (target / CONFIG_NAME).exists():
        raise RunFolderError(
            f"{target}: expected a folder for the comparison, found that of a run; "
            f"{PROGRAM} report DIR... --out DIR names another"
        )
    with console.status("drawing"):
        from fl_deepcabac.experiments.comparison.page import (  # noqa: PLC0415 (slow to load)
            CSV_NAME,
            FIGURES_NAME,
            MARKDOWN_NAME,
            findings_of,
            write_comparison,
        )

        comparison = write_comparison(folders, target)
    lines = [f"note: {note}" for note in comparison.notes]
    lines += [f"  {target / name}" for name in (FIGURES_NAME, CSV_NAME, MARKDOWN_NAME, PAGE_NAME)]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    for finding in findings_of(comparison):
        console.print(finding, markup=False, highlight=False, soft_wrap=True, style="bold")
