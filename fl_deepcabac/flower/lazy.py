# SPDX-License-Identifier: Apache-2.0
"""Weights that are decoded when the inner strategy reads them.

Decoding all replies of a round before aggregation would hold as many models as there are replies.
An inner strategy that reads one reply after the other, as FedAvg does, holds one this way.
Invariant: packets that get here have already been decoded once, successfully, against the same
state, so reading cannot fail; and every read returns a new array, because strategies work in place.
"""

from __future__ import annotations

import time
from typing import Any

from flwr.app import Array, ArrayRecord
from numpy.typing import NDArray

from fl_deepcabac.codec import decode_update
from fl_deepcabac.flower.ledger import Transfer
from fl_deepcabac.flower.records import NUMPY_STYPE
from fl_deepcabac.flower.replies import CheckedPacket
from fl_deepcabac.flower.saved_state import restore_state
from fl_deepcabac.flower.weights import add_reference
from fl_deepcabac.schema import TensorSpec

__all__ = ["LazyArray", "PacketReader", "ReadingDesk", "detach"]


class ReadingDesk:
    """Where the decoded packets of one round lie open.

    A packet lies here from its first read until each of its tensors has been read. The last one to
    be finished stays until another is opened: some strategies ask each array twice, for its values
    and for its size.
    """

    def __init__(self) -> None:
        self.is_closed = False
        self._readers: list[PacketReader] = []
        self._open: list[PacketReader] = []
        self._finished: PacketReader | None = None

    @property
    def n_open(self) -> int:
        """Number of decoded packets in memory."""
        return len(self._open)

    def register(self, reader: PacketReader) -> None:
        """Take note of a packet of this round."""
        self._readers.append(reader)

    def open(self, reader: PacketReader) -> None:
        """Make room for a packet about to be decoded."""
        if self.is_closed:
            raise RuntimeError(
                "expected the arrays of a reply to be read before aggregate_train returns, found "
                "them read after"
            )
        if self._finished is not None:
            self._put_away(self._finished)
        self._open.append(reader)

    def finish(self, reader: PacketReader) -> None:
        """Note that every tensor of a packet has been read."""
        if self._finished is not None and self._finished is not reader:
            self._put_away(self._finished)
        self._finished = reader

    def close(self) -> None:
        """End the round: put everything away and decode nothing any more.

        Flower keeps the replies until those of the next round are there; packets and references
        need not wait with them.
        """
        self.is_closed = True
        for reader in list(self._open):
            self._put_away(reader)
        for reader in self._readers:
            reader.release()
        self._readers.clear()

    def _put_away(self, reader: PacketReader) -> None:
        reader.update = None
        self._open.remove(reader)
        self._finished = None


class PacketReader:
    """One packet of a round, decoded on demand.

    Parameters
    ----------
    checked : CheckedPacket
    reference : ArrayRecord
        The weights that the node received.
    desk : ReadingDesk
    transfer : Transfer
        Where the time that decoding takes is entered.
    """

    def __init__(
        self,
        checked: CheckedPacket,
        *,
        reference: ArrayRecord,
        desk: ReadingDesk,
        transfer: Transfer,
    ) -> None:
        self.update: dict[str, NDArray[Any]] | None = None
        # Until the desk is closed.
        self._checked: CheckedPacket | None = checked
        self._reference: ArrayRecord | None = reference
        self._desk = desk
        desk.register(self)
        self._transfer = transfer
        self._unread: set[str] = set()

    def read(self, spec: TensorSpec) -> NDArray[Any]:
        """Return the weights of one tensor: reference plus update."""
        if self.update is None:
            self._desk.open(self)
            start = time.perf_counter()
            self.update = self._decode()
            self._transfer.decode_seconds += time.perf_counter() - start
            self._unread = set(self.update)
        update = self.update[spec.name]
        self._unread.discard(spec.name)
        if not self._unread:
            self._desk.finish(self)
        assert self._reference is not None
        return add_reference(spec, update, self._reference[spec.name].numpy())

    def release(self) -> None:
        """Let go of what the values were decoded from."""
        self._checked = self._reference = None

    def _decode(self) -> dict[str, NDArray[Any]]:
        """Decode the packet as it was decoded when it was checked."""
        checked = self._checked
        assert checked is not None
        state = restore_state(checked.state_before, checked.schema, checked.profile)
        return decode_update(checked.packet, schema=checked.schema, state=state).update

    def to_record(self) -> ArrayRecord:
        """Return all tensors, undecoded, in the order of the schema."""
        record = ArrayRecord()
        assert self._checked is not None
        for spec in self._checked.schema.tensors:
            # Assignment keeps the subclass; the constructor of ArrayRecord would copy the data.
            record[spec.name] = LazyArray(self, spec)
        return record


class LazyArray(Array):
    """An Array whose values come from a packet when they are asked for.

    Parameters
    ----------
    reader : PacketReader
    spec : TensorSpec
    """

    def __init__(self, reader: PacketReader, spec: TensorSpec) -> None:
        # Array's own constructor would ask for the data.
        self.dtype = spec.dtype
        self.shape = spec.shape
        self.stype = NUMPY_STYPE
        self._reader = reader
        self._spec = spec

    def numpy(self) -> NDArray[Any]:
        """Return the weights as a new array."""
        return self._reader.read(self._spec)

    @property
    def data(self) -> bytes:  # type: ignore[override]  # a field in Array; read-only here
        """Return the weights as Flower serialises them."""
        return Array(self.numpy()).data

    def __reduce__(self) -> tuple[type[Array], tuple[str, tuple[int, ...], str, bytes]]:
        """Let a copy be an ordinary Array."""
        return Array, (self.dtype, self.shape, self.stype, self.data)


def detach(record: ArrayRecord) -> ArrayRecord:
    """Return the record with ordinary Arrays, for those who keep it longer than the round."""
    if not any(isinstance(array, LazyArray) for array in record.values()):
        return record
    return ArrayRecord(
        {
            name: Array(array.numpy()) if isinstance(array, LazyArray) else array
            for name, array in record.items()
        }
    )
