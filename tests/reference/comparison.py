# SPDX-License-Identifier: Apache-2.0
"""What the tests that compare the twin with the package share."""

from __future__ import annotations

import json

import fl_deepcabac as dc
from reference import packet as twin
from reference.reconstruction import values_of
from reference.stream import StreamState, Tensor

STEPS = [0x3C000000, 0x3C700000, 0x3C012345, 0x3F800000, 27 << 23, 227 << 23, 0x3BFFFFFF]


def schema_of(tensors: list[Tensor]) -> dc.Schema:
    """Return the schema of the package."""
    return dc.Schema.from_json(json.dumps([[t.name, t.dtype, list(t.shape)] for t in tensors]))


def values_in(read: twin.Decoded, tensors: list[Tensor]) -> dict[str, bytes]:
    """Return what the twin reads as values of the tensors that travel as levels."""
    level_tensors = [tensor for tensor in tensors if not tensor.is_exact]
    coded = zip(level_tensors, read.update.fixed, read.update.steps, strict=True)
    # A tensor of zeros may have no step yet, and needs none.
    return {t.name: values_of(fixed, bits or STEPS[0], t.dtype) for t, fixed, bits in coded}


def encode_again(state: StreamState, read: twin.Decoded) -> bytes:
    """Return the packet that says what another one says."""
    update = read.update
    packet, _ = twin.encode(
        state,
        read.exact,
        update.steps,
        update.levels,
        offsets=update.offsets,
        is_dependent=update.is_dependent,
    )
    return packet
