# SPDX-License-Identifier: Apache-2.0
"""Charts of a comparison as files, and as parts of a page.

On a page, each panel is an SVG element whose colours are variables of the page, so that one drawing
serves light and dark and its text is text. Files stand alone. Invariant: equal comparisons give
equal bytes, and matplotlib's global state stays as it was.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from xml.etree import ElementTree

import matplotlib as mpl
from matplotlib.figure import Figure

from fl_deepcabac.experiments.comparison import curve_charts, result_charts
from fl_deepcabac.experiments.comparison.grouping import Comparison, Setting
from fl_deepcabac.experiments.comparison.labels import Box
from fl_deepcabac.experiments.comparison.panel import PANEL_WIDTH, Panel, new_figure
from fl_deepcabac.experiments.comparison.styles import LIGHT, Palette, styles_of

__all__ = ["CHARTS", "Chart", "draw_files", "draw_for_page"]

MAX_COLUMNS = 3
_GAP, _MARGIN = 18.0, 10.0
# Of the chart, and of each row of panels.
_TITLE, _SUBTITLE = 26.0, 22.0
PNG_DOTS_PER_INCH = 160
_LONG_NUMBER = re.compile(r"-?\b\d+\.\d{3,}\b")
_REFERENCE = re.compile(r"(?:^|url\()#([^)]+)")
_SVG = "{http://www.w3.org/2000/svg}"
_XLINK = "{http://www.w3.org/1999/xlink}"


@dataclass(frozen=True)
class Chart:
    """One chart of a comparison.

    Parameters
    ----------
    name : str
        Short, for file names and anchors.
    title : str
        What it shows.
    note : str
        How to read it, in a sentence or two.
    draw : callable
        Draws a setting on a panel.
    height : callable
        Of the panel, in points, from the setting.
    """

    name: str
    title: str
    note: str
    draw: Callable[[Panel, Setting], None]
    height: Callable[[Setting], float]


_BAND = "Line: mean over seeds; band: from the least to the greatest."

CHARTS = (
    Chart(
        "trade-off",
        "Size against accuracy",
        "Up and to the left is better. Bars: from the least to the greatest seed. The line is the "
        "best that any codec reaches with so many bytes; codecs below it are pale.",
        result_charts.draw_trade_off,
        result_charts.height_of_trade_off,
    ),
    Chart(
        "accuracy-by-uplink",
        "Accuracy against uplink bytes",
        f"Each curve ends where its run ends, below its name. {_BAND}",
        curve_charts.draw_accuracy_by_uplink,
        curve_charts.height_of_staircase,
    ),
    Chart(
        "accuracy-by-round",
        "Accuracy per round",
        "Names in the order of the last round; the upright axis begins where the slowest codec is "
        f"after a quarter of the rounds. {_BAND}",
        curve_charts.draw_accuracy_by_round,
        curve_charts.height_of_curves,
    ),
    Chart(
        "bits-by-round",
        "Bits per weight",
        f"Of the packets on the way up, round by round. {_BAND}",
        curve_charts.draw_bits_by_round,
        curve_charts.height_of_curves,
    ),
    Chart(
        "accuracy-by-total",
        "Accuracy against all bytes",
        f"Uplink and downlink together, without the first quarter of the rounds. {_BAND}",
        curve_charts.draw_accuracy_by_total,
        curve_charts.height_of_staircase,
    ),
    Chart(
        "layers",
        "Where the uplink bytes go",
        "Parts of each codec's packets by layer, the most accurate codec first. Codecs that cannot "
        "tell layers apart are not shown.",
        result_charts.draw_layers,
        result_charts.height_of_layers,
    ),
)


def draw_for_page(chart: Chart, comparison: Comparison, setting: Setting, name: str) -> str:
    """Draw one panel as an SVG element for an HTML page.

    Parameters
    ----------
    chart : Chart
    comparison : Comparison
    setting : Setting
        One of the comparison's.
    name : str
        Different for each panel of the page.

    Returns
    -------
    str
        ``<svg>...</svg>``, whose colours are the page's variables ``--chart-NAME`` (see
        `Palette.named`), and whose parts have the class ``codec-N`` of their codec.
    """
    with _plain_text(name, font_type="none"):
        height = chart.height(setting)
        figure = new_figure(PANEL_WIDTH, height, LIGHT)
        box = Box(0, 0, PANEL_WIDTH, height)
        chart.draw(Panel(figure, box, LIGHT, styles_of(comparison), name), setting)
        return _for_page(_to_svg(figure, transparent=True), LIGHT, name)


def draw_files(chart: Chart, comparison: Comparison) -> tuple[str, bytes]:
    """Draw all panels of a chart on one figure with a light ground.

    Parameters
    ----------
    chart : Chart
    comparison : Comparison

    Returns
    -------
    str, bytes
        An SVG document and a PNG.
    """
    with _plain_text(chart.name, font_type="path"):
        figure = _draw_panels(chart, comparison)
        png = io.BytesIO()
        figure.savefig(png, format="png", dpi=PNG_DOTS_PER_INCH)
        return _to_svg(figure, transparent=False), png.getvalue()


@contextlib.contextmanager
def _plain_text(salt: str, *, font_type: str) -> Iterator[None]:
    """Set matplotlib up so that names are taken as they are and identifiers repeat."""
    settings: dict[str, object] = {
        "svg.hashsalt": salt,
        "svg.fonttype": font_type,
        "text.parse_math": False,
        "font.family": "DejaVu Sans",
        "axes.unicode_minus": False,
    }
    with mpl.rc_context(settings):  # type: ignore[arg-type]
        yield


def _draw_panels(chart: Chart, comparison: Comparison) -> Figure:
    """Draw the panels of all settings in rows, each below its title."""
    settings = comparison.settings
    n_columns = min(MAX_COLUMNS, len(settings))
    rows = [settings[start : start + n_columns] for start in range(0, len(settings), n_columns)]
    heights = [max(map(chart.height, row)) + _SUBTITLE for row in rows]
    # One alone has the room of two.
    panel_width = PANEL_WIDTH * (2 if n_columns == 1 else 1)
    width = n_columns * panel_width + (n_columns - 1) * _GAP + 2 * _MARGIN
    whole = sum(heights) + _TITLE + _MARGIN
    figure = new_figure(width, whole, LIGHT)
    figure.text(
        _MARGIN / width,
        1 - 8 / whole,
        chart.title,
        va="top",
        fontsize=11,
        fontweight="bold",
        color=LIGHT.ink,
    )
    styles = styles_of(comparison)
    top = whole - _TITLE
    for row_index, (row, row_height) in enumerate(zip(rows, heights, strict=True)):
        for column, setting in enumerate(row):
            left = _MARGIN + column * (panel_width + _GAP)
            figure.text(
                left / width, top / whole, setting.title, va="top", fontsize=9, color=LIGHT.soft
            )
            height = chart.height(setting)
            box = Box(left, top - _SUBTITLE + 6 - height, panel_width, height)
            panel_name = f"{row_index}-{column}"
            chart.draw(Panel(figure, box, LIGHT, styles, panel_name), setting)
        top -= row_height
    return figure


def _to_svg(figure: Figure, *, transparent: bool) -> str:
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(buffer, format="svg", transparent=transparent, metadata=nothing)
    return buffer.getvalue()


def _for_page(svg: str, palette: Palette, name: str) -> str:
    """Make an element of a document: no names that clash, the page's colours and fonts."""
    root = ElementTree.fromstring(svg)
    variables = {colour: f"var(--chart-{key})" for key, colour in palette.named().items()}
    referenced = {
        found
        for element in root.iter()
        for value in element.attrib.values()
        for found in _REFERENCE.findall(value)
    }
    # What the style says, the page's own sheet says of charts alone.
    for parent in list(root.iter()):
        for child in parent.findall(f"{_SVG}style"):
            parent.remove(child)
    for element in root.iter():
        _adapt(element, variables, referenced, name)
    root.set("aria-hidden", "true")
    for size in ("width", "height"):
        root.attrib.pop(size, None)
    return ElementTree.tostring(root, encoding="unicode")


def _adapt(
    element: ElementTree.Element, variables: Mapping[str, str], referenced: set[str], name: str
) -> None:
    """Rename, recolour and strip one element."""
    element.tag = element.tag.removeprefix(_SVG)
    for text in ("text", "tail"):
        if not (getattr(element, text) or "").strip():
            setattr(element, text, None)
    attributes = dict(element.attrib)
    element.attrib.clear()
    for key, value in attributes.items():
        if key == "id":
            if value in referenced:
                element.set("id", f"{name}-{value}")
            elif value.startswith("codec-"):
                element.set("class", value.partition(".")[0])
        elif key in {f"{_XLINK}href", "href"}:
            element.set("href", value.replace("#", f"#{name}-"))
        else:
            changed = value.replace("url(#", f"url(#{name}-")
            for colour, variable in variables.items():
                changed = changed.replace(colour, variable)
            element.set(key, _LONG_NUMBER.sub(_two_digits, changed))


def _two_digits(match: re.Match[str]) -> str:
    """Write a number to a hundredth of a point, which no eye can tell from the whole."""
    return f"{float(match[0]):.2f}".rstrip("0").rstrip(".")
