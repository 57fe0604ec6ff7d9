# SPDX-License-Identifier: Apache-2.0
"""Charts of what happens round by round.

Lines are means over seeds, bands reach from the least to the greatest of them. Invariant: a round
in which a seed has no value is a gap.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import (
    EngFormatter,
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    PercentFormatter,
)

from fl_deepcabac.experiments.comparison.curves import Curve, curve_of, least_on_scale
from fl_deepcabac.experiments.comparison.grouping import Setting
from fl_deepcabac.experiments.comparison.panel import LINE, Label, Panel, column_width
from fl_deepcabac.experiments.comparison.styles import Style
from fl_deepcabac.experiments.rows import RoundRow

__all__ = [
    "draw_accuracy_by_round",
    "draw_accuracy_by_total",
    "draw_accuracy_by_uplink",
    "draw_bits_by_round",
    "height_of_curves",
    "height_of_staircase",
]

_LEFT, _RIGHT, _BOTTOM, _TOP = 44.0, 12.0, 36.0, 8.0
_PLOT_HEIGHT = 160.0
# Marks along a curve, besides that at its end.
_N_MARKS = 4
_LONG_AXIS = 30.0


def height_of_curves(setting: Setting) -> float:
    """Return the height of a panel with labels to the right, which needs a line for each."""
    return max(_PLOT_HEIGHT, LINE * len(setting.codecs)) + _BOTTOM + _TOP


def height_of_staircase(setting: Setting) -> float:
    """Return the height of a panel with labels above."""
    return _PLOT_HEIGHT + LINE * len(setting.codecs) + _BOTTOM + _TOP


def draw_accuracy_by_round(panel: Panel, setting: Setting) -> None:
    """Draw accuracy by round."""
    curves = {runs.label: curve_of(runs, _accuracy) for runs in setting.codecs}
    axes = panel.axes(left=_LEFT, right=column_width(curves, panel), bottom=_BOTTOM, top=_TOP)
    _limit_accuracy(axes, _without_start(curves))
    _limit_rounds(axes, curves)
    panel.right_column(axes, _draw_all(panel, axes, curves))


def draw_accuracy_by_uplink(panel: Panel, setting: Setting) -> None:
    """Draw accuracy by what the clients had sent by then."""
    curves = {
        runs.label: curve_of(runs, _accuracy, cost=lambda row: row.uplink_packet_bytes)
        for runs in setting.codecs
    }
    _draw_by_bytes(panel, curves, curves, "uplink so far, all clients")


def draw_accuracy_by_total(panel: Panel, setting: Setting) -> None:
    """Draw accuracy by what had been sent in both directions by then."""
    curves = {runs.label: curve_of(runs, _accuracy, cost=_all_bytes) for runs in setting.codecs}
    _draw_by_bytes(panel, curves, _without_start(curves), "uplink and downlink so far, all clients")


def draw_bits_by_round(panel: Panel, setting: Setting) -> None:
    """Draw bits per weight by round."""
    curves = {
        runs.label: curve_of(runs, lambda row: row.bits_per_weight) for runs in setting.codecs
    }
    axes = panel.axes(left=_LEFT, right=column_width(curves, panel), bottom=_BOTTOM, top=_TOP)
    values = np.concatenate([(curve.low, curve.high) for curve in curves.values()], axis=None)
    values = values[np.isfinite(values) & (values > 0)]
    axes.set_yscale("log")
    if values.size:
        axes.set_ylim(values.min() / 1.2, values.max() * 1.2)
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 3.0), numticks=12))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylabel("bits per weight")
    _limit_rounds(axes, curves)
    panel.right_column(axes, _draw_all(panel, axes, curves))


def _draw_by_bytes(
    panel: Panel, curves: Mapping[str, Curve], shown: Mapping[str, Curve], axis_label: str
) -> None:
    """Draw accuracies by bytes; the axes are made for those that are shown."""
    top = LINE * len(curves) + _TOP
    axes = panel.axes(left=_LEFT, right=_RIGHT, bottom=_BOTTOM, top=top)
    _limit_accuracy(axes, shown)
    axes.set_xscale("log")
    spent = np.concatenate([curve.x for curve in shown.values()])
    spent = spent[spent > 0]
    if spent.size:
        axes.set_xlim(spent.min() / 1.1, spent.max() * 1.1)
    axes.xaxis.set_major_locator(LogLocator(subs=_ticks_between(axes), numticks=6))
    axes.xaxis.set_major_formatter(EngFormatter(unit="B"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(axis_label)
    panel.staircase(axes, _draw_all(panel, axes, curves), room=_LEFT - 6)


def _ticks_between(axes: Axes) -> tuple[float, ...]:
    """Return the multiples of powers of ten that are marked: more, the shorter the axis."""
    low, high = axes.get_xlim()
    return (1.0,) if high > _LONG_AXIS * low else (1.0, 2.0, 5.0)


def _without_start(curves: Mapping[str, Curve]) -> dict[str, Curve]:
    """Leave out the first quarter, where all curves are one steep line."""
    return {
        label: Curve(*(values[len(values) // 4 :] for values in (c.x, c.mean, c.low, c.high)))
        for label, c in curves.items()
    }


def _draw_all(panel: Panel, axes: Axes, curves: Mapping[str, Curve]) -> list[Label]:
    """Draw curves, and return labels for the ends of those that have one."""
    labels = []
    for index, (label, curve) in enumerate(curves.items()):
        style = panel.styles[label]
        _draw(panel, axes, curve, style, offset=index)
        defined = np.flatnonzero(np.isfinite(curve.mean))
        if defined.size:
            last = defined[-1]
            labels.append(Label(label, style, float(curve.x[last]), float(curve.mean[last])))
    return labels


def _draw(panel: Panel, axes: Axes, curve: Curve, style: Style, *, offset: int) -> None:
    """Draw one curve with its band; marks are staggered, so that they do not hide one another."""
    colour = panel.colour(style)
    every = max(1, len(curve.x) // _N_MARKS)
    marks = sorted({*range(offset % every, len(curve.x), every), len(curve.x) - 1})
    axes.plot(
        curve.x,
        curve.mean,
        color=colour,
        linewidth=style.line_width,
        linestyle=(0, (4, 1.6)) if style.is_dashed else "-",
        marker=style.marker,
        markersize=style.marker_size,
        markeredgewidth=0.4,
        markeredgecolor=panel.palette.ground,
        markevery=marks,
        alpha=0.8 if style.is_quiet else 1.0,
        zorder=style.zorder,
        gid=panel.gid(style, "line"),
    )
    if np.nanmax(curve.high - curve.low, initial=0.0) > 0:
        axes.fill_between(
            curve.x,
            curve.low,
            curve.high,
            color=colour,
            alpha=0.13 if style.is_quiet else 0.2,
            linewidth=0,
            zorder=style.zorder - 1,
            gid=panel.gid(style, "band"),
        )


def _accuracy(row: RoundRow) -> float | None:
    return row.accuracy


def _all_bytes(row: RoundRow) -> int:
    return row.uplink_packet_bytes + row.downlink_packet_bytes


def _limit_accuracy(axes: Axes, curves: Mapping[str, Curve]) -> None:
    """Set the limits so that all accuracies of these curves are in sight, but of those diverged."""
    ends = [float(curve.mean[-1]) for curve in curves.values() if np.isfinite(curve.mean[-1])]
    least = least_on_scale(ends) if ends else -np.inf
    shown = [curve for curve in curves.values() if not curve.mean[-1] < least]
    values = np.concatenate([(curve.low, curve.high) for curve in shown], axis=None)
    values = values[np.isfinite(values)]
    if values.size:
        pad = 0.04 * float(values.max() - values.min()) or 0.01
        axes.set_ylim(values.min() - pad, values.max() + pad)
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=None))
    axes.set_ylabel("test accuracy")


def _limit_rounds(axes: Axes, curves: Mapping[str, Curve]) -> None:
    last = max(float(curve.x[-1]) for curve in curves.values())
    axes.set_xlim(0.5, last + 0.02 * last)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
    axes.set_xlabel("round")
