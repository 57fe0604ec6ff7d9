# SPDX-License-Identifier: Apache-2.0
"""What a set of runs comes to, in words and numbers for people.

The first run without a codec is the baseline that others are compared with. Units are decimal:
1 kB is 1000 bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fl_deepcabac.experiments.rows import RoundRow, Totals

__all__ = [
    "baseline_of",
    "format_bytes",
    "format_percent",
    "format_points",
    "format_ratio",
    "headline",
]

KILO = 1000
_PREFIXES = "kMGT"
_NOTHING = "–"


def baseline_of(runs: Mapping[str, Sequence[RoundRow]]) -> str | None:
    """Return the label of the first run without a codec, or None."""
    return next((label for label, rows in runs.items() if rows and rows[0].codec == "none"), None)


def headline(runs: Mapping[str, Sequence[RoundRow]]) -> str:
    """State accuracy without and with compression, and how much smaller the traffic is.

    Parameters
    ----------
    runs : mapping of str to sequence of RoundRow
        At least one run with at least one round.

    Returns
    -------
    str
        One line, with one clause per compressed run.
    """
    baseline = baseline_of(runs)
    parts = []
    if baseline is not None:
        reference = Totals.of(runs[baseline])
        parts.append(f"accuracy {format_percent(reference.accuracy)} without compression")
    for label, rows in runs.items():
        if label == baseline or not rows:
            continue
        totals = Totals.of(rows)
        text = f"{'' if parts else 'accuracy '}{format_percent(totals.accuracy)} with"
        if baseline is not None:
            text += f" ({format_points(totals.accuracy, reference.accuracy)})"
        parts.append(
            f"{text}; ratio: uplink {format_ratio(totals.uplink_ratio)}, "
            f"downlink {format_ratio(totals.downlink_ratio)}, "
            f"total {format_ratio(totals.total_ratio)}"
        )
    return ", ".join(parts)


def format_percent(part: float | None) -> str:
    """Write a part of 1 as a percentage."""
    return _NOTHING if part is None else f"{100 * part:.2f} %"


def format_points(part: float | None, reference: float | None) -> str:
    """Write the difference of two parts in percentage points."""
    if part is None or reference is None:
        return _NOTHING
    return f"{100 * (part - reference):+.2f} points"


def format_ratio(ratio: float | None) -> str:
    """Write how many times smaller something is."""
    if ratio is None:
        return _NOTHING
    return f"{_three_digits(ratio)}x"


def format_bytes(n_bytes: float) -> str:
    """Write a number of bytes with three digits and a decimal prefix."""
    if n_bytes < KILO:
        return f"{n_bytes:.0f} B"
    # What would be rounded up to 1000 belongs to the next prefix.
    power = next(n for n in (1, 2, 3, 4) if round(n_bytes / KILO**n) < KILO or n == len(_PREFIXES))
    return f"{_three_digits(n_bytes / KILO**power)} {_PREFIXES[power - 1]}B"


def _three_digits(value: float) -> str:
    """Write a number of at least 1 with three significant digits, or all those before the point."""
    return f"{value:.{max(0, 3 - len(str(int(value))))}f}"
