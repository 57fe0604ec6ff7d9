# SPDX-License-Identifier: Apache-2.0
"""What a run has cost in communication, as data: one row per message and its reply.

Three sizes per direction: raw bytes (the arrays, elements times bytes per element), packet bytes
(what replaced them; equal to raw bytes where nothing was compressed) and wire bytes (an estimate of
what crosses the network, Flower's envelope included). Invariant: a row is written when its message
is made and only completed by its reply, so that what never came back is counted too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fl_deepcabac.flower.wire import Payload, wire_bytes_of_message, wire_bytes_of_reply

if TYPE_CHECKING:
    import pandas as pd

    from fl_deepcabac.flower.frames import FrameRows

__all__ = ["CommunicationLedger", "Payload", "RoundRecord", "Totals", "Transfer"]

Phase = Literal["train", "evaluate"]
# How the update of a reply was coded: against the state of earlier packets, against a fresh state,
# not at all, or there was no usable update.
Coding = Literal["warm", "fresh", "uncompressed", "none"]


@dataclass(slots=True, kw_only=True)
class Transfer:
    """One message to one node and what came back: a row of the ledger.

    Parameters
    ----------
    server_round : int
    phase : {"train", "evaluate"}
    node_id : int
    coding : {"warm", "fresh", "uncompressed", "none"}
        State that the reply's packet was coded against; ``"none"`` while no update has arrived.
    downlink_raw_bytes, downlink_packet_bytes, downlink_wire_bytes : int
        The arrays sent; what was sent for them; what crossed the network, estimated.
    uplink_raw_bytes, uplink_packet_bytes, uplink_wire_bytes : int
        The update that arrived and could be used; what came for it, usable or not; likewise.
    n_weights : int
        Elements of the update that arrived as a packet.
    bits_per_weight : float or None
        Of its packet; None where there was none.
    encode_seconds, decode_seconds : float
        Reported by the client; measured here, over all decodes of the packet.
    failure : str or None
        Why the reply was of no use: the node's own error, an undecodable packet, or no reply.
    """

    server_round: int
    phase: Phase
    node_id: int
    coding: Coding = "none"
    downlink_raw_bytes: int = 0
    downlink_packet_bytes: int = 0
    downlink_wire_bytes: int = 0
    uplink_raw_bytes: int = 0
    uplink_packet_bytes: int = 0
    uplink_wire_bytes: int = 0
    n_weights: int = 0
    bits_per_weight: float | None = None
    encode_seconds: float = 0.0
    decode_seconds: float = 0.0
    failure: str | None = "no reply"

    def sent(self, *, raw_bytes: int, packet_bytes: int, message: Payload) -> None:
        """Enter what went down."""
        self.downlink_raw_bytes = raw_bytes
        self.downlink_packet_bytes = packet_bytes
        self.uplink_wire_bytes, self.downlink_wire_bytes = wire_bytes_of_message(message)

    def replied(self, reply: Payload) -> None:
        """Enter that something came up; what it was worth is entered by one of the three below."""
        up, down = wire_bytes_of_reply(reply)
        self.uplink_wire_bytes += up
        self.downlink_wire_bytes += down
        self.failure = None

    def decoded(
        self,
        *,
        is_fresh: bool,
        packet_bytes: int,
        raw_bytes: int,
        n_weights: int,
        encode_seconds: float,
        decode_seconds: float,
    ) -> None:
        """Enter an update that came as a packet."""
        self.coding = "fresh" if is_fresh else "warm"
        self.uplink_packet_bytes = packet_bytes
        self.uplink_raw_bytes = raw_bytes
        self.n_weights = n_weights
        self.bits_per_weight = 8 * packet_bytes / n_weights if n_weights else 0.0
        self.encode_seconds = encode_seconds
        self.decode_seconds = decode_seconds

    def uncompressed(self, *, raw_bytes: int) -> None:
        """Enter an update that came as it is."""
        self.coding = "uncompressed"
        self.uplink_raw_bytes = self.uplink_packet_bytes = raw_bytes

    def failed(self, reason: str, *, packet_bytes: int = 0) -> None:
        """Enter a reply of no use. Its bytes count; the update they stood for does not."""
        self.failure = reason
        self.uplink_packet_bytes = packet_bytes


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over transfers.

    Parameters
    ----------
    messages, replies, failures : int
        Sent; usable; and the difference.
    warm, fresh, uncompressed : int
        Updates by how they were coded.
    uplink_..., downlink_... : int
        Raw, packet and wire bytes; see `Transfer` and the head of this module.
    encode_seconds, decode_seconds : float
        Of all nodes together.
    bits_per_weight : float
        Of all updates that came as packets, weighted by their size; 0 if none did.
    uplink_ratio, downlink_ratio, ratio : float
        Raw bytes by packet bytes, up, down and together; 1 where nothing travelled.
    """

    messages: int
    replies: int
    failures: int
    warm: int
    fresh: int
    uncompressed: int
    uplink_raw_bytes: int
    uplink_packet_bytes: int
    uplink_wire_bytes: int
    downlink_raw_bytes: int
    downlink_packet_bytes: int
    downlink_wire_bytes: int
    encode_seconds: float
    decode_seconds: float
    bits_per_weight: float

    @classmethod
    def of(cls, transfers: Iterable[Transfer]) -> Totals:
        """Add up."""
        rows = list(transfers)
        packets = [row for row in rows if row.bits_per_weight is not None]
        n_weights = sum(row.n_weights for row in packets)
        n_bits = 8 * sum(row.uplink_packet_bytes for row in packets)
        failures = sum(row.failure is not None for row in rows)
        return cls(
            messages=len(rows),
            replies=len(rows) - failures,
            failures=failures,
            warm=sum(row.coding == "warm" for row in rows),
            fresh=sum(row.coding == "fresh" for row in rows),
            uncompressed=sum(row.coding == "uncompressed" for row in rows),
            uplink_raw_bytes=sum(row.uplink_raw_bytes for row in rows),
            uplink_packet_bytes=sum(row.uplink_packet_bytes for row in rows),
            uplink_wire_bytes=sum(row.uplink_wire_bytes for row in rows),
            downlink_raw_bytes=sum(row.downlink_raw_bytes for row in rows),
            downlink_packet_bytes=sum(row.downlink_packet_bytes for row in rows),
            downlink_wire_bytes=sum(row.downlink_wire_bytes for row in rows),
            encode_seconds=sum(row.encode_seconds for row in rows),
            decode_seconds=sum(row.decode_seconds for row in rows),
            bits_per_weight=n_bits / n_weights if n_weights else 0.0,
        )

    @property
    def uplink_ratio(self) -> float:
        """Raw by packet bytes, node to server."""
        return _ratio(self.uplink_raw_bytes, self.uplink_packet_bytes)

    @property
    def downlink_ratio(self) -> float:
        """Raw by packet bytes, server to node."""
        return _ratio(self.downlink_raw_bytes, self.downlink_packet_bytes)

    @property
    def ratio(self) -> float:
        """Raw by packet bytes, both directions together."""
        return _ratio(
            self.uplink_raw_bytes + self.downlink_raw_bytes,
            self.uplink_packet_bytes + self.downlink_packet_bytes,
        )

    def to_dict(self) -> dict[str, int | float]:
        """Return all fields and the three ratios, flat."""
        return {
            **asdict(self),
            "uplink_ratio": self.uplink_ratio,
            "downlink_ratio": self.downlink_ratio,
            "ratio": self.ratio,
        }


def _ratio(raw_bytes: int, packet_bytes: int) -> float:
    """Divide; what was free of charge and worth nothing has the ratio 1."""
    return raw_bytes / packet_bytes if packet_bytes else 1.0


@dataclass(slots=True)
class RoundRecord:
    """All transfers of one round.

    Parameters
    ----------
    server_round : int
    transfers : list of Transfer
        Train messages first, then evaluate messages.
    uplink_tensor_bytes : dict of str to int
        Packet bytes per tensor, added up over the updates of the round; packet headers are in none.
    """

    server_round: int
    transfers: list[Transfer] = field(default_factory=list)
    uplink_tensor_bytes: dict[str, int] = field(default_factory=dict)

    def open(self, phase: Phase, node_id: int) -> Transfer:
        """Start a row."""
        transfer = Transfer(server_round=self.server_round, phase=phase, node_id=node_id)
        self.transfers.append(transfer)
        return transfer

    def add_tensor_bytes(self, n_bytes: Mapping[str, int]) -> None:
        """Add the bytes per tensor of one packet."""
        for name, n in n_bytes.items():
            self.uplink_tensor_bytes[name] = self.uplink_tensor_bytes.get(name, 0) + n

    def totals(self, phase: Phase | None = None) -> Totals:
        """Add up the round, or one phase of it."""
        return Totals.of(row for row in self.transfers if phase in {None, row.phase})


class CommunicationLedger:
    """The communication of a strategy, round by round.

    Attributes
    ----------
    rounds : list of RoundRecord
        In order. A strategy that is started again goes on with the same list.
    """

    def __init__(self) -> None:
        self.rounds: list[RoundRecord] = []

    def begin(self, server_round: int) -> RoundRecord:
        """Start a round."""
        self.rounds.append(RoundRecord(server_round))
        return self.rounds[-1]

    @property
    def totals(self) -> Totals:
        """Sums over the whole run."""
        return Totals.of(self._transfers())

    @property
    def nodes(self) -> dict[int, Totals]:
        """Sums per node id."""
        rows: dict[int, list[Transfer]] = {}
        for row in self._transfers():
            rows.setdefault(row.node_id, []).append(row)
        return {node_id: Totals.of(own) for node_id, own in rows.items()}

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return every transfer as a flat dict of str, int, float and None, in order."""
        return [asdict(row) for row in self._transfers()]

    def to_dataframe(self, by: FrameRows = "transfer") -> pd.DataFrame:
        """Return the ledger as a data frame of pandas.

        Parameters
        ----------
        by : {"transfer", "round", "node"}
            What a row is: a message and its reply, with the columns of `to_dicts`; or the `Totals`
            of one phase of a round that had messages, or of a node, with their ratios.

        Raises
        ------
        ModuleNotFoundError
            Without the extra ``pandas``.
        """
        from fl_deepcabac.flower.frames import ledger_frame  # noqa: PLC0415 (reads this module)

        return ledger_frame(self, by)

    def write_jsonl(self, path: str | Path) -> None:
        """Write `to_dicts` as one JSON object per line.

        Parameters
        ----------
        path : str or Path
            Overwritten if it exists.
        """
        lines = [json.dumps(row, allow_nan=False) + "\n" for row in self.to_dicts()]
        Path(path).write_text("".join(lines), encoding="utf-8")

    def __str__(self) -> str:
        """Say in one line what the run has cost."""
        totals = self.totals
        return (
            f"{len(self.rounds)} rounds, {totals.replies} of {totals.messages} replies usable; "
            f"uplink {totals.uplink_packet_bytes:,} of {totals.uplink_raw_bytes:,} bytes "
            f"(ratio {totals.uplink_ratio:.1f}), downlink {totals.downlink_packet_bytes:,} of "
            f"{totals.downlink_raw_bytes:,} (ratio {totals.downlink_ratio:.1f}), "
            f"both (ratio {totals.ratio:.1f})"
        )

    def _transfers(self) -> Iterable[Transfer]:
        return (row for record in self.rounds for row in record.transfers)
