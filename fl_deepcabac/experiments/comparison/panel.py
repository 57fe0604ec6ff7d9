# SPDX-License-Identifier: Apache-2.0
"""A rectangle on a figure that one chart of one setting is drawn on, and how labels stand in it.

A page has one figure a panel; a file has all panels of a chart on one figure. Lengths are in
points, so that labels can be kept apart without drawing first. Invariant: figures have 72 dots an
inch, and limits of axes are set before anything is placed by them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fl_deepcabac.experiments.comparison.labels import Box, shorten, spread_out, text_width
from fl_deepcabac.experiments.comparison.styles import Palette, Style

__all__ = [
    "LABEL_SIZE",
    "LINE",
    "PANEL_WIDTH",
    "POINTS_PER_INCH",
    "Label",
    "Panel",
    "column_width",
    "new_figure",
]

POINTS_PER_INCH = 72
LABEL_SIZE = 8.4
# From one line of labels to the next.
LINE = 10.8
# Of a panel in a row of others, or on the page of a phone; one alone may be wider.
PANEL_WIDTH = 270.0
# Longer labels are cut, more so in a narrow panel; the table has them whole.
_LABEL_SHARE = 0.45
_GAP = 4.0


def new_figure(width: float, height: float, palette: Palette) -> Figure:
    """Return an empty figure of so many points."""
    return Figure(
        figsize=(width / POINTS_PER_INCH, height / POINTS_PER_INCH),
        dpi=POINTS_PER_INCH,
        facecolor=palette.ground,
    )


@dataclass(frozen=True)
class Label:
    """A label and the point of the data that it belongs to."""

    text: str
    style: Style
    x: float
    y: float


@dataclass(frozen=True)
class Panel:
    """Where a chart is drawn.

    Parameters
    ----------
    figure : Figure
    box : Box
        The panel's part of the figure.
    palette : Palette
    styles : mapping of str to Style
        By label of a codec.
    name : str
        Of the panel, different from the others on the figure.
    """

    figure: Figure
    box: Box
    palette: Palette
    styles: Mapping[str, Style]
    name: str

    @property
    def label_width(self) -> float:
        """The most that a label may take."""
        return _LABEL_SHARE * self.box.width

    def axes(self, *, left: float, right: float, bottom: float, top: float) -> Axes:
        """Add axes with such margins, in the colours of the palette."""
        whole_width, whole_height = (
            side * POINTS_PER_INCH for side in self.figure.get_size_inches()
        )
        axes = self.figure.add_axes(
            (
                (self.box.left + left) / whole_width,
                (self.box.bottom + bottom) / whole_height,
                (self.box.width - left - right) / whole_width,
                (self.box.height - bottom - top) / whole_height,
            )
        )
        axes.set_facecolor("none")
        axes.tick_params(
            which="both", colors=self.palette.soft, length=0, labelsize=LABEL_SIZE, pad=3
        )
        axes.grid(visible=True, color=self.palette.faint, linewidth=0.6)
        axes.set_axisbelow(True)
        for side, spine in axes.spines.items():
            spine.set_visible(side == "bottom")
            spine.set_color(self.palette.faint)
        for axis in (axes.xaxis, axes.yaxis):
            axis.label.set_color(self.palette.soft)
            axis.label.set_fontsize(LABEL_SIZE)
        return axes

    def colour(self, style: Style) -> str:
        """Return the colour of a codec."""
        return self.palette.named()[style.colour]

    def gid(self, style: Style, part: str) -> str:
        """Name a part of the drawing by the codec it belongs to."""
        return f"{style.gid}.{self.name}.{part}"

    def right_column(self, axes: Axes, labels: Sequence[Label]) -> None:
        """Write labels to the right of the axes, each at the height of its point."""
        box = axes.bbox
        ends = [self.place(axes, label) for label in labels]
        heights = spread_out([y for _, y in ends], LINE, LINE / 2, box.height - LINE / 2)
        for label, (x, y), height in zip(labels, ends, heights, strict=True):
            middle = box.width + _GAP
            self._stem(axes, label, [(x, y), (box.width, y), (middle + 4, height)])
            self._write(axes, label, middle + 6, height, ha="left")

    def staircase(self, axes: Axes, labels: Iterable[Label], *, room: float) -> None:
        """Write labels above the axes, each ending at its point's place, the leftmost lowest.

        Later labels stand higher and further right, so that no stem crosses a text. `room` is the
        free width to the left of the axes.
        """
        ordered = sorted(labels, key=lambda label: (label.x, label.text))
        for row, label in enumerate(ordered):
            x, y = self.place(axes, label)
            height = axes.bbox.height + 5 + LINE * (row + 0.5)
            self._stem(axes, label, [(x, y + 2), (x, height)])
            self._write(
                axes, label, x - 3, height, ha="right", width=min(self.label_width, x + room)
            )

    def beside(self, axes: Axes, labels: Sequence[Label], boxes: Sequence[Box]) -> None:
        """Write labels into boxes that were found for them, with a stem to those far off."""
        for label, box in zip(labels, boxes, strict=True):
            x, y = self.place(axes, label)
            near_x = min(max(x, box.left), box.left + box.width)
            middle = box.bottom + box.height / 2
            if abs(middle - y) > LINE * 0.9 or abs(near_x - x) > LINE:
                self._stem(axes, label, [(x, y), (near_x, middle)])
            self._write(axes, label, box.left + box.width / 2, middle, ha="center")

    @staticmethod
    def place(axes: Axes, label: Label) -> tuple[float, float]:
        """Return where the point of a label is, in points from the corner of the axes.

        A point that is off the scale counts as on its edge.
        """
        x, y = axes.transData.transform((label.x, label.y))
        return float(x - axes.bbox.x0), max(float(y - axes.bbox.y0), 0.0)

    def _stem(self, axes: Axes, label: Label, points: Sequence[tuple[float, float]]) -> None:
        """Draw a thin line from a point to its label."""
        width, height = axes.bbox.width, axes.bbox.height
        axes.plot(
            [x / width for x, _ in points],
            [y / height for _, y in points],
            transform=axes.transAxes,
            color=self.colour(label.style),
            linewidth=0.6,
            alpha=0.55,
            zorder=1.5,
            clip_on=False,
            gid=self.gid(label.style, "stem"),
        )

    def _write(
        self,
        axes: Axes,
        label: Label,
        x: float,
        y: float,
        *,
        ha: str,
        width: float | None = None,
    ) -> None:
        weight = label.style.weight
        width = self.label_width if width is None else width
        axes.text(
            x / axes.bbox.width,
            y / axes.bbox.height,
            shorten(label.text, LABEL_SIZE, width, weight),
            transform=axes.transAxes,
            color=self.colour(label.style),
            fontsize=LABEL_SIZE,
            fontweight=weight,
            horizontalalignment=ha,
            verticalalignment="center_baseline",
            zorder=5,
            gid=self.gid(label.style, "label"),
        )


def column_width(labels: Iterable[str], panel: Panel) -> float:
    """Return how much room a right column of labels needs."""
    widths = [text_width(label, LABEL_SIZE, panel.styles[label].weight) for label in labels]
    return min(panel.label_width, max(widths, default=0.0)) + _GAP + 8
