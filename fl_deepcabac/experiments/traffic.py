# SPDX-License-Identifier: Apache-2.0
"""Counting what travels between server and clients, and stopping a run from outside.

Both happen where every message passes whatever its codec: at the grid. Invariant: bytes are counted
from the messages as sent, before the server decodes and after the clients encode, so runs with
different codecs are counted by the same rule. The ledger of a compressing strategy counts the same
messages by itself; the two agree.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from flwr.app import Array, Message, RecordDict
from flwr.serverapp import Grid

from fl_deepcabac.flower.ledger import CommunicationLedger, Payload, RoundRecord, Transfer

__all__ = ["GridView", "MeteredGrid", "SimulationStopped"]

PULL_SECONDS = 0.05
NUMPY_STYPE = "numpy.ndarray"  # Flower's own serialisation, whose 128-byte header is envelope


class SimulationStopped(Exception):
    """Someone outside asked the run to end."""


class GridView(Grid):
    """A grid that passes everything on to another one; the base of grids that change one thing.

    Parameters
    ----------
    grid : Grid
        Where calls go.
    """

    def __init__(self, grid: Grid) -> None:
        self._grid = grid

    def set_run(self, run: Any) -> None:
        """Set the run."""
        self._grid.set_run(run)

    @property
    def run(self) -> Any:
        """Run information."""
        return self._grid.run

    def create_message(self, *args: Any, **kwargs: Any) -> Message:
        """Make a message, as Flower's older strategies do."""
        return self._grid.create_message(*args, **kwargs)

    def get_node_ids(self) -> Iterable[int]:
        """Return the ids of the nodes."""
        return self._grid.get_node_ids()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Send messages; returns their ids."""
        return self._grid.push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the replies that have arrived."""
        return self._grid.pull_messages(message_ids)

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Send messages and wait for their replies."""
        return self._grid.send_and_receive(messages, timeout=timeout)


class MeteredGrid(GridView):
    """A grid that counts what passes, reports progress and ends when asked to.

    Parameters
    ----------
    grid : Grid
        Flower's own.
    model_bytes : int
        Bytes of one uncompressed update: what a reply of another form stands for.
    stop : Event
        Once set, waiting for replies raises `SimulationStopped`. Flower itself would wait on for an
        hour when its engine has died.
    on_reply : callable
        Called with the message type, the number of replies so far and that of messages.
    """

    def __init__(
        self,
        grid: Grid,
        *,
        model_bytes: int,
        stop: threading.Event,
        on_reply: Callable[[str, int, int], None],
    ) -> None:
        super().__init__(grid)
        self.ledger = CommunicationLedger()
        self._model_bytes = model_bytes
        self._stop = stop
        self._on_reply = on_reply
        self._round: RoundRecord | None = None

    def begin_round(self, server_round: int) -> None:
        """Count what follows under this round."""
        self._round = self.ledger.begin(server_round)

    def wait_for_nodes(self, n_nodes: int) -> list[int]:
        """Return the ids of all nodes, once there are so many.

        Raises
        ------
        SimulationStopped
            If asked to stop before that.
        """
        while len(node_ids := list(self.get_node_ids())) < n_nodes:
            if self._stop.wait(PULL_SECONDS):
                raise SimulationStopped
        return node_ids

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Send messages, wait for their replies, and count both.

        Raises
        ------
        SimulationStopped
            If asked to stop.
        """
        sent = list(messages)
        waiting = set(self.push_messages(sent))
        transfers = {message.metadata.message_id: self._count_message(message) for message in sent}
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        replies: list[Message] = []
        while waiting and time.monotonic() < deadline:
            if self._stop.is_set():
                raise SimulationStopped
            for reply in self.pull_messages(waiting):
                replies.append(reply)
                waiting.discard(reply.metadata.reply_to_message_id)
                self._count_reply(reply, transfers[reply.metadata.reply_to_message_id])
                self._on_reply(sent[0].metadata.message_type, len(replies), len(sent))
            if waiting:
                time.sleep(PULL_SECONDS)
        return replies

    def _count_message(self, message: Message) -> Transfer | None:
        """Enter what goes down; messages outside a round are not counted."""
        if self._round is None:
            return None
        is_train = message.metadata.message_type.startswith("train")
        transfer = self._round.open(
            "train" if is_train else "evaluate", message.metadata.dst_node_id
        )
        transfer.sent(
            raw_bytes=self._model_bytes,
            packet_bytes=sum(map(_array_bytes, _arrays(message.content).values())),
            message=Payload.of(message.content),
        )
        return transfer

    def _count_reply(self, reply: Message, transfer: Transfer | None) -> None:
        """Enter what came up."""
        if transfer is None:
            return
        if reply.has_error():
            transfer.failed(reply.error.reason or "error reply without a reason")
            return
        transfer.replied(Payload.of(reply.content))
        if transfer.phase == "train" and self._round is not None:
            transfer.uplink_raw_bytes = self._model_bytes
            transfer.uplink_packet_bytes = sum(map(_array_bytes, _arrays(reply.content).values()))
            self._round.add_tensor_bytes(
                {
                    name: _array_bytes(array)
                    for name, array in _arrays(reply.content).items()
                    if array.stype == NUMPY_STYPE
                }
            )


def _arrays(content: RecordDict) -> dict[str, Array]:
    """Return the arrays of a message; there is at most one record of them."""
    return {
        name: array for record in content.array_records.values() for name, array in record.items()
    }


def _array_bytes(array: Array) -> int:
    """Return elements times bytes per element, or the length of a packet: no framing of Flower."""
    if array.stype == NUMPY_STYPE:
        return math.prod(array.shape) * np.dtype(array.dtype).itemsize
    return len(array.data)
