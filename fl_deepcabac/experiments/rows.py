# SPDX-License-Identifier: Apache-2.0
"""The record of one round of one run: a row of ``rounds.jsonl``.

A row is one flat JSON object, ready for a data frame; a run folder holds one per round and run.
Every byte count is the sum over the clients of the round. Invariant: ``packet`` bytes are what the
tensors of the messages occupy as sent, ``raw`` bytes what they would occupy uncompressed, and
``wire`` bytes add Flower's own envelope, which is an estimate (`traffic`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from fl_deepcabac.errors import DeepCabacError

__all__ = ["HEADER_LAYER", "RoundRow", "RowError", "Totals"]

_LAYER_PREFIX = "layer_bytes/"
# The part of the packets that belongs to no tensor.
HEADER_LAYER = "(header)"


class RowError(DeepCabacError, ValueError):
    """A line of ``rounds.jsonl`` is not a row."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundRow:
    """One round of one run.

    Parameters
    ----------
    run : str
        Label of the run within its folder.
    codec : str
        ``"none"`` for uncompressed updates, else the name of the codec.
    task, strategy, seed
        As in `RunSettings`.
    round : int
        Counts from 1.
    n_weights : int
        Elements of the model.
    clients : int
        Clients asked to train.
    failures : int
        Clients whose update could not be used.
    accuracy, loss : float or None
        Of the new global model on the server's test samples: part classified rightly, and nats.
        None where the model yields no finite value.
    client_accuracy, client_loss : float or None
        Of the same model on the clients' own training samples, weighted by their number.
    train_loss : float or None
        While training on the clients, weighted likewise. Nats.
    uplink_raw_bytes, uplink_packet_bytes, uplink_wire_bytes : int
        From the clients to the server: updates, and the replies to evaluation.
    downlink_raw_bytes, downlink_packet_bytes, downlink_wire_bytes : int
        From the server to the clients: the model, once to train and once to evaluate.
    bits_per_weight : float or None
        8 * uplink packet bytes / weights received.
    uplink_ratio, downlink_ratio, total_ratio : float or None
        Raw bytes / packet bytes.
    fresh_updates : int
        Packets coded without a history; 0 without a codec.
    encode_seconds, decode_seconds : float
        Summed over the clients.
    seconds : float
        From the start of the round to its end on the server, evaluation included.
    layer_bytes : dict of str to int
        Uplink packet bytes by tensor, and `HEADER_LAYER`. In JSON one key ``layer_bytes/NAME``
        each.
    """

    run: str
    codec: str
    task: str
    strategy: str
    seed: int
    round: int
    n_weights: int
    clients: int
    failures: int
    accuracy: float | None
    loss: float | None
    client_accuracy: float | None
    client_loss: float | None
    train_loss: float | None
    uplink_raw_bytes: int
    uplink_packet_bytes: int
    uplink_wire_bytes: int
    downlink_raw_bytes: int
    downlink_packet_bytes: int
    downlink_wire_bytes: int
    bits_per_weight: float | None
    uplink_ratio: float | None
    downlink_ratio: float | None
    total_ratio: float | None
    fresh_updates: int
    encode_seconds: float
    decode_seconds: float
    seconds: float
    layer_bytes: dict[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the row as a flat mapping of JSON values."""
        values = asdict(self)
        layers = values.pop("layer_bytes")
        return values | {f"{_LAYER_PREFIX}{name}": n_bytes for name, n_bytes in layers.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RoundRow:
        """Read what `to_dict` wrote.

        Raises
        ------
        RowError
            If a field is missing, unknown, or of the wrong type.
        """
        plain = {key: value for key, value in values.items() if not key.startswith(_LAYER_PREFIX)}
        expected = {
            entry.name: str(entry.type) for entry in fields(cls) if entry.name != "layer_bytes"
        }
        if plain.keys() != expected.keys():
            odd = sorted(plain.keys() ^ expected.keys())
            raise RowError(f"expected the fields of a round, found these missing or unknown: {odd}")
        for name, annotation in expected.items():
            if not _fits(plain[name], annotation):
                raise RowError(f"field {name!r}: expected {annotation}, found {plain[name]!r}")
        layers = {
            key.removeprefix(_LAYER_PREFIX): value
            for key, value in values.items()
            if key.startswith(_LAYER_PREFIX)
        }
        if not all(_fits(n_bytes, "int") for n_bytes in layers.values()):
            raise RowError(f"layer bytes: expected integers, found {layers}")
        return cls(**plain, layer_bytes=layers)


def _fits(value: object, annotation: str) -> bool:
    """Say whether a JSON value suits a field of `RoundRow`."""
    if value is None:
        return annotation.endswith("None")
    if annotation == "str":
        return isinstance(value, str)
    if annotation == "int":
        return type(value) is int and value >= 0
    return type(value) in {int, float} and math.isfinite(float(str(value)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Totals:
    """What a whole run cost and reached.

    Parameters
    ----------
    accuracy : float or None
        After the last round.
    uplink_raw_bytes, uplink_packet_bytes, downlink_raw_bytes, downlink_packet_bytes : int
        Summed over the rounds.
    uplink_wire_bytes, downlink_wire_bytes : int
        Likewise, with Flower's envelope.
    n_updated_weights : int
        Weights times updates received: the denominator of bits per weight.
    failures : int
        Updates lost.
    seconds : float
        Of all rounds.
    """

    accuracy: float | None
    uplink_raw_bytes: int
    uplink_packet_bytes: int
    downlink_raw_bytes: int
    downlink_packet_bytes: int
    uplink_wire_bytes: int
    downlink_wire_bytes: int
    n_updated_weights: int
    failures: int
    seconds: float

    @classmethod
    def of(cls, rows: Sequence[RoundRow]) -> Totals:
        """Add up the rows of one run.

        Parameters
        ----------
        rows : sequence of RoundRow
            In the order of rounds; at least one.

        Returns
        -------
        Totals
        """
        return cls(
            accuracy=rows[-1].accuracy,
            uplink_raw_bytes=sum(row.uplink_raw_bytes for row in rows),
            uplink_packet_bytes=sum(row.uplink_packet_bytes for row in rows),
            downlink_raw_bytes=sum(row.downlink_raw_bytes for row in rows),
            downlink_packet_bytes=sum(row.downlink_packet_bytes for row in rows),
            uplink_wire_bytes=sum(row.uplink_wire_bytes for row in rows),
            downlink_wire_bytes=sum(row.downlink_wire_bytes for row in rows),
            n_updated_weights=sum(row.n_weights * (row.clients - row.failures) for row in rows),
            failures=sum(row.failures for row in rows),
            seconds=sum(row.seconds for row in rows),
        )

    @property
    def bits_per_weight(self) -> float | None:
        """Uplink bits per weight of an update."""
        return quotient(8 * self.uplink_packet_bytes, self.n_updated_weights)

    @property
    def uplink_ratio(self) -> float | None:
        """Raw / packet bytes on the way up."""
        return quotient(self.uplink_raw_bytes, self.uplink_packet_bytes)

    @property
    def downlink_ratio(self) -> float | None:
        """Raw / packet bytes on the way down."""
        return quotient(self.downlink_raw_bytes, self.downlink_packet_bytes)

    @property
    def total_ratio(self) -> float | None:
        """Raw / packet bytes in both directions."""
        return quotient(
            self.uplink_raw_bytes + self.downlink_raw_bytes,
            self.uplink_packet_bytes + self.downlink_packet_bytes,
        )


def quotient(numerator: float, denominator: float) -> float | None:
    """Divide; None where there is nothing to divide by."""
    return numerator / denominator if denominator else None


def finite(value: float | None) -> float | None:
    """Return the value, or None for what JSON cannot hold."""
    return value if value is not None and math.isfinite(value) else None


def rows_by_run(rows: Iterable[RoundRow]) -> dict[str, list[RoundRow]]:
    """Group rows by their run, runs in order of appearance, rounds ascending."""
    grouped: dict[str, list[RoundRow]] = {}
    for row in rows:
        grouped.setdefault(row.run, []).append(row)
    return {run: sorted(group, key=lambda row: row.round) for run, group in grouped.items()}
