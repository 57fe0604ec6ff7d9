# SPDX-License-Identifier: Apache-2.0
"""An estimate of what a message and its reply cost on the wire, Flower's envelope included.

Invariant: the estimate depends on the arrays alone, never on time or place, so that it is the same
in a simulation, where nothing crosses a wire, as in a deployment.

Notes
-----
It follows a measurement with a counting proxy between SuperNode and SuperLink of flwr 1.41. Every
object of a message (ArrayRecord, Array, 5 MiB chunk of an Array) is a request of its own, which
costs bytes in both directions, and a message with its reply has a fixed cost::

    up   = bytes in reply   + 974 * objects in reply   + 452 * Arrays in reply
                            + 933 * objects in message + 11_848
    down = bytes in message + 366 * objects in message + 196 * objects in reply + 2_836

It reproduces that measurement to 7 % (``tests/flower/test_ledger.py``) and leaves out heartbeats
and polls, which grow with time and not with the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from flwr.app import RecordDict

__all__ = ["Payload", "WireBytes", "wire_bytes_of_message", "wire_bytes_of_reply"]

# Flower's FLWR_PRIVATE_MAX_ARRAY_CHUNK_SIZE.
CHUNK_BYTES: Final = 5 * 2**20
UP_PER_PUSHED_OBJECT: Final = 974
UP_PER_PUSHED_ARRAY: Final = 452
UP_PER_PULLED_OBJECT: Final = 933
UP_PER_EXCHANGE: Final = 11_848
DOWN_PER_PULLED_OBJECT: Final = 366
DOWN_PER_PUSHED_OBJECT: Final = 196
DOWN_PER_EXCHANGE: Final = 2_836


@dataclass(frozen=True, slots=True)
class Payload:
    """The arrays of one message, as far as its wire bytes depend on them.

    Parameters
    ----------
    n_bytes : int
        Of the serialised Arrays.
    n_arrays, n_objects : int
        Arrays; and ArrayRecords, Arrays and chunks together.
    """

    n_bytes: int = 0
    n_arrays: int = 0
    n_objects: int = 0

    @classmethod
    def of(cls, content: RecordDict) -> Payload:
        """Measure the content of a message."""
        records = list(content.array_records.values())
        sizes = [len(array.data) for record in records for array in record.values()]
        n_chunks = sum(-(-size // CHUNK_BYTES) for size in sizes)
        return cls(sum(sizes), len(sizes), len(records) + len(sizes) + n_chunks)


class WireBytes(NamedTuple):
    """Bytes from node to server, and from server to node."""

    up: int
    down: int


def wire_bytes_of_message(message: Payload) -> WireBytes:
    """Estimate what it costs that a node fetches a message and answers without arrays."""
    return WireBytes(
        up=UP_PER_PULLED_OBJECT * message.n_objects + UP_PER_EXCHANGE,
        down=message.n_bytes + DOWN_PER_PULLED_OBJECT * message.n_objects + DOWN_PER_EXCHANGE,
    )


def wire_bytes_of_reply(reply: Payload) -> WireBytes:
    """Estimate what the arrays of a reply add to that."""
    return WireBytes(
        up=reply.n_bytes
        + UP_PER_PUSHED_OBJECT * reply.n_objects
        + UP_PER_PUSHED_ARRAY * reply.n_arrays,
        down=DOWN_PER_PUSHED_OBJECT * reply.n_objects,
    )
