# SPDX-License-Identifier: Apache-2.0
"""The comparison as tables: of numbers for programs, of text for people.

One list of columns serves the page and Markdown, so that both say the same.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from fl_deepcabac.experiments.comparison.grouping import UNCOMPRESSED, Comparison, Setting
from fl_deepcabac.experiments.comparison.measures import (
    TOLERATED_POINTS,
    Spread,
    Summary,
    summarise,
)
from fl_deepcabac.experiments.comparison.naming import ordered_names
from fl_deepcabac.experiments.comparison.words import (
    NOTHING,
    find,
    format_accuracy,
    format_plus_minus,
    format_seconds,
)
from fl_deepcabac.experiments.summary import format_bytes, format_ratio

__all__ = ["COLUMNS", "Column", "csv_table", "markdown_table"]


@dataclass(frozen=True)
class Column:
    """One column of the table for people.

    Parameters
    ----------
    name : str
        Its head.
    note : str
        What it states, in a sentence.
    text : callable
        From a summary to the text of a cell.
    number : callable
        To what the cell is sorted by; None where there is no number.
    is_brief : bool
        Whether it is also in the Markdown table, which has no room for all.
    """

    name: str
    note: str
    text: Callable[[Summary], str]
    number: Callable[[Summary], float | None]
    is_brief: bool = True


def _mean(spread: Spread | None) -> float | None:
    return None if spread is None else spread.mean


def _is_reference(summary: Summary) -> bool:
    return summary.runs.codec == UNCOMPRESSED


COLUMNS = (
    Column(
        "Accuracy",
        "After the last round, mean and standard deviation over seeds.",
        lambda line: format_accuracy(line.accuracy),
        lambda line: _mean(line.accuracy),
    ),
    Column(
        "Seeds",
        "Runs that are averaged.",
        lambda line: str(len(line.runs.seeds)),
        lambda line: len(line.runs.seeds),
    ),
    Column(
        "Best",
        "Accuracy of the best round of each seed, mean and standard deviation.",
        lambda line: format_accuracy(line.best_accuracy),
        lambda line: _mean(line.best_accuracy),
        is_brief=False,
    ),
    Column(
        "Points below",
        "Uncompressed accuracy minus this one, mean and standard deviation over shared seeds.",
        lambda line: NOTHING if _is_reference(line) else format_plus_minus(line.points_below),
        lambda line: _mean(line.points_below),
    ),
    Column(
        "Uplink",
        "Packets of all clients and rounds.",
        lambda line: format_bytes(line.uplink_bytes.mean),
        lambda line: line.uplink_bytes.mean,
    ),
    Column(
        "Ratio",
        "Uplink bytes of the uncompressed runs of the same seeds, divided by these.",
        lambda line: format_ratio(line.uplink_ratio),
        lambda line: line.uplink_ratio,
    ),
    Column(
        "On the wire",
        "The same ratio with Flower's envelope, an estimate, which is large beside small packets.",
        lambda line: format_ratio(line.uplink_wire_ratio),
        lambda line: line.uplink_wire_ratio,
    ),
    Column(
        "Bits/weight",
        "Of the packets on the way up.",
        lambda line: format_plus_minus(_without_spread(line.bits_per_weight), digits=3),
        lambda line: _mean(line.bits_per_weight),
    ),
    Column(
        f"To \N{MINUS SIGN}{TOLERATED_POINTS:g} point",
        f"Uplink until the accuracy was first at most {TOLERATED_POINTS:g} point below the last "
        "one of the uncompressed run of the same seed; none if a seed never came so close. Luck "
        "where accuracy swings from round to round.",
        lambda line: _bytes_or_nothing(line.bytes_to_target),
        lambda line: _mean(line.bytes_to_target),
    ),
    Column(
        "Rounds",
        "Until then.",
        lambda line: format_plus_minus(line.rounds_to_target, digits=1),
        lambda line: _mean(line.rounds_to_target),
        is_brief=False,
    ),
    Column(
        "Downlink",
        "The model to all clients in all rounds.",
        lambda line: format_bytes(line.downlink_bytes.mean),
        lambda line: line.downlink_bytes.mean,
        is_brief=False,
    ),
    Column(
        "Total",
        "Both directions.",
        lambda line: format_bytes(line.total_bytes.mean),
        lambda line: line.total_bytes.mean,
        is_brief=False,
    ),
    Column(
        "Total ratio",
        "As the ratio of the uplink, for both directions.",
        lambda line: format_ratio(line.total_ratio),
        lambda line: line.total_ratio,
    ),
    Column(
        "Encode",
        "Seconds per update on a client.",
        lambda line: format_seconds(line.encode_seconds),
        lambda line: _mean(line.encode_seconds),
    ),
    Column(
        "Decode",
        "Seconds per update on the server.",
        lambda line: format_seconds(line.decode_seconds),
        lambda line: _mean(line.decode_seconds),
    ),
)


def _without_spread(spread: Spread | None) -> Spread | None:
    return None if spread is None else Spread((spread.mean,))


def _bytes_or_nothing(spread: Spread | None) -> str:
    return NOTHING if spread is None else format_bytes(spread.mean)


def markdown_table(comparison: Comparison) -> str:
    """Return the tables and findings as Markdown.

    Parameters
    ----------
    comparison : Comparison

    Returns
    -------
    str
        For each setting a heading, the finding and a table; then the notes.
    """
    columns = [column for column in COLUMNS if column.is_brief]
    lines = []
    for setting in comparison.settings:
        summaries = summarise(setting)
        finding = find(setting, summaries)
        said = f"**{_marked(finding.subject)}**: {_marked(f'{finding.text}. {finding.context}')}"
        lines += [f"### {_marked(setting.title)}", "", said, ""]
        lines += [
            f"| Codec | {' | '.join(column.name for column in columns)} |",
            f"|---|{'---:|' * len(columns)}",
        ]
        for summary in summaries:
            name = _marked(summary.label)
            cells = [f"**{name}**" if summary.runs.is_ours else name]
            cells += [column.text(summary) for column in columns]
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    if comparison.notes:
        lines += [*(f"- {_marked(note)}" for note in comparison.notes), ""]
    return "\n".join(lines)


def _marked(text: str) -> str:
    """Keep names from being read as markup."""
    for sign in "\\|<>*_`[]":
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.split())


def csv_table(comparison: Comparison) -> str:
    """Return one line for each setting and codec; a value that is not there is empty.

    Parameters
    ----------
    comparison : Comparison

    Returns
    -------
    str
        CSV with a head. Bytes, seconds and parts of one are plain numbers; the uncompressed codec
        is called FP32 in the names of columns.
    """
    lines = [
        {**_about(setting), **_numbers(summary)}
        for setting in comparison.settings
        for summary in summarise(setting)
    ]
    # What is set comes first, what came out after it, whichever setting names it first.
    about = dict.fromkeys(name for setting in comparison.settings for name in _about(setting))
    names = [*about, *(name for name in lines[0] if name not in about)]
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def _about(setting: Setting) -> dict[str, Any]:
    values = {name: setting.values[name] for name in ordered_names([setting.values])}
    return {"setting": setting.title, "case": setting.case, "alpha": "iid", **values}


def _numbers(summary: Summary) -> dict[str, Any]:
    """Return one line of the CSV, without what is set."""
    return {
        "label": summary.label,
        "codec": summary.runs.codec,
        "codec_settings": json.dumps(summary.runs.codec_settings, sort_keys=True),
        "seeds": " ".join(map(str, summary.runs.seeds)),
        "n_seeds": len(summary.runs.seeds),
        **dict(_measured("accuracy", summary.accuracy)),
        **dict(_measured("best_accuracy", summary.best_accuracy)),
        **dict(_measured("points_below_fp32", summary.points_below)),
        "n_pairs": 0 if summary.points_below is None else len(summary.points_below.values),
        "target_points_below_fp32": TOLERATED_POINTS,
        "rounds_to_target_mean": _mean(summary.rounds_to_target),
        "uplink_packet_bytes_to_target_mean": _mean(summary.bytes_to_target),
        "uplink_packet_bytes_mean": summary.uplink_bytes.mean,
        "downlink_packet_bytes_mean": summary.downlink_bytes.mean,
        "total_packet_bytes_mean": summary.total_bytes.mean,
        "uplink_ratio_to_fp32": summary.uplink_ratio,
        "uplink_wire_ratio_to_fp32": summary.uplink_wire_ratio,
        "downlink_ratio_to_fp32": summary.downlink_ratio,
        "total_ratio_to_fp32": summary.total_ratio,
        "bits_per_weight_mean": _mean(summary.bits_per_weight),
        "encode_seconds_per_update_mean": _mean(summary.encode_seconds),
        "decode_seconds_per_update_mean": _mean(summary.decode_seconds),
        "is_on_front": int(summary.is_on_front),
    }


def _measured(name: str, spread: Spread | None) -> Iterator[tuple[str, float | None]]:
    """Yield mean and standard deviation of a number."""
    yield f"{name}_mean", _mean(spread)
    yield f"{name}_std", None if spread is None else spread.std
