# SPDX-License-Identifier: Apache-2.0
"""Short names for settings and codecs: what tells one from the others, and no more."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fl_deepcabac.experiments.settings import NATURAL

__all__ = ["common_words", "distinct_labels", "natural_key", "ordered_names", "setting_titles"]

Values = Mapping[str, Any]

# In this order, then all others.
_FIRST = ("task", "model", "clients", "fraction", "alpha", "rounds", "strategy")
# Values that need no name beside them.
_SPEAKING = frozenset({"task", "model", "strategy"})


def natural_key(text: str) -> tuple[Any, ...]:
    """Return a sort key by which 2 comes before 10, whatever the case of letters."""
    pieces = re.split(r"(\d+(?:\.\d+)?)", text.casefold())
    return tuple(
        (1, float(piece), "") if index % 2 else (0, 0.0, piece)
        for index, piece in enumerate(pieces)
    ), text


def setting_titles(described: Sequence[tuple[str, Values]]) -> list[str]:
    """Name settings by what differs between them.

    Parameters
    ----------
    described : sequence of (str, mapping)
        Case and values of each setting.

    Returns
    -------
    list of str
        One each, all different. What follows from the case is left out.
    """
    titles = []
    for case, values in described:
        alike = [other for other_case, other in described if other_case == case]
        words = [_word(name, values, spell_out=True) for name in _differing(alike)]
        title = ", ".join([case, *words] if case else words)
        titles.append(title or common_words([values]))
    return titles


def common_words(settings: Sequence[Values]) -> str:
    """Say in a line what all settings have in common."""
    differing = set(_differing(settings))
    words = [
        _word(name, settings[0], spell_out=False)
        for name in ordered_names(settings[:1])
        if name not in differing
    ]
    if "alpha" not in differing and "alpha" not in settings[0]:
        words.append("IID")
    return ", ".join(word for word in words if word)


def distinct_labels(abouts: Iterable[Mapping[str, Any]]) -> list[str]:
    """Name the codec of each run so that equal names are equal codecs.

    Parameters
    ----------
    abouts : iterable of mapping
        Of each run: ``label``, ``codec`` and ``codec_settings``.

    Returns
    -------
    list of str
        The label, and the settings that differ where it stands for several codecs.
    """
    runs = list(abouts)
    variants: dict[str, dict[str, Values]] = {}
    for about in runs:
        variants.setdefault(str(about["label"]), {})[_identity(about)] = about["codec_settings"]
    labels = []
    for about in runs:
        label, settings = str(about["label"]), about["codec_settings"]
        alternatives = variants[label]
        if len(alternatives) > 1:
            differing = _differing(list(alternatives.values()))
            words = [f"{name} {settings.get(name, 'unset')}" for name in differing]
            if len({json.loads(identity)[0] for identity in alternatives}) > 1:
                words.insert(0, str(about["codec"]))
            label = ", ".join([label, *words])
        labels.append(label)
    return labels


def _identity(about: Mapping[str, Any]) -> str:
    return json.dumps([about["codec"], about["codec_settings"]], sort_keys=True)


def ordered_names(settings: Sequence[Values]) -> list[str]:
    """Return the names of all values, those first that say most."""
    names = dict.fromkeys(name for values in settings for name in values)
    return [*(name for name in _FIRST if name in names), *(n for n in names if n not in _FIRST)]


def _differing(settings: Sequence[Values]) -> list[str]:
    return [
        name
        for name in ordered_names(settings)
        if any(values.get(name) != settings[0].get(name) for values in settings)
    ]


def _word(name: str, values: Values, *, spell_out: bool) -> str:
    """Write one setting for people; empty for what goes without saying."""
    value = values.get(name)
    if name == "alpha":
        return {None: "IID", NATURAL: "natural parts"}.get(value) or f"Dirichlet({value:g})"
    if name == "fraction" and value == 1:
        return "all of them per round" if spell_out else ""
    if value is None:
        return f"{name.replace('_', ' ')} unset"
    if name == "fraction":
        return f"{100 * value:g} % of them per round"
    if name in {"clients", "rounds"}:
        return f"{value} {name if value != 1 else name[:-1]}"
    return str(value) if name in _SPEAKING else f"{name.replace('_', ' ')} {value}"
