# SPDX-License-Identifier: Apache-2.0
"""What the abstract protocol says of a server that was saved: all that it knew at that moment."""

from __future__ import annotations

import copy
from dataclasses import dataclass

from flower.copies import Copies
from flower.streams import State, Stream
from flower.witness import Vector


@dataclass(frozen=True)
class SavedServer:
    """The server's part of streams and copies, by node, and the number of the model."""

    model: int
    streams: dict[int, tuple[State | None, Vector | float, Vector | float]]
    known: dict[int, bytes]

    @classmethod
    def of(cls, model: int, streams: dict[int, Stream], copies: Copies) -> SavedServer:
        kept = {
            node_id: (stream.held, copy.copy(stream.update_sum), copy.copy(stream.decoded_sum))
            for node_id, stream in streams.items()
        }
        return cls(model, kept, dict(copies.known))

    def restore(self, streams: dict[int, Stream], copies: Copies) -> None:
        """Put the server back; nodes are where they are."""
        copies.known = {node_id: name for node_id, name in self.known.items() if node_id in streams}
        for node_id, stream in streams.items():
            held, update_sum, decoded_sum = self.streams.get(node_id, (None, 0.0, 0.0))
            stream.held, stream.update_sum, stream.decoded_sum = held, update_sum, decoded_sum
            stream.n_clean = 0
