# SPDX-License-Identifier: Apache-2.0
"""Streams that packets and saved states are tried on: small golden ones, and two of nothing.

Golden files never change, so that an edit to one means the same for ever.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from golden.goldens import read_golden
from numpy.typing import NDArray
from samples import assert_same

import fl_deepcabac as dc

__all__ = ["REFUSALS", "Place", "check_goes_on", "places"]

# What a decoder may raise, whatever the bytes.
REFUSALS = (dc.DecodeError, dc.SchemaMismatchError, dc.ConfigError)

# Stream, and how many of its packets have been decoded.
GOLDEN = (
    ("every_dtype_fast", 0),
    ("every_dtype_fast", 2),
    ("every_dtype_max", 1),
    ("exact_only", 0),
    ("exact_only", 1),
    ("extreme_levels", 1),
    ("moving_steps_fast", 0),
    ("moving_steps_fast", 3),
    ("moving_steps_max", 2),
    ("trellis_fast", 1),
    ("trellis_max", 0),
)
# No tensors, and tensors without elements.
EMPTY = ("[]", '[["nothing","float32",[0,3]],["none","int8",[0]]]')


@dataclass(frozen=True)
class Place:
    """A place in a stream: its state, the next packet, and what that means."""

    schema: dc.Schema
    config: dc.CodecConfig
    state: dc.StreamState
    packet: bytes
    meant: dict[str, NDArray[np.generic]]

    @classmethod
    def of(cls, decoder: dc.UpdateDecoder, packet: bytes) -> Place:
        state = decoder._state
        meant = decoder.decode(packet)
        # Whatever quantiser and step the stream had: others find no value too large for a level.
        config = dc.CodecConfig(relative_step=1.0, profile=state.profile)
        return cls(decoder.schema, config, state, packet, meant)

    def decoder(self) -> dc.UpdateDecoder:
        """Return a decoder that is about to receive the packet."""
        decoder = dc.UpdateDecoder(self.schema, self.config)
        decoder._state = self.state
        return decoder


@cache
def places() -> tuple[Place, ...]:
    """Return all places; inputs name them by number, so new ones go to the end."""
    found = []
    for name, number in GOLDEN:
        stream = read_golden(f"v1/{name}")
        found.append(Place.of(stream.decoder_before(number), stream.packets[number].packet))
    for text in EMPTY:
        schema, config = dc.Schema.from_json(text), dc.CodecConfig()
        update = {spec.name: np.zeros(spec.shape, spec.dtype) for spec in schema.tensors}
        found.append(Place.of(dc.UpdateDecoder(schema, config), dc.compress(update, config)))
    return tuple(found)


def check_goes_on(place: Place, saved: bytes) -> None:
    """A saved state that was accepted is one that both ends can go on from, alike."""
    sender = dc.UpdateEncoder(place.schema, place.config)
    receiver = dc.UpdateDecoder(place.schema, place.config)
    sender.load_state(saved)
    receiver.load_state(saved)
    for _ in range(2):
        encoded = sender.encode(_update(place.schema))
        assert_same(receiver.decode(encoded.packet), encoded.decoded)
        assert receiver.state_digest == sender.state_digest
    assert receiver.state_bytes() == sender.state_bytes()


def _update(schema: dc.Schema) -> dict[str, NDArray[np.generic]]:
    """Return an update of a few values of every size."""
    return {
        spec.name: (np.arange(spec.n_elements) % 5 - 2).reshape(spec.shape).astype(spec.dtype)
        for spec in schema.tensors
    }
