# SPDX-License-Identifier: Apache-2.0
"""The charts of a set of runs: one function each, from rows to axes.

Where a chart is put, and on what ground, is `plots`' business. Invariant: a chart uses only the
axes and colours it is given, and the runs appear in their order and in one colour each on all
charts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, MaxNLocator, PercentFormatter

from fl_deepcabac.experiments.rows import HEADER_LAYER, RoundRow, Totals
from fl_deepcabac.experiments.summary import format_bytes

__all__ = ["CHARTS", "DARK", "LIGHT", "Chart", "Runs", "Theme"]

# More than so many would merge into a band, or into one another.
MARKED_ROUNDS, READABLE_LAYERS = 30, 12

Runs = Mapping[str, Sequence[RoundRow]]


@dataclass(frozen=True)
class Theme:
    """Colours of a chart.

    Parameters
    ----------
    ink, faint : str
        Of text; of the grid and the frame.
    ground : str
        Behind a figure that stands alone; on a page the page shows through.
    baseline : str
        Of the run without a codec.
    runs : tuple of str
        Of the other runs, in turn.
    """

    ink: str
    faint: str
    ground: str
    baseline: str
    runs: tuple[str, ...]

    def colour(self, runs: Runs, label: str) -> str:
        """Return the colour of a run."""
        if runs[label][0].codec == "none":
            return self.baseline
        coded = [name for name, rows in runs.items() if rows[0].codec != "none"]
        return self.runs[coded.index(label) % len(self.runs)]


LIGHT = Theme(
    ink="#1f2933",
    faint="#d5dbe1",
    ground="#ffffff",
    baseline="#7b8794",
    runs=("#0b7285", "#c2570c", "#6741d9", "#2b8a3e", "#c2255c"),
)
DARK = Theme(
    ink="#e4e9ee",
    faint="#3b4754",
    ground="#151b22",
    baseline="#9aa5b1",
    runs=("#3bc9db", "#ffa94d", "#b197fc", "#69db7c", "#f783ac"),
)


@dataclass(frozen=True)
class Chart:
    """One chart.

    Parameters
    ----------
    name : str
        Short, for file names and anchors.
    title : str
        What it shows.
    note : str
        How to read it, in a sentence.
    draw : callable
        Takes axes, runs and theme.
    """

    name: str
    title: str
    note: str
    draw: Callable[[Axes, Runs, Theme], None]


def _legend(axes: Axes, theme: Theme, **place: Any) -> None:
    """Add a legend without a frame, if there is anything to tell apart."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, labelcolor=theme.ink, fontsize=8, **place)


def _rounds_axis(axes: Axes) -> None:
    """Label the lower axis with whole rounds."""
    axes.set_xlabel("round")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _marker(rows: Sequence[RoundRow]) -> str:
    """Mark the rounds where there are few."""
    return "o" if len(rows) <= MARKED_ROUNDS else ""


def _accuracy_axis(axes: Axes) -> None:
    """Label the upright axis with percentages."""
    axes.set_ylabel("test accuracy")
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))


def _percentages(rows: Sequence[RoundRow]) -> list[float]:
    """Return the accuracies; a round without one leaves a gap."""
    return [float("nan") if row.accuracy is None else row.accuracy for row in rows]


def _draw_accuracy(axes: Axes, runs: Runs, theme: Theme) -> None:
    """Accuracy by round."""
    for label, rows in runs.items():
        axes.plot(
            [row.round for row in rows],
            _percentages(rows),
            color=theme.colour(runs, label),
            marker=_marker(rows),
            markersize=3.5,
            label=label,
        )
    _accuracy_axis(axes)
    _rounds_axis(axes)
    _legend(axes, theme, loc="lower right")


def _draw_accuracy_by_bytes(axes: Axes, runs: Runs, theme: Theme) -> None:
    """Accuracy by what has been sent up so far."""
    for label, rows in runs.items():
        axes.plot(
            list(accumulate(row.uplink_packet_bytes for row in rows)),
            _percentages(rows),
            color=theme.colour(runs, label),
            marker=_marker(rows),
            markersize=3.5,
            label=label,
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(EngFormatter(unit="B"))
    axes.set_xlabel("uplink so far, all clients")
    _accuracy_axis(axes)
    _legend(axes, theme, loc="lower center")


def _draw_bytes(axes: Axes, runs: Runs, theme: Theme) -> None:
    """Bytes of each round, up and down."""
    for index, (label, rows) in enumerate(runs.items()):
        rounds = [row.round for row in rows]
        # Dots of equal downlinks fall between one another, so that both are seen.
        dots = (1.5 * index, (1.5, 1.5 * max(1, len(runs) - 1)))
        colour = theme.colour(runs, label)
        up = [row.uplink_packet_bytes for row in rows]
        down = [row.downlink_packet_bytes for row in rows]
        axes.plot(rounds, up, color=colour, label=f"{label}, uplink")
        axes.plot(rounds, down, color=colour, linestyle=dots, label=f"{label}, downlink")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(EngFormatter(unit="B"))
    axes.set_ylabel("bytes per round, all clients")
    _rounds_axis(axes)
    _legend(axes, theme)


def _draw_totals(axes: Axes, runs: Runs, theme: Theme) -> None:
    """Bytes of whole runs, up and down stacked."""
    labels = list(runs)
    totals = [Totals.of(rows) for rows in runs.values()]
    up = [total.uplink_packet_bytes for total in totals]
    down = [total.downlink_packet_bytes for total in totals]
    colours = [theme.colour(runs, label) for label in labels]
    axes.barh(labels, down, height=0.55, color=colours, alpha=0.45)
    axes.barh(labels, up, height=0.55, left=down, color=colours)
    for index, (n_up, n_down) in enumerate(zip(up, down, strict=True)):
        text = f"uplink {format_bytes(n_up)} + downlink {format_bytes(n_down)} (pale)"
        axes.text(0, index - 0.34, text, fontsize=8, color=theme.ink, va="bottom")
    axes.set_ylim(len(labels) - 0.6, -0.75)
    axes.xaxis.set_major_formatter(EngFormatter(unit="B"))
    axes.set_xlabel("whole run, all clients")
    axes.grid(visible=False, axis="y")


def _draw_bits(axes: Axes, runs: Runs, theme: Theme) -> None:
    """Bits per weight of each round, for runs with a codec."""
    for label, rows in runs.items():
        if rows[0].codec != "none":
            bits = [
                float("nan") if row.bits_per_weight is None else row.bits_per_weight for row in rows
            ]
            axes.plot(
                [row.round for row in rows],
                bits,
                color=theme.colour(runs, label),
                marker=_marker(rows),
                markersize=3.5,
                label=label,
            )
    axes.set_ylim(bottom=0)
    axes.set_ylabel("bits per weight (32 uncompressed)")
    _rounds_axis(axes)
    _legend(axes, theme)


def _draw_layers(axes: Axes, runs: Runs, theme: Theme) -> None:
    """Uplink bytes of whole runs by tensor."""
    names = list(dict.fromkeys(name for rows in runs.values() for name in rows[0].layer_bytes))
    height = 0.8 / len(runs)
    for index, (label, rows) in enumerate(runs.items()):
        n_bytes = [sum(row.layer_bytes.get(name, 0) for row in rows) for name in names]
        shown = [(place, n) for place, n in enumerate(n_bytes) if n > 0]
        axes.barh(
            [place + (index - (len(runs) - 1) / 2) * height for place, _ in shown],
            [n for _, n in shown],
            height=height * 0.9,
            color=theme.colour(runs, label),
            label=label,
        )
    axes.set_yticks(range(len(names)), names, fontsize=8 if len(names) <= READABLE_LAYERS else 5)
    # The line below the last tensor is for the legend.
    axes.set_ylim(len(names) + 0.4, -0.6)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(EngFormatter(unit="B"))
    axes.set_xlabel("uplink of the whole run, all clients")
    axes.grid(visible=False, axis="y")
    _legend(axes, theme, loc="lower right", ncols=3)


CHARTS = (
    Chart(
        "accuracy",
        "Accuracy per round",
        "Of the global model, on samples that no client has.",
        _draw_accuracy,
    ),
    Chart(
        "accuracy-by-bytes",
        "Accuracy against uplink bytes",
        "The same accuracies over what the clients had sent by then; further left is cheaper.",
        _draw_accuracy_by_bytes,
    ),
    Chart(
        "bytes",
        "Bytes per round",
        "What all clients together sent (solid) and received (dotted) in each round.",
        _draw_bytes,
    ),
    Chart(
        "totals",
        "Bytes of the whole run",
        "The model travels down uncompressed, twice per round: to be trained and to be judged.",
        _draw_totals,
    ),
    Chart(
        "bits",
        "Bits per weight",
        "Size of the packets of a round, divided by the weights they stand for.",
        _draw_bits,
    ),
    Chart(
        "layers",
        "Uplink bytes per layer",
        f"Summed over rounds and clients; {HEADER_LAYER} is what belongs to no layer.",
        _draw_layers,
    ),
)
