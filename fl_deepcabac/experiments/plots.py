# SPDX-License-Identifier: Apache-2.0
"""Charts as files: all of them on one PNG, or each as an SVG for a light or a dark page.

Invariant: equal rows give equal bytes, and matplotlib's global state stays as it was.
"""

from __future__ import annotations

import io

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fl_deepcabac.experiments.charts import CHARTS, LIGHT, Chart, Runs, Theme

__all__ = ["draw_chart", "draw_overview"]


def draw_chart(chart: Chart, runs: Runs, theme: Theme) -> str:
    """Draw one chart as SVG with a transparent ground.

    Parameters
    ----------
    chart : Chart
        One of `CHARTS`.
    runs : mapping of str to sequence of RoundRow
        Non-empty runs by label.
    theme : Theme

    Returns
    -------
    str
        An SVG document.
    """
    with mpl.rc_context({"svg.hashsalt": chart.name, "font.size": 9}):
        figure = Figure(figsize=(4.3, 3.0), layout="constrained")
        axes = figure.add_subplot()
        _set_up(axes, theme)
        chart.draw(axes, runs, theme)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return buffer.getvalue()


def draw_overview(runs: Runs, *, title: str, subtitle: str) -> bytes:
    """Draw all charts on one figure.

    Parameters
    ----------
    runs : mapping of str to sequence of RoundRow
        Non-empty runs by label.
    title, subtitle : str
        Above the charts: what was run, and what came out.

    Returns
    -------
    bytes
        A PNG.
    """
    with mpl.rc_context({"font.size": 9}):
        figure = Figure(figsize=(13.5, 7.6), layout="constrained", facecolor=LIGHT.ground)
        figure.suptitle(f"{title}\n{subtitle}", fontsize=11, color=LIGHT.ink)
        for axes, chart in zip(figure.subplots(2, 3).flat, CHARTS, strict=True):
            _set_up(axes, LIGHT)
            axes.set_title(chart.title, fontsize=10, fontweight="bold", loc="left", color=LIGHT.ink)
            chart.draw(axes, runs, LIGHT)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=130)
    return buffer.getvalue()


def _set_up(axes: Axes, theme: Theme) -> None:
    """Give the axes the colours of the theme and a quiet frame."""
    axes.set_facecolor("none")
    axes.tick_params(which="both", colors=theme.ink, length=0)
    axes.grid(visible=True, color=theme.faint, linewidth=0.6)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(theme.faint)
    axes.xaxis.label.set_color(theme.ink)
    axes.yaxis.label.set_color(theme.ink)
