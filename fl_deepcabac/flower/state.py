# SPDX-License-Identifier: Apache-2.0
"""Which states a client holds: its slots.

Client and server never count in step, because replies get lost and clients forget. Instead the
server names, in each train message, the state it holds for the node (the token); the client codes
against exactly that state if it still has it, and against a fresh one if not. Two slots are enough,
because a node works on one message at a time: the state that the server named (acknowledged) and
the one after the packet just sent (pending). Invariant: a residual lives and dies with the slot of
its state, so that no residual is counted twice, and none is lost, when a reply gets lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from fl_deepcabac.config import Profile
from fl_deepcabac.errors import DeepCabacError
from fl_deepcabac.feedback import Residual
from fl_deepcabac.schema import Schema
from fl_deepcabac.stream import StreamState

__all__ = ["ClientSlots", "Slot"]

# All records of ours in Context.state start so.
RECORD_PREFIX: Final = "fl-deepcabac"


@dataclass(frozen=True)
class Slot:
    """One state of a client and the residual that belongs to it.

    Parameters
    ----------
    state : StreamState
    residual : dict of str to ndarray
        What quantisation has left out so far; empty before the first packet and without error
        feedback.
    """

    state: StreamState
    residual: Residual


class ClientSlots:
    """The slots of one run in the state of a client.

    They are stored as a ConfigRecord, digest in hexadecimal to state bytes, and one ArrayRecord per
    residual. Flower hands the state of a client on to later runs of the same series, so names hold
    the run's id, and what earlier runs left is dropped.

    Parameters
    ----------
    records : RecordDict
        ``Context.state``; edited by `store` only.
    run_id : int
    """

    def __init__(self, records: RecordDict, run_id: int) -> None:
        self._records = records
        self._states_name = f"{RECORD_PREFIX}.{run_id}.states"
        self._residual_name = f"{RECORD_PREFIX}.{run_id}.residual."

    def find(self, token: bytes, schema: Schema, profile: Profile) -> Slot | None:
        """Return the slot that `token` names; None if this client does not have it.

        A slot that cannot be read, as after an upgrade of the package, is one it does not have.
        """
        saved = self._states().get(token.hex())
        if not isinstance(saved, bytes):
            return None
        try:
            state = StreamState.from_bytes(saved, schema, profile)
        except DeepCabacError:
            return None
        arrays = self._records.array_records.get(self._residual_name + token.hex(), ArrayRecord())
        return Slot(state, {name: array.numpy() for name, array in arrays.items()})

    def store(self, *, acknowledged: bytes, pending: Slot) -> None:
        """Keep two slots and drop everything else of ours.

        Parameters
        ----------
        acknowledged : bytes
            Token that the server sent; the slot it names stays as it is.
        pending : Slot
            After the packet that answers it.
        """
        states = self._states()
        saved = {key: states[key] for key in [acknowledged.hex()] if key in states}
        residual_name = self._residual_name + acknowledged.hex()
        for name in list(self._records):
            if name.startswith(f"{RECORD_PREFIX}.") and name != residual_name:
                del self._records[name]
        pending_key = pending.state.digest.hex()
        self._records[self._states_name] = ConfigRecord(
            {**saved, pending_key: pending.state.to_bytes()}
        )
        if pending.residual:
            self._records[self._residual_name + pending_key] = ArrayRecord(
                {name: Array(tensor) for name, tensor in pending.residual.items()}
            )

    def _states(self) -> ConfigRecord:
        """Return the record of saved states, by digest."""
        return self._records.config_records.get(self._states_name, ConfigRecord())
