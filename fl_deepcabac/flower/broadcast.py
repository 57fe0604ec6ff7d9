# SPDX-License-Identifier: Apache-2.0
"""The model that nodes hold, and what a node needs to get there; the server's side.

The global model is not what nodes train from, but the broadcast model: what has been sent so far,
added up exactly as the nodes add it up. The difference to the global model is coded once a round,
and what quantisation leaves out of it stays part of the global model, and so of the next one.
Invariant: the broadcast model can be derived, bit for bit, from the keyframe, from the chain of
differences, or from the file that the run started from and the chain, whichever a node gets.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord
from numpy.typing import NDArray

from fl_deepcabac.byte_planes import pack_planes
from fl_deepcabac.errors import DeepCabacError
from fl_deepcabac.flower.broadcast_records import (
    Coding,
    Keyframe,
    envelope_of_keyframe,
    model_digest,
)
from fl_deepcabac.flower.broadcast_ways import Ways
from fl_deepcabac.flower.downlink import DownlinkConfig
from fl_deepcabac.flower.positive import encode_positive
from fl_deepcabac.flower.weights import add_reference, schema_of, subtract_reference
from fl_deepcabac.grid import encode_exactly, round_to_grid
from fl_deepcabac.models import decompress_model
from fl_deepcabac.schema import Schema
from fl_deepcabac.stream import StreamState

__all__ = ["Broadcast"]

Arrays = dict[str, NDArray[Any]]

logger = logging.getLogger("fl_deepcabac")


class Broadcast:
    """The broadcast model, and the stream of differences that leads to it.

    Parameters
    ----------
    config : DownlinkConfig

    Attributes
    ----------
    record : ArrayRecord
        The broadcast model, for the inner strategy: empty before the first `advance`.
    digest : bytes
        Its name; 8 bytes.
    """

    def __init__(self, config: DownlinkConfig) -> None:
        self.config = config
        self.record = ArrayRecord()
        self.digest = b""
        self._schema = Schema(())
        self._global: Arrays = {}
        self._global_digest = b""
        self._weights: Arrays = {}
        self._state: StreamState | None = None
        self._ways = Ways(self._encode_keyframe)

    @property
    def keeps_copies(self) -> bool:
        """Whether nodes keep a model of this size."""
        limit = self.config.client_copy_bytes
        return limit is None or self._schema.raw_bytes <= limit

    def advance(self, arrays: ArrayRecord) -> None:
        """Let the broadcast model follow the global model; nothing happens if that has not moved.

        Parameters
        ----------
        arrays : ArrayRecord
            The global model.

        Raises
        ------
        SchemaMismatchError, TypeError
            If the model is none that can be coded.
        NonFiniteError, LevelRangeError
            If it holds NaN or infinity, or has moved too far. The broadcast model stays.
        """
        schema = schema_of(arrays)
        model = {name: array.numpy() for name, array in arrays.items()}
        digest = model_digest(model, schema)
        if digest == self._global_digest and schema == self._schema:
            return
        if schema == self._schema:
            self._follow(model)
        else:
            self._begin(model, schema)
        self._global, self._global_digest = model, digest

    def with_left_out(self, arrays: ArrayRecord) -> ArrayRecord:
        """Add to what came of the broadcast model what that lacked of the global model.

        Nodes train from the broadcast model, and what they return is aggregated to a model that
        knows nothing of what quantisation left out on the way down.

        Parameters
        ----------
        arrays : ArrayRecord
            Aggregated from updates of the broadcast model.

        Returns
        -------
        ArrayRecord
            The global model; `arrays` itself where it has other tensors.
        """
        if not self._schema.tensors or schema_of(arrays) != self._schema:
            return arrays
        whole = ArrayRecord(dict(arrays))
        left_out = self._left_out()
        for spec in self._schema.level_tensors:
            if left_out[spec.name].any():
                tensor = add_reference(spec, left_out[spec.name], arrays[spec.name].numpy())
                whole[spec.name] = Array(tensor)
        return whole

    def _left_out(self) -> Arrays:
        """Return what the broadcast model lacks of the global model, of tensors coded as levels."""
        return {
            spec.name: subtract_reference(spec, self._global[spec.name], self._weights[spec.name])
            for spec in self._schema.level_tensors
        }

    def _begin(self, model: Arrays, schema: Schema) -> None:
        """Start with a first model, or with one of other tensors."""
        is_first = not self._schema.tensors
        weights, file = model, self._file_of(model, schema) if is_first else None
        if file is None and not self.config.exact_keyframes:
            weights = dict(
                round_to_grid(model, schema, relative_step=self.config.keyframe_relative_step)
            )
        self._schema = schema
        self._state = StreamState.fresh(schema, self.config.profile)
        self._adopt(weights, model_digest(weights, schema))
        self._ways.begin(file)

    def _file_of(self, model: Arrays, schema: Schema) -> bytes | None:
        """Return the file of the initial model, if these are its weights."""
        file = self.config.initial_model
        if file is None:
            return None
        found = "other tensors, or their order"
        if file.schema == schema:
            try:
                if model_digest(decompress_model(file), schema) == model_digest(model, schema):
                    return file.to_bytes()
                found = "others"
            except DeepCabacError as error:
                found = f"a damaged file: {error}"
        logger.warning(
            "DeepCABAC: the run does not start from initial_model: expected its weights as the "
            "first model, found %s; the model is coded like any first one",
            found,
        )
        return None

    def _follow(self, model: Arrays) -> None:
        """Code what is between the broadcast model and the global one."""
        schema = self._schema
        update = {
            spec.name: subtract_reference(spec, model[spec.name], self._global[spec.name])
            for spec in schema.tensors
        }
        left_out = {name: tensor.astype(np.float32) for name, tensor in self._left_out().items()}
        state = self._state
        if state is None or self._ways.is_keyframe_sent:
            # A node that got the keyframe knows nothing of the stream.
            state = StreamState.fresh(schema, self.config.profile)
        coded = encode_positive(
            update,
            start=self._weights,
            goal=model,
            schema=schema,
            config=self.config.codec,
            state=state,
            residual=left_out,
            on_grid=True,
        )
        weights = {
            spec.name: add_reference(spec, coded.decoded[spec.name], self._weights[spec.name])
            for spec in schema.tensors
        }
        digest = model_digest(weights, schema)
        if digest == self.digest:
            return  # too little to send; nodes stay where they are, and so does the stream
        base = self.digest
        self._adopt(weights, digest)
        goes_on = self._ways.follow(base, coded.packet, digest)
        self._state = coded.state if goes_on else None

    def _adopt(self, weights: Arrays, digest: bytes) -> None:
        self._weights, self.digest = weights, digest
        self.record = ArrayRecord({name: Array(array) for name, array in weights.items()})

    def to_plain(self) -> dict[str, Any]:
        """Return everything that the next `advance` builds on, for a checkpoint."""
        return {
            "schema": self._schema.to_json(),
            "global": self._global,
            "weights": self._weights,
            "profile": self.config.profile,
            "state": None if self._state is None else self._state.to_bytes(),
            **self._ways.to_plain(),
        }

    @classmethod
    def from_plain(cls, config: DownlinkConfig, plain: dict[str, Any]) -> Broadcast:
        """Return the broadcast that `to_plain` described.

        Raises
        ------
        DeepCabacError, KeyError, TypeError, ValueError
            If it is no such description.
        """
        broadcast = cls(config)
        schema = Schema.from_json(plain["schema"])
        if not schema.tensors:
            return broadcast
        broadcast._schema = schema
        broadcast._global = plain["global"]
        broadcast._global_digest = model_digest(plain["global"], schema)
        weights = {spec.name: plain["weights"][spec.name] for spec in schema.tensors}
        broadcast._adopt(weights, model_digest(weights, schema))
        # A stream of another profile cannot go on: the next difference is coded afresh.
        if plain["state"] is not None and plain["profile"] == config.profile:
            broadcast._state = StreamState.from_bytes(plain["state"], schema, config.profile)
        broadcast._ways.restore(plain)
        return broadcast

    def envelope_for(self, held: bytes | None) -> bytes | None:
        """Return what a node needs to hold the broadcast model; None if it holds it.

        Parameters
        ----------
        held : bytes or None
            Digest of its copy; None where it has none, or nobody knows.
        """
        if held == self.digest:
            return None
        return self._ways.shortest(held)

    def _encode_keyframe(self) -> bytes:
        packet = None
        if not self.config.exact_keyframes:
            packet = encode_exactly(
                self._weights,
                schema=self._schema,
                profile=self.config.profile,
                threads=self.config.threads,
            )
        coding: Coding = "exact" if packet is None else "on grid"
        content = pack_planes(self._weights, self._schema) if packet is None else packet
        return envelope_of_keyframe(Keyframe(self._schema, coding, content))
