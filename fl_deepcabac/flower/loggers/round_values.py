# SPDX-License-Identifier: Apache-2.0
"""The values of a round as one flat mapping, which is what every logger takes."""

from __future__ import annotations

from collections.abc import Iterator

from flwr.app import MetricRecord

from fl_deepcabac.flower.ledger import Phase, RoundRecord

__all__ = ["round_values"]


def round_values(
    record: RoundRecord, phase: Phase, metrics: MetricRecord | None = None
) -> dict[str, float]:
    """Return what one phase of a round has cost and led to.

    Parameters
    ----------
    record : RoundRecord
        Of the ledger.
    phase : {"train", "evaluate"}
    metrics : MetricRecord, optional
        What the inner strategy aggregated.

    Returns
    -------
    dict of str to float
        ``communication/PHASE/NAME`` for all fields and ratios of `Totals`, and for
        ``total_raw_bytes``, ``total_packet_bytes`` and ``total_wire_bytes``, both directions
        together. ``PHASE/NAME`` for metrics; those that are lists get ``PHASE/NAME/INDEX``.
    """
    totals = record.totals(phase).to_dict()
    for size in ("raw_bytes", "packet_bytes", "wire_bytes"):
        totals[f"total_{size}"] = totals[f"uplink_{size}"] + totals[f"downlink_{size}"]
    values = {f"communication/{phase}/{name}": float(value) for name, value in totals.items()}
    values |= {f"{phase}/{name}": value for name, value in _flat(metrics or MetricRecord())}
    return values


def _flat(metrics: MetricRecord) -> Iterator[tuple[str, float]]:
    """Yield names and numbers; lists element by element."""
    for name, value in metrics.items():
        if isinstance(value, list):
            yield from ((f"{name}/{i}", float(element)) for i, element in enumerate(value))
        else:
            yield name, float(value)
