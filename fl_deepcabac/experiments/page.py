# SPDX-License-Identifier: Apache-2.0
"""The report of a run folder: one figure, and one page that needs nothing but itself.

Charts are embedded as SVG in data URIs, each for a light and a dark screen; everything else is text
and tables from an autoescaping template. Invariant: the page is made from ``config.json`` and
``rounds.jsonl`` alone.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from fl_deepcabac.atomic_file import write_atomically
from fl_deepcabac.experiments.charts import CHARTS, DARK, LIGHT, Chart
from fl_deepcabac.experiments.plots import draw_chart, draw_overview
from fl_deepcabac.experiments.rows import HEADER_LAYER, RoundRow, Totals, quotient
from fl_deepcabac.experiments.run_folder import FIGURE_NAME, PAGE_NAME, RunRecord, read_run
from fl_deepcabac.experiments.settings import NATURAL
from fl_deepcabac.experiments.summary import (
    baseline_of,
    format_bytes,
    format_percent,
    format_points,
    format_ratio,
    headline,
)

__all__ = ["render_page", "render_run", "title_of", "title_of_settings"]

_TEMPLATES = Path(__file__).parent / "templates"


def render_run(folder: Path) -> RunRecord:
    """Make figure and page of a run folder anew.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    RunRecord
        What the folder holds.

    Raises
    ------
    RunFolderError
        If it is no run folder.
    OSError
        If a file cannot be read or written.
    """
    record = read_run(folder)
    figure = draw_overview(record.runs, title=title_of(record), subtitle=headline(record.runs))
    write_atomically(folder / FIGURE_NAME, figure)
    write_atomically(folder / PAGE_NAME, render_page(record).encode())
    return record


def title_of(record: RunRecord) -> str:
    """Say in a line what a run folder holds."""
    return title_of_settings(record.config["settings"])


def title_of_settings(settings: Mapping[str, Any]) -> str:
    """Say in a line what is run.

    Parameters
    ----------
    settings : mapping
        The fields of `RunSettings`.

    Returns
    -------
    str
    """
    alpha = settings["alpha"]
    skew = {None: "IID", NATURAL: "natural parts"}.get(alpha) or f"Dirichlet({alpha:g})"
    model = "" if settings["model"] is None else f" ({settings['model']})"
    fraction = (
        "" if settings["fraction"] == 1 else f", {settings['fraction']:.0%} of them per round"
    )
    return (
        f"{settings['task']}{model}, {settings['clients']} clients{fraction}, {skew}, "
        f"{settings['rounds']} rounds, {settings['strategy']}, seed {settings['seed']}"
    )


def render_page(record: RunRecord) -> str:
    """Return the page of a run.

    Parameters
    ----------
    record : RunRecord

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
    environment.filters |= {
        "bytes": format_bytes,
        "percent": format_percent,
        "ratio": format_ratio,
        "bits": lambda bits: "–" if bits is None else f"{bits:.3f}",
    }
    return environment.get_template("report.html.j2").render(
        title=title_of(record),
        # A line must not break between a number and its sign.
        headline=headline(record.runs).replace(" %", "\N{NO-BREAK SPACE}%"),
        runs=record.runs,
        totals={label: Totals.of(rows) for label, rows in record.runs.items()},
        comparisons=_comparisons(record),
        charts=[_chart(chart, record) for chart in CHARTS],
        layers=_layers(record),
        rounds=_rounds(record),
        settings=_settings(record),
        config=record.config,
    )


def _chart(chart: Chart, record: RunRecord) -> dict[str, str]:
    """Draw a chart for both kinds of screen."""
    return {
        "title": chart.title,
        "note": chart.note,
        "light": _data_uri(draw_chart(chart, record.runs, LIGHT)),
        "dark": _data_uri(draw_chart(chart, record.runs, DARK)),
    }


def _data_uri(svg: str) -> str:
    """Pack an SVG document into an address."""
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"


def _comparisons(record: RunRecord) -> list[dict[str, Any]]:
    """Say of each compressed run what it saved and what that cost."""
    baseline = baseline_of(record.runs)
    reference = None if baseline is None else Totals.of(record.runs[baseline])
    found = []
    for label, rows in record.runs.items():
        if label == baseline:
            continue
        totals = Totals.of(rows)
        found.append(
            {
                "label": label,
                "totals": totals,
                "reference": reference,
                "points": format_points(totals.accuracy, reference.accuracy if reference else None),
                "fresh": sum(row.fresh_updates for row in rows),
                "updates": sum(row.clients for row in rows),
                "encode_ms": _mean_ms([row.encode_seconds for row in rows], rows),
                "decode_ms": _mean_ms([row.decode_seconds for row in rows], rows),
            }
        )
    return found


def _mean_ms(seconds: Sequence[float], rows: Sequence[RoundRow]) -> float:
    """Return the milliseconds per update."""
    return 1000 * (quotient(sum(seconds), sum(row.clients - row.failures for row in rows)) or 0.0)


def _layers(record: RunRecord) -> list[dict[str, Any]]:
    """Return the bytes of each tensor in each run, with what they were uncompressed."""
    shapes = {tensor["name"]: tensor["shape"] for tensor in record.config["model"]}
    names = [*shapes, HEADER_LAYER]
    return [
        {
            "name": name,
            "shape": " x ".join(map(str, shapes.get(name, []))),
            "n_weights": math.prod(shapes[name]) if name in shapes else None,
            "runs": {
                label: _layer(name, rows, math.prod(shapes.get(name, [0])))
                for label, rows in record.runs.items()
            },
        }
        for name in names
    ]


def _layer(name: str, rows: Sequence[RoundRow], n_weights: int) -> dict[str, Any]:
    """Return what one tensor cost in one run."""
    n_bytes = sum(row.layer_bytes.get(name, 0) for row in rows)
    n_updates = sum(row.clients - row.failures for row in rows)
    return {
        "bytes": n_bytes,
        "share": quotient(n_bytes, sum(row.uplink_packet_bytes for row in rows)),
        "bits": quotient(8 * n_bytes, n_weights * n_updates),
    }


def _rounds(record: RunRecord) -> list[tuple[int, list[RoundRow | None]]]:
    """Line up the rows of all runs by round."""
    by_round = {label: {row.round: row for row in rows} for label, rows in record.runs.items()}
    numbers = sorted({number for rows in by_round.values() for number in rows})
    return [(number, [rows.get(number) for rows in by_round.values()]) for number in numbers]


def _settings(record: RunRecord) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return everything that was set, in groups of name and value."""
    config = record.config
    groups = [
        ("Run", _pairs(config["settings"])),
        ("Training on each client", _pairs(config["training"])),
    ]
    groups += [
        (f"Codec of “{run['label']}”", _pairs({"codec": run["codec"], **run["codec_settings"]}))
        for run in config["runs"]
    ]
    made_with = config["versions"] | config.get("machine", {})
    return [*groups, ("Made with", _pairs(made_with))]


def _pairs(values: dict[str, Any]) -> list[tuple[str, str]]:
    """Write names and values for people; what was left to its default says nothing."""
    return [
        (name.replace("_", " "), str(value).lower() if isinstance(value, bool) else str(value))
        for name, value in values.items()
        if value is not None
    ]
