# SPDX-License-Identifier: Apache-2.0
"""The client's copy of the broadcast model, and how it follows the server.

Invariant: weights are handed on only if their digest is the one that the message names; else the
copy is dropped, and the node says that it needs a keyframe. Nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from numpy.typing import NDArray

from fl_deepcabac.byte_planes import unpack_planes
from fl_deepcabac.codec import decode_update
from fl_deepcabac.config import CodecConfig
from fl_deepcabac.errors import DecodeError, DeepCabacError, StateMismatchError
from fl_deepcabac.flower.broadcast_records import (
    Difference,
    FileAndChain,
    Keyframe,
    Named,
    model_digest,
    parse_envelope,
)
from fl_deepcabac.flower.weights import add_reference, schema_of
from fl_deepcabac.models import CompressedModel, decompress_model
from fl_deepcabac.packet import inspect_packet
from fl_deepcabac.schema import Schema
from fl_deepcabac.stream import StreamState

__all__ = ["NEEDS_KEYFRAME", "ModelCopy", "receive_model"]

# All records of ours in Context.state that hold a copy start so.
COPY_PREFIX: Final = "fl-deepcabac-copy"
DIGEST_KEY, STATE_KEY = "digest", "state"
# The reason of the error reply by which a node asks for a keyframe holds this.
NEEDS_KEYFRAME: Final = "needs a keyframe"

Arrays = dict[str, NDArray[Any]]


class ModelCopy:
    """The copy of one run in the state of a client: weights, digest, and state of the stream.

    Parameters
    ----------
    records : RecordDict
        ``Context.state``.
    run_id : int
    """

    def __init__(self, records: RecordDict, run_id: int) -> None:
        self._records = records
        self._arrays_name = f"{COPY_PREFIX}.{run_id}.weights"
        self._about_name = f"{COPY_PREFIX}.{run_id}.about"

    @property
    def digest(self) -> bytes:
        """Name of the model held; empty if there is none."""
        value = self._about().get(DIGEST_KEY, b"")
        return value if isinstance(value, bytes) and self._arrays_name in self._records else b""

    @property
    def weights(self) -> ArrayRecord:
        """The model held."""
        return self._records.array_records[self._arrays_name]

    def state_for(self, packet: bytes, schema: Schema) -> StreamState:
        """Return the state that the next difference was coded against.

        Raises
        ------
        DeepCabacError
            If it is not here.
        """
        header = inspect_packet(packet)
        saved = self._about().get(STATE_KEY)
        if header.is_fresh:
            return StreamState.fresh(schema, header.profile)
        if not isinstance(saved, bytes):
            raise StateMismatchError(expected=bytes(8), found=header.base_state_digest)
        return StreamState.from_bytes(saved, schema, header.profile)

    def store(self, weights: ArrayRecord, digest: bytes, state: StreamState | None) -> None:
        """Keep a model instead of the one held."""
        self.drop()
        about: dict[str, Any] = {DIGEST_KEY: digest}
        if state is not None:
            about[STATE_KEY] = state.to_bytes()
        self._records[self._arrays_name] = weights
        self._records[self._about_name] = ConfigRecord(about)

    def drop(self) -> None:
        """Keep no model, nor that of an earlier run."""
        for name in list(self._records):
            if name.startswith(COPY_PREFIX):
                del self._records[name]

    def _about(self) -> ConfigRecord:
        return self._records.config_records.get(self._about_name, ConfigRecord())


def receive_model(content: RecordDict, named: Named, copy: ModelCopy) -> ArrayRecord:
    """Return the weights that a message stands for, and keep a copy of them.

    Parameters
    ----------
    content : RecordDict
        Of the message.
    named : Named
        What it says of its model.
    copy : ModelCopy
        Edited.

    Returns
    -------
    ArrayRecord

    Raises
    ------
    DecodeError
        If they cannot be had. The copy is dropped, and the server, which finds `NEEDS_KEYFRAME` in
        the error reply, will send a keyframe.
    """
    try:
        envelope = parse_envelope(content.array_records[named.record_name])
        if isinstance(envelope, Keyframe):
            arrays, state = _decode_keyframe(envelope), None
            weights = _checked(arrays, envelope.schema, named.digest)
        else:
            if isinstance(envelope, FileAndChain):
                if copy.digest not in {named.digest, *(link.base for link in envelope.chain)}:
                    _begin_with_file(envelope.content, copy)
                envelope = envelope.chain
            weights, state = _follow_chain(envelope, named.digest, copy)
    except DeepCabacError as error:
        copy.drop()
        raise DecodeError(f"model {named.digest.hex()} {NEEDS_KEYFRAME}: {error}") from error
    if not named.keeps_copy:
        copy.drop()
    elif copy.digest != named.digest or state is not None:
        copy.store(weights, named.digest, state)
    return weights


def _decode_keyframe(keyframe: Keyframe) -> Arrays:
    if keyframe.coding == "exact":
        return unpack_planes(keyframe.content, keyframe.schema)
    profile = inspect_packet(keyframe.content).profile
    model = CompressedModel(keyframe.content, keyframe.schema, CodecConfig(profile=profile))
    return decompress_model(model)


def _begin_with_file(content: bytes, copy: ModelCopy) -> None:
    """Keep the model of a ``.dcbc`` file instead of the copy."""
    model = CompressedModel.from_bytes(content)
    arrays = decompress_model(model)
    weights = ArrayRecord({spec.name: Array(arrays[spec.name]) for spec in model.schema.tensors})
    copy.store(weights, model_digest(arrays, model.schema), None)


def _follow_chain(
    chain: Sequence[Difference], wanted: bytes, copy: ModelCopy
) -> tuple[ArrayRecord, StreamState | None]:
    """Add the differences that are still ahead of the copy; the state after them, if any was."""
    held = copy.digest
    if held == wanted:
        return copy.weights, None
    bases = [link.base for link in chain]
    if not held or held not in bases:
        found = held.hex() or "no copy"
        known = ", ".join(base.hex() for base in bases) or "that model itself"
        raise DecodeError(f"expected a copy of {known}, found {found}")
    schema = schema_of(copy.weights)
    arrays = {name: array.numpy() for name, array in copy.weights.items()}
    state: StreamState | None = None
    for link in chain[bases.index(held) :]:
        if state is None or inspect_packet(link.packet).is_fresh:
            state = copy.state_for(link.packet, schema)
        decoded = decode_update(link.packet, schema=schema, state=state)
        state = decoded.state
        arrays = {
            spec.name: add_reference(spec, decoded.update[spec.name], arrays[spec.name])
            for spec in schema.tensors
        }
    return _checked(arrays, schema, wanted), state


def _checked(arrays: Arrays, schema: Schema, digest: bytes) -> ArrayRecord:
    """Return the weights as a record, if they are those that were meant."""
    if (found := model_digest(arrays, schema)) != digest:
        raise DecodeError(f"expected model {digest.hex()}, found {found.hex()}")
    return ArrayRecord({spec.name: Array(arrays[spec.name]) for spec in schema.tensors})
