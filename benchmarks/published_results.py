# SPDX-License-Identifier: Apache-2.0
"""The tables and the figures of docs/results.md, made of the tables of rounds beside it.

docs/results/NAME.csv holds every round of every run that is published. Between the lines

    <!-- table NAME -->
    <!-- end -->

of the document stands what they come to; a test compares. To publish more runs, add the folders of
studies, whose runs take the place of those of the same id:

    python benchmarks/published_results.py                                  # or make results
    python benchmarks/published_results.py --add fashion-mnist runs/fashion-mnist
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

from fl_deepcabac.atomic_file import write_atomically
from fl_deepcabac.experiments.comparison.figures import CHARTS, draw_files
from fl_deepcabac.experiments.comparison.grouping import Comparison, compare
from fl_deepcabac.experiments.comparison.sources import read_runs
from fl_deepcabac.experiments.comparison.tables import markdown_table
from fl_deepcabac.experiments.study_folder import FinishedRun, table_text

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "results.md"
FOLDER = DOCUMENT.with_suffix("")
_BLOCK = re.compile(r"(<!-- table (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
# The one chart that is shown in the document.
TRADE_OFF = CHARTS[0]


def names() -> list[str]:
    """Return what has a table in the document, in its order."""
    return [match[1] for match in _BLOCK.findall(DOCUMENT.read_text(encoding="utf-8"))]


def csv_path(name: str) -> Path:
    """Return where the rounds of a table are."""
    return FOLDER / f"{name}.csv"


def comparison_of(name: str) -> Comparison:
    """Compare the published runs of a table."""
    return compare(read_runs([csv_path(name)]))


def table_lines(name: str) -> str:
    """Return the rows of a table as the document has them."""
    lines = markdown_table(comparison_of(name)).splitlines()
    return "".join(f"{line}\n" for line in lines if line.startswith("|"))


def document_text() -> str:
    """Return the document with its tables made anew."""
    text = DOCUMENT.read_text(encoding="utf-8")
    return _BLOCK.sub(lambda match: f"{match[1]}{table_lines(match[2])}{match[3]}", text)


def add_runs(name: str, folders: list[Path]) -> None:
    """Put the runs of folders that came to their end into a table of rounds."""
    published = [csv_path(name)] if csv_path(name).exists() else []
    merged = {run.about["run_id"]: run for run in read_runs(published)}
    merged |= {run.about["run_id"]: _without_paths(run) for run in _whole(read_runs(folders))}
    text = table_text(merged[run_id] for run_id in sorted(merged))
    write_atomically(csv_path(name), text.encode())


def _whole(runs: list[FinishedRun]) -> Iterator[FinishedRun]:
    return (run for run in runs if run.is_whole)


def _without_paths(run: FinishedRun) -> FinishedRun:
    """Leave out where data lay and which interpreter was used: of one machine alone."""
    settings = {**run.about["settings"], "data_dir": None}
    codec = dict(run.about["codec_settings"])
    if "python" in codec:
        codec["python"] = None
    return FinishedRun({**run.about, "settings": settings, "codec_settings": codec}, run.rows)


def main() -> None:
    """Write the document and its figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--add", nargs="+", metavar=("NAME", "DIR"), help="publish more runs")
    added = parser.parse_args().add
    if added:
        add_runs(added[0], [Path(folder) for folder in added[1:]])
    text = document_text()
    write_atomically(DOCUMENT, text.encode())
    for name in names():
        path = FOLDER / f"{name}-{TRADE_OFF.name}.svg"
        if path.name in text:
            svg, _ = draw_files(TRADE_OFF, comparison_of(name))
            write_atomically(path, svg.encode())


if __name__ == "__main__":
    main()
