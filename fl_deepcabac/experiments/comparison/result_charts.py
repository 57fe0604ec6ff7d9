# SPDX-License-Identifier: Apache-2.0
"""Charts of what came out in the end: size against accuracy, and which layers the bytes are of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullFormatter, PercentFormatter

from fl_deepcabac.experiments.comparison.curves import layer_shares, least_on_scale
from fl_deepcabac.experiments.comparison.grouping import Setting
from fl_deepcabac.experiments.comparison.labels import Box, beside_points, shorten, text_width
from fl_deepcabac.experiments.comparison.measures import Summary, summarise
from fl_deepcabac.experiments.comparison.panel import (
    LABEL_SIZE,
    LINE,
    POINTS_PER_INCH,
    Label,
    Panel,
)
from fl_deepcabac.experiments.comparison.styles import N_LAYER_COLOURS
from fl_deepcabac.experiments.rows import HEADER_LAYER
from fl_deepcabac.experiments.summary import format_bytes

__all__ = ["draw_layers", "draw_trade_off", "height_of_layers", "height_of_trade_off"]

Point = tuple[float, float]

_FADED = 0.42
_ROW = 17.0
_LEGEND_LINE = 12.0
_OTHER_LAYERS = "other layers"
# A smaller part of a bar is no more than a line.
_VISIBLE_SHARE = 0.01


def height_of_trade_off(setting: Setting) -> float:
    """Return the height of the panel of `draw_trade_off`."""
    return max(200.0, 23.0 * len(setting.codecs)) + 42


def draw_trade_off(panel: Panel, setting: Setting) -> None:
    """Draw final accuracy by bytes of the whole run."""
    lines = [line for line in summarise(setting) if line.accuracy is not None]
    axes = panel.axes(left=44, right=12, bottom=36, top=8)
    axes.set_xscale("log")
    axes.set_xlabel("uplink of the whole run, all clients")
    axes.set_ylabel("final test accuracy")
    axes.xaxis.set_major_locator(LogLocator(numticks=6))
    axes.xaxis.set_major_formatter(EngFormatter(unit="B"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=None))
    if not lines:
        return
    floor = _limit(axes, lines)
    front = _draw_front(panel, axes, lines, floor)
    # What matters most gets the best place.
    lines.sort(key=lambda line: (not line.runs.is_ours, not line.is_on_front))
    labels = [_draw_point(panel, axes, line, floor) for line in lines]
    sizes = [
        (text_width(label.text, LABEL_SIZE, label.style.weight), LINE * 0.9) for label in labels
    ]
    area = Box(2, 2, axes.bbox.width + 8, axes.bbox.height + 2)
    points = [panel.place(axes, label) for label in labels]
    lines_drawn = [_hull(axes, *segment) for segment in (*front, *map(_bar, lines))]
    places = beside_points(points, sizes, area, obstacles=lines_drawn)
    panel.beside(axes, labels, places)


def _limit(axes: Axes, lines: Sequence[Summary]) -> float:
    """Set limits; return the least accuracy that is drawn in its place."""
    spreads = [line.accuracy for line in lines if line.accuracy is not None]
    least = least_on_scale([spread.mean for spread in spreads])
    shown = [spread for spread in spreads if spread.mean >= least]
    low, high = min(spread.low for spread in shown), max(spread.high for spread in shown)
    pad = 0.12 * (high - low) or 0.01
    axes.set_ylim(low - pad, high + pad)
    n_bytes = [line.uplink_bytes.mean for line in lines if line.uplink_bytes.mean > 0] or [1.0]
    axes.set_xlim(min(n_bytes) / 1.7, max(n_bytes) * 1.7)
    return least


def _draw_front(
    panel: Panel, axes: Axes, lines: Sequence[Summary], floor: float
) -> list[tuple[Point, Point]]:
    """Draw what can be had: for each size, the best accuracy at that size or a smaller one.

    Returns the segments of the line.
    """
    points = sorted(
        (line.uplink_bytes.mean, line.accuracy.mean)
        for line in lines
        if line.is_on_front and line.accuracy is not None and line.accuracy.mean >= floor
    )
    points.append((axes.get_xlim()[1], points[-1][1]))
    axes.plot(
        [x for x, _ in points],
        [y for _, y in points],
        drawstyle="steps-post",
        color=panel.palette.soft,
        linewidth=0.9,
        zorder=1.6,
    )
    corners = [points[0]]
    for x, y in points[1:]:
        corners += [(x, corners[-1][1]), (x, y)]
    return list(pairwise(corners))


def _bar(line: Summary) -> tuple[Point, Point]:
    """Return the ends of what is drawn for the spread over seeds."""
    assert line.accuracy is not None
    x = line.uplink_bytes.mean
    return (x, line.accuracy.low), (x, line.accuracy.high)


def _hull(axes: Axes, one: Point, other: Point) -> Box:
    """Return the box round an upright or level line, in points from the corner of the axes."""
    (left, low), (right, high) = axes.transData.transform((one, other)) - axes.bbox.p0
    return Box(min(left, right) - 1, min(low, high) - 1, abs(right - left) + 2, abs(high - low) + 2)


def _draw_point(panel: Panel, axes: Axes, line: Summary, floor: float) -> Label:
    """Draw one codec with its spread over seeds; return what is written beside it."""
    assert line.accuracy is not None
    style = panel.styles[line.label]
    spread, x = line.accuracy, line.uplink_bytes.mean
    is_off = spread.mean < floor
    y = axes.get_ylim()[0] if is_off else spread.mean
    colour = panel.colour(style)
    alpha = 1.0 if line.is_on_front else _FADED
    if not is_off:
        axes.plot(
            [x, x],
            [spread.low, spread.high],
            color=colour,
            linewidth=1.2,
            alpha=alpha,
            zorder=style.zorder,
            gid=panel.gid(style, "spread"),
        )
    axes.plot(
        [x],
        [y],
        linestyle="",
        marker=style.marker,
        markersize=style.marker_size + (3 if not style.is_quiet else 1.5),
        markeredgewidth=0.5,
        markeredgecolor=panel.palette.ground,
        color=colour,
        alpha=alpha,
        clip_on=False,
        zorder=style.zorder,
        gid=panel.gid(style, "point"),
    )
    suffix = f" ({spread.mean:.0%} ↓)" if is_off else ""
    room = panel.label_width - 10 - text_width(suffix, LABEL_SIZE, style.weight)
    return Label(shorten(line.label, LABEL_SIZE, room, style.weight) + suffix, style, x, y)


def height_of_layers(setting: Setting) -> float:
    """Return the height of the panel of `draw_layers`."""
    shares = _shares(summarise(setting))
    return _ROW * max(1, len(shares)) + 34 + _legend_height(_shown_layers(shares))


def draw_layers(panel: Panel, setting: Setting) -> None:
    """Draw the parts of the uplink by layer, one bar a codec."""
    summaries = summarise(setting)
    shares = _shares(summaries)
    shown = _shown_layers(shares)
    names = [shorten(label, LABEL_SIZE, 112, panel.styles[label].weight) for label in shares]
    widest = max((text_width(name, LABEL_SIZE, "bold") for name in names), default=0.0)
    axes = panel.axes(left=widest + 8, right=46, bottom=34, top=_legend_height(shown))
    axes.set_xlim(0, 1)
    axes.set_ylim(max(1, len(shares)) - 0.4, -0.6)
    axes.grid(visible=False)
    axes.xaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    axes.xaxis.set_major_locator(MaxNLocator(2))
    axes.set_xlabel("part of the uplink (right: bytes)")
    axes.set_yticks(range(len(names)), names)
    colours = dict(zip(shown, _layer_colours(panel, shown), strict=True))
    n_bytes = {line.label: line.uplink_bytes.mean for line in summaries}
    for row, (label, parts) in enumerate(shares.items()):
        style = panel.styles[label]
        tick = axes.get_yticklabels()[row]
        tick.set_color(panel.colour(style))
        tick.set_fontweight(style.weight)
        _draw_parts(panel, axes, row, _merged(parts, shown), colours)
        text = format_bytes(n_bytes[label])
        ink = panel.palette.ink
        axes.text(1.03, row, text, fontsize=LABEL_SIZE, color=ink, va="center_baseline")
    _legend(panel, colours)


def _draw_parts(
    panel: Panel, axes: Axes, row: int, parts: Mapping[str, float], colours: Mapping[str, str]
) -> None:
    """Draw the bar of one codec."""
    left = 0.0
    for name, share in parts.items():
        axes.barh(
            row,
            share,
            left=left,
            height=0.74,
            color=colours[name],
            edgecolor=panel.palette.ground,
            linewidth=0.5,
        )
        left += share


def _legend_height(shown: Sequence[str]) -> float:
    return _LEGEND_LINE * ((len(shown) + 1) // 2) + 8


def _legend(panel: Panel, colours: Mapping[str, str]) -> None:
    """Name the colours above the bars, in two columns."""
    width, height = (side * POINTS_PER_INCH for side in panel.figure.get_size_inches())
    handles = [Patch(color=colour) for colour in colours.values()]
    names = [shorten(name, LABEL_SIZE, 100) for name in colours]
    panel.figure.legend(
        handles,
        names,
        loc="upper left",
        bbox_to_anchor=(
            panel.box.left / width,
            (panel.box.bottom + panel.box.height) / height,
        ),
        ncols=2,
        frameon=False,
        fontsize=LABEL_SIZE,
        labelcolor=panel.palette.ink,
        handlelength=0.9,
        handleheight=0.9,
        borderaxespad=0,
        borderpad=0,
        labelspacing=0.3,
    )


def _shares(summaries: Sequence[Summary]) -> dict[str, dict[str, float]]:
    """Return the parts of each layer for the codecs that tell layers apart."""
    found = {line.label: layer_shares(line.runs) for line in summaries}
    return {label: parts for label, parts in found.items() if parts}


def _shown_layers(shares: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Return the layers with the largest part in any codec, in the model's order, then the rest."""
    largest: dict[str, float] = {}
    for parts in shares.values():
        for name, share in parts.items():
            largest[name] = max(share, largest.get(name, 0.0))
    layers = [name for name in largest if name != HEADER_LAYER]
    top = sorted(layers, key=lambda name: -largest[name])[:N_LAYER_COLOURS]
    top = [name for name in top if largest[name] >= _VISIBLE_SHARE]
    shown = [name for name in layers if name in top]
    if len(layers) > len(shown):
        shown.append(_OTHER_LAYERS)
    return [*shown, HEADER_LAYER] if largest.get(HEADER_LAYER) else shown


def _merged(parts: Mapping[str, float], shown: Sequence[str]) -> dict[str, float]:
    """Return the part of each layer that is shown; those that are not are one."""
    merged = {name: parts.get(name, 0.0) for name in shown}
    if _OTHER_LAYERS in merged:
        merged[_OTHER_LAYERS] = sum(share for name, share in parts.items() if name not in shown)
    return merged


def _layer_colours(panel: Panel, shown: Sequence[str]) -> list[str]:
    """Return a colour for each layer, and leave out every other one where there are few."""
    colours = panel.palette.layers
    last = {_OTHER_LAYERS: colours[-2], HEADER_LAYER: colours[-1]}
    n_layers = sum(name not in last for name in shown)
    step = min(2.0, (N_LAYER_COLOURS - 1) / max(1, n_layers - 1))
    return [last.get(name) or colours[round(index * step)] for index, name in enumerate(shown)]
