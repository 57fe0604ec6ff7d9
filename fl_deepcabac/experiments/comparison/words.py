# SPDX-License-Identifier: Apache-2.0
"""What came out of a comparison, in sentences.

Invariant: what a sentence says of this package's codec is picked by a rule that the sentence names,
and holds for any other codec as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fl_deepcabac.experiments.comparison.grouping import UNCOMPRESSED, Setting
from fl_deepcabac.experiments.comparison.measures import (
    TOLERATED_POINTS,
    Spread,
    Summary,
    is_tolerated,
)
from fl_deepcabac.experiments.summary import format_bytes, format_ratio

__all__ = [
    "NOTHING",
    "Finding",
    "find",
    "format_accuracy",
    "format_fraction",
    "format_plus_minus",
    "format_seconds",
]

NOTHING = "–"
_MICRO, _MILLI = 1e-6, 1e-3


@dataclass(frozen=True)
class Finding:
    """What came out of one setting.

    Parameters
    ----------
    subject : str
        Label of the codec it is about.
    text : str
        What it reached, at what cost, beside no compression.
    context : str
        How that compares with the other codecs.
    """

    subject: str
    text: str
    context: str


def find(setting: Setting, summaries: Sequence[Summary]) -> Finding:
    """State what came out of a setting.

    Parameters
    ----------
    setting : Setting
    summaries : sequence of Summary
        Of all its codecs, the most accurate first.

    Returns
    -------
    Finding
        Of our codec; of several, the smallest within a point of the uncompressed accuracy, else
        the most accurate, of those with the most seeds. Without one of ours, likewise of all that
        compress.
    """
    ours = [summary for summary in summaries if summary.runs.is_ours]
    coded = [summary for summary in summaries if summary.runs.codec != UNCOMPRESSED]
    candidates = ours or coded or list(summaries)
    n_seeds, n_all = max(len(summary.runs.seeds) for summary in candidates), len(candidates)
    candidates = [summary for summary in candidates if len(summary.runs.seeds) == n_seeds]
    close = [
        summary
        for summary in candidates
        if summary.points_below is not None and is_tolerated(summary.points_below.mean)
    ]
    subject = min(close, key=lambda summary: summary.uplink_bytes.mean, default=candidates[0])
    reference = None if setting.baseline is None else setting.baseline.label
    context = []
    if len(candidates) > 1:
        pick = f"smallest within {TOLERATED_POINTS:g} point of {reference}"
        group = "settings of our codec" if ours else "codecs"
        group += f" with {n_seeds} seeds" if len(candidates) < n_all else ""
        context.append(f"The {pick if close else 'most accurate'} of {len(candidates)} {group}.")
    context.append(_standing(subject, summaries))
    return Finding(subject.label, _outcome(subject, reference), " ".join(filter(None, context)))


def format_plus_minus(spread: Spread | None, digits: int = 2, *, scale: float = 1.0) -> str:
    """Write mean and standard deviation; the mean alone of a single value."""
    if spread is None:
        return NOTHING
    mean = f"{scale * spread.mean:.{digits}f}"
    # A negative nothing is nothing.
    mean = mean.removeprefix("-") if float(mean) == 0 else mean
    mean = mean.replace("-", "\N{MINUS SIGN}")
    return mean if spread.std is None else f"{mean} ± {scale * spread.std:.{digits}f}"


def format_accuracy(spread: Spread | None, digits: int = 2) -> str:
    """Write accuracies of several seeds as a percentage."""
    text = format_plus_minus(spread, digits, scale=100)
    return text if spread is None else f"{text} %"


def format_fraction(ratio: float) -> str:
    """Write what part is left of something made smaller by a ratio."""
    if ratio >= 1:
        return f"1/{format_ratio(ratio).removesuffix('x')} of"
    return f"{1 / ratio:.3g} times"


def format_seconds(spread: Spread | None) -> str:
    """Write a mean time with three digits and a unit."""
    if spread is None:
        return NOTHING
    seconds = spread.mean
    for unit, name in ((1.0, "s"), (_MILLI, "ms"), (_MICRO, "µs")):
        if seconds >= unit:
            value = seconds / unit
            return f"{value:.{max(0, 3 - len(str(int(value))))}f} {name}"
    return "0 s"


def _outcome(subject: Summary, reference: str | None) -> str:
    """State accuracy, uplink and difference of one codec."""
    parts = [
        "no finite accuracy"
        if subject.accuracy is None
        else format_accuracy(subject.accuracy, digits=1)
    ]
    if subject.uplink_ratio is None or subject.label == reference:
        parts.append(f"with {format_bytes(subject.uplink_bytes.mean)} of uplink")
    else:
        parts.append(f"at {format_fraction(subject.uplink_ratio)} the uplink")
    text = " ".join(parts)
    if subject.points_below is not None and subject.label != reference:
        text += f", {_distance(subject.points_below)} {reference}"
    n_seeds = len(subject.runs.seeds)
    return f"{text} ({n_seeds} {'seed' if n_seeds == 1 else 'seeds'})"


def _distance(points_below: Spread) -> str:
    """Say how far below or above, with the spread over pairs of equal seed."""
    is_below = round(points_below.mean, 1) >= 0
    values = points_below.values if is_below else tuple(-value for value in points_below.values)
    text = format_plus_minus(Spread(values), digits=1)
    return f"{text} points {'below' if is_below else 'above'}"


def _standing(subject: Summary, summaries: Sequence[Summary]) -> str:
    """Say whether another codec is better in both, and which are the best trade-offs."""
    if subject.accuracy is None or len(summaries) <= 1:
        return ""
    if not subject.is_on_front:
        better = min(
            (other for other in summaries if other.is_on_front and _dominates(other, subject)),
            key=lambda other: other.uplink_bytes.mean,
        )
        return (
            f"{better.label} is better in both: {format_accuracy(better.accuracy, digits=1)} with "
            f"{format_bytes(better.uplink_bytes.mean)} instead of "
            f"{format_bytes(subject.uplink_bytes.mean)}."
        )
    names = [other.label for other in summaries if other.is_on_front and other is not subject]
    if not names:
        return "No other codec is smaller or more accurate."
    return (
        "No other codec is both smaller and as accurate; other best trade-offs: "
        f"{', '.join(names)}."
    )


def _dominates(other: Summary, subject: Summary) -> bool:
    return (
        other.accuracy is not None
        and subject.accuracy is not None
        and other.accuracy.mean >= subject.accuracy.mean
        and other.uplink_bytes.mean <= subject.uplink_bytes.mean
    )
