# SPDX-License-Identifier: Apache-2.0
"""Scales and variances stay positive, whatever quantisation leaves out of their updates.

A variance that is decoded as zero blows its channel up, one below zero makes the model return NaN;
both can happen where the step is coarse against the smallest of a tensor's weights. Only the
encoder knows of this: it codes a little more than it was asked to, and error feedback takes that
back later. Rounding by chance has none and must stay right on average, so there the steps of such
tensors become finer instead. Invariant: a vector of weights that are all positive, before the
update and after it, is decoded to weights of at least half the smaller of the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fl_deepcabac.allocation import MIN_STEP, GivenSteps
from fl_deepcabac.codec import EncodedUpdate, encode_update
from fl_deepcabac.config import CodecConfig
from fl_deepcabac.feedback import Residual
from fl_deepcabac.flower.weights import add_reference
from fl_deepcabac.rate import budget_of
from fl_deepcabac.schema import Schema, TensorSpec
from fl_deepcabac.stream import StreamState

__all__ = ["encode_positive"]

Arrays = Mapping[str, NDArray[Any]]

# Part of the smaller of old and new weight that must be left.
LEAST_PART: Final = 0.5
# Of the way down to the floor, for a step: rounding, also to powers of two, takes some.
ROOM_PART: Final = 0.5
# Half of what a level can count, and a little.
FINEST_LEVELS: Final = 2.0**22
# One more step is enough nearly always; what is added at least doubles each time.
MAX_ATTEMPTS: Final = 12


def encode_positive(
    update: Arrays,
    *,
    start: Arrays,
    goal: Arrays,
    schema: Schema,
    config: CodecConfig,
    state: StreamState,
    residual: Residual,
    importance: Arrays | None = None,
    on_grid: bool = False,
) -> EncodedUpdate:
    """Code an update so that positive scales and variances stay positive.

    Parameters
    ----------
    update : mapping of str to ndarray
        The tensors of the schema.
    start : mapping of str to ndarray
        The weights that the decoded update is added to.
    goal : mapping of str to ndarray
        The weights that the update leads to.
    schema, config, state, residual, importance, on_grid
        As for `encode_update`.

    Returns
    -------
    EncodedUpdate

    Raises
    ------
    DeepCabacError
        As `encode_update`.

    Notes
    -----
    Guarded are tensors of rank 1, as those of normalisation layers are, known by their values:
    lists of arrays have no telling names. An update is coded again where the rule is broken, or
    with the stochastic quantiser could be, which takes its time once more. With a target of bytes
    the latter adds as the others do.
    """
    floors = _floors(start, goal, schema)
    added: Residual = {}
    given: GivenSteps | None = None
    for attempt in range(MAX_ATTEMPTS):
        encoded = encode_update(
            update,
            schema=schema,
            config=config,
            state=state,
            residual={**residual, **_sums(residual, added)},
            importance=importance,
            on_grid=on_grid,
            given=given,
        )
        if attempt == 0 and config.quantizer == "stochastic" and budget_of(config, schema) is None:
            given = _finer_steps(encoded, floors, update, goal, schema)
            # Whatever chance has made of the first try: to look would be a bias.
            if given is not None:
                continue
        more = _missing(encoded, floors, start)
        if not more:
            break
        for name, missing in more.items():
            before = added.get(name, np.zeros_like(missing))
            added[name] = before + np.where(missing > 0, np.maximum(missing, before), 0)
    return encoded


def _floors(start: Arrays, goal: Arrays, schema: Schema) -> dict[TensorSpec, NDArray[Any]]:
    """Return the least weights that may come out, for each tensor that is guarded."""
    floors = {}
    for spec in schema.level_tensors:
        if len(spec.shape) != 1:
            continue
        least = np.minimum(start[spec.name], goal[spec.name])
        # NaN is no less than zero, and is the encoder's to refuse.
        if (least > 0).all():
            floors[spec] = least * least.dtype.type(LEAST_PART)
    return floors


def _finer_steps(
    encoded: EncodedUpdate,
    floors: Mapping[TensorSpec, NDArray[Any]],
    update: Arrays,
    goal: Arrays,
    schema: Schema,
) -> GivenSteps | None:
    """Return steps by which no guarded weight can fall below its floor; None if they are so.

    A value comes out less than a step from where it was. As far as levels can count: where weights
    differ by more than that, the rule may still be broken.
    """
    found = {row.name: row.step or 1.0 for row in encoded.report.tensors}
    steps = {spec.name: found[spec.name] for spec in schema.level_tensors}
    finer = {}
    for spec, floor in floors.items():
        room = float((goal[spec.name] - floor).min(initial=np.inf)) * ROOM_PART
        least = float(np.abs(update[spec.name]).max(initial=0)) / FINEST_LEVELS
        if max(room, least, MIN_STEP) < steps[spec.name]:
            finer[spec.name] = max(room, least, MIN_STEP)
    return GivenSteps(steps | finer) if finer else None


def _missing(
    encoded: EncodedUpdate, floors: Mapping[TensorSpec, NDArray[Any]], start: Arrays
) -> Residual:
    """Return what to add where the rule is broken: a step, or what is lacking if that is more."""
    steps = {row.name: row.step or 0.0 for row in encoded.report.tensors}
    missing = {}
    for spec, floor in floors.items():
        lacking = floor - add_reference(spec, encoded.decoded[spec.name], start[spec.name])
        if (lacking > 0).any():
            amount = np.where(lacking > 0, np.maximum(lacking, steps[spec.name]), 0)
            missing[spec.name] = amount.astype(np.float32)
    return missing


def _sums(residual: Residual, added: Residual) -> Residual:
    """Return the residual of the tensors that something is added to."""
    return {
        name: residual[name] + more if name in residual else more for name, more in added.items()
    }
