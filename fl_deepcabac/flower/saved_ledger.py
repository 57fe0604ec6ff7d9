# SPDX-License-Identifier: Apache-2.0
"""The ledger in a checkpoint: one compressed JSON object a round, because rows are much alike."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict

import zstandard

from fl_deepcabac.flower.ledger import CommunicationLedger, RoundRecord, Transfer

__all__ = ["SavedLedger", "load_ledger"]

# A round of a million rows is well below that.
MAX_ROUND_BYTES = 2**30


class SavedLedger:
    """Saves a ledger again and again, each round that has ended once."""

    def __init__(self) -> None:
        self._ended: list[bytes] = []

    def save(self, ledger: CommunicationLedger) -> list[bytes]:
        """Return the rounds of a ledger, always the same one; the last of them may go on."""
        ended = max(len(ledger.rounds) - 1, 0)
        self._ended += [_save_round(record) for record in ledger.rounds[len(self._ended) : ended]]
        return [*self._ended, *map(_save_round, ledger.rounds[ended:])]


def load_ledger(saved: Iterable[bytes]) -> CommunicationLedger:
    """Return the ledger that was saved; raise TypeError, KeyError or ValueError for another."""
    ledger = CommunicationLedger()
    ledger.rounds = [_load_round(text) for text in saved]
    return ledger


def _save_round(record: RoundRecord) -> bytes:
    text = json.dumps(asdict(record), allow_nan=False, separators=(",", ":"))
    return zstandard.ZstdCompressor().compress(text.encode())


def _load_round(saved: bytes) -> RoundRecord:
    try:
        if (n_bytes := zstandard.frame_content_size(saved)) > MAX_ROUND_BYTES:
            raise ValueError(f"at most {MAX_ROUND_BYTES} bytes a round, found {n_bytes}")
        text = zstandard.ZstdDecompressor().decompress(saved)
        # What no ledger holds, the next checkpoint could not be saved with.
        values = json.loads(text, parse_float=_finite, parse_constant=_finite)
    except (zstandard.ZstdError, RecursionError) as error:
        raise ValueError(str(error)) from None
    transfers = [Transfer(**row) for row in values["transfers"]]
    return RoundRecord(values["server_round"], transfers, values["uplink_tensor_bytes"])


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"expected finite numbers, found {text}")
    return number
