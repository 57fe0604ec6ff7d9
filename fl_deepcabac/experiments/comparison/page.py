# SPDX-License-Identifier: Apache-2.0
"""The report of a comparison: a page that needs nothing but itself, charts and tables as files.

Everything is made from the folders of runs alone and can be made again. Invariant: equal runs give
equal bytes.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from fl_deepcabac.atomic_file import write_atomically
from fl_deepcabac.experiments.comparison.figures import CHARTS, Chart, draw_files, draw_for_page
from fl_deepcabac.experiments.comparison.grouping import Comparison, compare
from fl_deepcabac.experiments.comparison.measures import summarise
from fl_deepcabac.experiments.comparison.sources import read_runs
from fl_deepcabac.experiments.comparison.styles import DARK, LIGHT, styles_of
from fl_deepcabac.experiments.comparison.tables import COLUMNS, csv_table, markdown_table
from fl_deepcabac.experiments.comparison.words import find
from fl_deepcabac.experiments.run_folder import PAGE_NAME
from fl_deepcabac.experiments.study_folder import StudyFolder

__all__ = [
    "CSV_NAME",
    "FIGURES_NAME",
    "MARKDOWN_NAME",
    "findings_of",
    "render_comparison",
    "write_comparison",
]

CSV_NAME: Final = "summary.csv"
MARKDOWN_NAME: Final = "summary.md"
FIGURES_NAME: Final = "figures"
_TEMPLATES = Path(__file__).parents[1] / "templates"
_TITLE: Final = "Codecs for federated updates compared"
_NO_BREAK = "\N{NO-BREAK SPACE}"


def write_comparison(folders: Sequence[Path], out: Path) -> Comparison:
    """Compare the runs of folders, and write page, figures and tables.

    Parameters
    ----------
    folders : sequence of Path
        Of studies, or as ``simulate`` writes them.
    out : Path
        Folder to write to; made if missing.

    Returns
    -------
    Comparison

    Raises
    ------
    RunFolderError
        If a folder holds no runs, or damaged ones.
    ComparisonError
        If no run came to its end.
    OSError
        If a file cannot be read or written.
    """
    comparison = compare(read_runs(folders))
    figures = out / FIGURES_NAME
    figures.mkdir(parents=True, exist_ok=True)
    for chart in CHARTS:
        svg, png = draw_files(chart, comparison)
        write_atomically(figures / f"{chart.name}.svg", svg.encode())
        write_atomically(figures / f"{chart.name}.png", png)
    write_atomically(out / CSV_NAME, csv_table(comparison).encode())
    write_atomically(out / MARKDOWN_NAME, markdown_table(comparison).encode())
    page = render_comparison(comparison, title=_title(folders), commands=_commands(folders, out))
    write_atomically(out / PAGE_NAME, page.encode())
    return comparison


def findings_of(comparison: Comparison) -> list[str]:
    """State what came out of each setting, in a line each."""
    lines = []
    for setting in comparison.settings:
        finding = find(setting, summarise(setting))
        lines.append(f"{setting.title}: {finding.subject}: {finding.text}")
    return lines


def render_comparison(
    comparison: Comparison, *, title: str = "", commands: Sequence[str] = ()
) -> str:
    """Return the page of a comparison.

    Parameters
    ----------
    comparison : Comparison
    title : str
        Of the studies; a general one if empty.
    commands : sequence of str
        That make it again.

    Returns
    -------
    str
        An HTML document without references to anything outside it.
    """
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # A line must not break between a number and its sign.
    environment.filters["unbroken"] = lambda text: text.replace(" %", f"{_NO_BREAK}%").replace(
        " ± ", f"{_NO_BREAK}±{_NO_BREAK}"
    )
    studies = []
    for setting in comparison.settings:
        lines = summarise(setting)
        studies.append({"setting": setting, "lines": lines, "finding": find(setting, lines)})
    return environment.get_template("comparison.html.j2").render(
        comparison=comparison,
        title=title or _TITLE,
        studies=studies,
        styles=styles_of(comparison),
        columns=COLUMNS,
        charts=[_chart(chart, comparison) for chart in CHARTS],
        described=_described(comparison),
        light=LIGHT.named(),
        dark=DARK.named(),
        commands=commands,
    )


def _chart(chart: Chart, comparison: Comparison) -> dict[str, Any]:
    """Draw a chart for all settings."""
    panels = [
        {
            "title": setting.title,
            "svg": draw_for_page(chart, comparison, setting, f"{chart.name}-{index}"),
        }
        for index, setting in enumerate(comparison.settings)
    ]
    return {"name": chart.name, "title": chart.title, "note": chart.note, "panels": panels}


def _described(comparison: Comparison) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return everything that was set, in groups of name and value."""
    groups = [
        (setting.title, _pairs({"alpha": "iid", **setting.values}))
        for setting in comparison.settings
    ]
    codecs = {runs.label: runs for setting in comparison.settings for runs in setting.codecs}
    groups += [
        (f"Codec {label}", _pairs({"codec": codecs[label].codec, **codecs[label].codec_settings}))
        for label in comparison.labels
    ]
    made_with = {name: ", ".join(found) for name, found in comparison.made_with.items()}
    return [*groups, ("Made with", _pairs(made_with))]


def _pairs(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Write names and values for people; what was left to its default says nothing."""
    return [
        (name.replace("_", " "), str(value).lower() if isinstance(value, bool) else str(value))
        for name, value in values.items()
        if value is not None
    ]


def _title(folders: Sequence[Path]) -> str:
    """Return what the studies are called, each name once."""
    titles = [
        title
        for folder in folders
        if StudyFolder.is_one(folder)
        for title in StudyFolder(folder).titles()
    ]
    return "; ".join(dict.fromkeys(titles))


def _commands(folders: Sequence[Path], out: Path) -> list[str]:
    """Say how to get the runs and the page again."""
    lines = [
        f"fl-deepcabac experiment {shlex.quote(path.as_posix())} --out NEW_FOLDER"
        for folder in folders
        if StudyFolder.is_one(folder)
        for path in StudyFolder(folder).studies()
    ]
    names = " ".join(shlex.quote(folder.as_posix()) for folder in folders)
    place = "" if out == folders[0] else f" --out {shlex.quote(out.as_posix())}"
    return [*lines, f"fl-deepcabac report {names}{place}"]
