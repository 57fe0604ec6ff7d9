# SPDX-License-Identifier: Apache-2.0
"""What codecs reached and cost, averaged over seeds and compared with no compression by seed.

Pure numbers. Invariants: a mean is over all runs of a codec or not stated, and a difference or
ratio is between runs of equal seed, which share data, weights and the clients drawn.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from fl_deepcabac.experiments.comparison.grouping import CodecRuns, Setting
from fl_deepcabac.experiments.comparison.naming import natural_key
from fl_deepcabac.experiments.rows import RoundRow, Totals, quotient

__all__ = ["TOLERATED_POINTS", "Spread", "Summary", "is_tolerated", "summarise"]

# A codec that costs more accuracy than this is not what a reader would pick.
TOLERATED_POINTS = 1.0
# A part of a point that no test set is large enough for, and rounding is.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Spread:
    """One number of several seeds.

    Parameters
    ----------
    values : tuple of float
        At least one.
    """

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Arithmetic mean."""
        return statistics.fmean(self.values)

    @property
    def std(self) -> float | None:
        """Standard deviation of the sample, with n - 1; None for a single value."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    @property
    def low(self) -> float:
        """Least value."""
        return min(self.values)

    @property
    def high(self) -> float:
        """Greatest value."""
        return max(self.values)


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What one codec comes to in one setting.

    Parameters
    ----------
    runs : CodecRuns
    accuracy : Spread or None
        After the last round.
    best_accuracy : Spread or None
        Of the best round of each seed.
    uplink_bytes, downlink_bytes, total_bytes : Spread
        Packet bytes of whole runs, all clients.
    uplink_ratio, downlink_ratio, total_ratio : float or None
        Bytes of the uncompressed runs of the same seeds, divided by those of this codec.
    uplink_wire_ratio : float or None
        Likewise of the uplink, with an estimate of Flower's envelope on both sides.
    bits_per_weight : Spread or None
        Of uplink packets.
    encode_seconds, decode_seconds : Spread or None
        Per update.
    points_below : Spread or None
        Uncompressed accuracy minus this one's, in percentage points, for each shared seed.
    rounds_to_target, bytes_to_target : Spread or None
        Rounds, and uplink packet bytes of all clients, until the accuracy was first within
        `TOLERATED_POINTS` of that of the uncompressed run of the same seed after its last round.
        None where a seed never came that close.
    is_on_front : bool
        Whether no other codec is at least as accurate with at most as many uplink bytes.
    """

    runs: CodecRuns
    accuracy: Spread | None
    best_accuracy: Spread | None
    uplink_bytes: Spread
    downlink_bytes: Spread
    total_bytes: Spread
    uplink_ratio: float | None
    downlink_ratio: float | None
    total_ratio: float | None
    uplink_wire_ratio: float | None
    bits_per_weight: Spread | None
    encode_seconds: Spread | None
    decode_seconds: Spread | None
    points_below: Spread | None
    rounds_to_target: Spread | None
    bytes_to_target: Spread | None
    is_on_front: bool

    @property
    def label(self) -> str:
        """Of the codec."""
        return self.runs.label


def summarise(setting: Setting) -> list[Summary]:
    """Sum up all codecs of a setting.

    Parameters
    ----------
    setting : Setting

    Returns
    -------
    list of Summary
        The most accurate first, then by uplink bytes; those without an accuracy last.
    """
    found = [_summary(runs, setting.baseline) for runs in setting.codecs]
    front = _front(
        {
            summary.label: (summary.uplink_bytes.mean, summary.accuracy.mean)
            for summary in found
            if summary.accuracy is not None
        }
    )
    found = [replace(summary, is_on_front=summary.label in front) for summary in found]
    return sorted(found, key=_by_result)


def _summary(runs: CodecRuns, baseline: CodecRuns | None) -> Summary:
    """Sum up one codec, not yet compared with the others."""

    def ratio(n_bytes: Callable[[Totals], int]) -> float | None:
        return _ratio(runs, baseline, n_bytes)

    return Summary(
        runs=runs,
        accuracy=_over_seeds(runs, lambda rows: rows[-1].accuracy),
        best_accuracy=_over_seeds(runs, _best),
        uplink_bytes=_total(runs, _uplink),
        downlink_bytes=_total(runs, _downlink),
        total_bytes=_total(runs, _both),
        uplink_ratio=ratio(_uplink),
        downlink_ratio=ratio(_downlink),
        total_ratio=ratio(_both),
        uplink_wire_ratio=ratio(lambda totals: totals.uplink_wire_bytes),
        bits_per_weight=_over_seeds(runs, lambda rows: Totals.of(rows).bits_per_weight),
        encode_seconds=_over_seeds(runs, lambda rows: _per_update(rows, "encode_seconds")),
        decode_seconds=_over_seeds(runs, lambda rows: _per_update(rows, "decode_seconds")),
        points_below=_points_below(runs, baseline),
        rounds_to_target=_until_target(runs, baseline, lambda rows: float(len(rows))),
        bytes_to_target=_until_target(runs, baseline, lambda rows: float(_uplink(Totals.of(rows)))),
        is_on_front=False,
    )


def _uplink(totals: Totals) -> int:
    return totals.uplink_packet_bytes


def _downlink(totals: Totals) -> int:
    return totals.downlink_packet_bytes


def _both(totals: Totals) -> int:
    return totals.uplink_packet_bytes + totals.downlink_packet_bytes


def _spread(values: Iterable[float | None]) -> Spread | None:
    """Return the values together; None if one is missing, because a mean would hide that."""
    found = tuple(values)
    if not found or any(value is None for value in found):
        return None
    return Spread(tuple(value for value in found if value is not None))


def _over_seeds(
    runs: CodecRuns, value: Callable[[Sequence[RoundRow]], float | None]
) -> Spread | None:
    return _spread(value(rows) for rows in runs.runs.values())


def _total(runs: CodecRuns, n_bytes: Callable[[Totals], int]) -> Spread:
    return Spread(tuple(float(n_bytes(Totals.of(rows))) for rows in runs.runs.values()))


def _best(rows: Sequence[RoundRow]) -> float | None:
    return max((row.accuracy for row in rows if row.accuracy is not None), default=None)


def _per_update(rows: Sequence[RoundRow], name: str) -> float | None:
    n_updates = sum(row.clients - row.failures for row in rows)
    return quotient(sum(getattr(row, name) for row in rows), n_updates)


def _shared_seeds(runs: CodecRuns, baseline: CodecRuns | None) -> list[int]:
    return [seed for seed in runs.seeds if baseline is not None and seed in baseline.runs]


def _ratio(
    runs: CodecRuns, baseline: CodecRuns | None, n_bytes: Callable[[Totals], int]
) -> float | None:
    shared = _shared_seeds(runs, baseline)
    if baseline is None or not shared:
        return None
    sums = [
        sum(n_bytes(Totals.of(codec.runs[seed])) for seed in shared) for codec in (baseline, runs)
    ]
    return quotient(sums[0], sums[1])


def _points_below(runs: CodecRuns, baseline: CodecRuns | None) -> Spread | None:
    if baseline is None:
        return None
    pairs = [
        (baseline.runs[seed][-1].accuracy, runs.runs[seed][-1].accuracy)
        for seed in _shared_seeds(runs, baseline)
    ]
    return _spread(
        None if reference is None or accuracy is None else 100 * (reference - accuracy)
        for reference, accuracy in pairs
    )


def _until_target(
    runs: CodecRuns,
    baseline: CodecRuns | None,
    value: Callable[[Sequence[RoundRow]], float],
) -> Spread | None:
    """Return what the rounds came to until the target was reached, for each shared seed."""
    if baseline is None:
        return None
    found: list[float | None] = []
    for seed in _shared_seeds(runs, baseline):
        rows, reference = runs.runs[seed], baseline.runs[seed][-1].accuracy
        last = None if reference is None else _first_near(rows, reference)
        found.append(None if last is None else value(rows[: last + 1]))
    return _spread(found)


def _first_near(rows: Sequence[RoundRow], reference: float) -> int | None:
    """Return the index of the first round with about this accuracy, or more."""
    return next(
        (
            index
            for index, row in enumerate(rows)
            if row.accuracy is not None and is_tolerated(100 * (reference - row.accuracy))
        ),
        None,
    )


def is_tolerated(points_below: float) -> bool:
    """Say whether so many points below no compression are at most `TOLERATED_POINTS`."""
    return points_below <= TOLERATED_POINTS + _ROUNDING


def _front(points: dict[str, tuple[float, float]]) -> set[str]:
    """Return who is not dominated, from bytes and accuracy of each."""
    return {
        label
        for label, (n_bytes, accuracy) in points.items()
        if not any(
            other_bytes <= n_bytes
            and other_accuracy >= accuracy
            and (other_bytes, other_accuracy) != (n_bytes, accuracy)
            for other_bytes, other_accuracy in points.values()
        )
    }


def _by_result(summary: Summary) -> tuple[object, ...]:
    missing = summary.accuracy is None
    accuracy = 0.0 if summary.accuracy is None else summary.accuracy.mean
    return missing, -accuracy, summary.uplink_bytes.mean, natural_key(summary.label)
