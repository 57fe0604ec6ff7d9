# SPDX-License-Identifier: Apache-2.0
"""How each codec looks: the same colour and marker on every chart, light or dark.

Our codec stands out, no compression is neutral, all others are quieter. Colours are told apart with
red-green and blue-yellow blindness as far as five hues can be; markers and labels do the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from fl_deepcabac.experiments.charts import DARK as DARK_THEME
from fl_deepcabac.experiments.charts import LIGHT as LIGHT_THEME
from fl_deepcabac.experiments.comparison.grouping import OURS, UNCOMPRESSED, Comparison

__all__ = ["DARK", "LIGHT", "N_LAYER_COLOURS", "Palette", "Style", "styles_of"]

_MARKERS = ("s", "^", "D", "v", "P", "X", "<", ">", "p", "h", "d", "*")


@dataclass(frozen=True)
class Palette:
    """Colours for one kind of ground; all differ, so that a page can replace each by a variable.

    Parameters
    ----------
    ink, soft, faint, ground : str
        Of text; of what is said beside it; of grids; behind everything.
    baseline, ours : str
    others : tuple of str
        Of the other codecs, in turn.
    layers : tuple of str
        Of the layers of a model, from the first to the last; the last two of the tuple are for the
        layers that have no place of their own and for what belongs to none.
    """

    ink: str
    soft: str
    faint: str
    ground: str
    baseline: str
    ours: str
    others: tuple[str, ...]
    layers: tuple[str, ...]

    def named(self) -> dict[str, str]:
        """Return all colours by name."""
        single = ("ink", "soft", "faint", "ground", "baseline", "ours")
        return {
            **{name: getattr(self, name) for name in single},
            **{f"other-{index}": colour for index, colour in enumerate(self.others)},
            **{f"layer-{index}": colour for index, colour in enumerate(self.layers)},
        }


LIGHT = Palette(
    ink=LIGHT_THEME.ink,
    soft="#5b6875",
    faint=LIGHT_THEME.faint,
    ground=LIGHT_THEME.ground,
    baseline="#6b7784",
    ours="#0b7285",
    others=("#b4520b", "#6741d9", "#c2255d", "#6b6100", "#2f6db5"),
    layers=("#123a63", "#1d6996", "#2f96ad", "#6cbfb3", "#a9dbbf", "#dff0c8", "#c5ccd3", "#98a2ad"),
)
DARK = Palette(
    ink=DARK_THEME.ink,
    soft="#9aa6b2",
    faint=DARK_THEME.faint,
    ground=DARK_THEME.ground,
    baseline="#9aa5b0",
    ours="#3bc9db",
    others=("#ffa94e", "#b197fd", "#f783ad", "#d3c24a", "#74b3f5"),
    layers=("#e3f3cd", "#aedfc4", "#6cc3b6", "#339db3", "#2577a6", "#20508a", "#55616d", "#7b8794"),
)
N_LAYER_COLOURS = len(LIGHT.layers) - 2


@dataclass(frozen=True)
class Style:
    """How one codec is drawn.

    Parameters
    ----------
    colour : str
        Its name in `Palette.named`.
    marker : str
        As matplotlib calls it.
    gid : str
        Names what belongs to the codec in an SVG.
    line_width, marker_size : float
        In points.
    is_quiet : bool
        Whether it is neither ours nor the baseline.
    is_dashed : bool
    """

    colour: str
    marker: str
    gid: str
    line_width: float = 1.1
    marker_size: float = 4.0
    is_quiet: bool = True
    is_dashed: bool = False

    @property
    def weight(self) -> str:
        """Of the label."""
        return "bold" if self.colour == "ours" else "normal"

    @property
    def zorder(self) -> float:
        """Ours above the baseline above all others."""
        return 3.0 if self.colour == "ours" else 2.4 if not self.is_quiet else 2.0


def styles_of(comparison: Comparison) -> dict[str, Style]:
    """Give each codec its look.

    Parameters
    ----------
    comparison : Comparison

    Returns
    -------
    dict of str to Style
        By label, for all settings.
    """
    codec_of = {
        runs.label: runs.codec for setting in comparison.settings for runs in setting.codecs
    }
    styles = {}
    n_ours = n_others = 0
    for index, label in enumerate(comparison.labels):
        make = partial(Style, gid=f"codec-{index}")
        if codec_of[label] == OURS:
            styles[label] = make("ours", _turn("o*dHX", n_ours), line_width=2.2, is_quiet=False)
            n_ours += 1
        elif codec_of[label] == UNCOMPRESSED:
            styles[label] = make("baseline", "o", line_width=1.6, is_quiet=False, is_dashed=True)
        else:
            colour = f"other-{n_others % len(LIGHT.others)}"
            styles[label] = make(colour, _turn(_MARKERS, n_others))
            n_others += 1
    return styles


def _turn(markers: Sequence[str], index: int) -> str:
    return markers[index % len(markers)]
