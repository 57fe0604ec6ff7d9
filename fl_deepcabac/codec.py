# SPDX-License-Identifier: Apache-2.0
"""An update to a packet and back: the straight line of the package.

Encoding: flatten, allocate steps, quantise and code, write the packet. Decoding: parse, decode
levels, dequantise. Both are functions from one immutable `StreamState` to the next, so a call that
raises has changed nothing; the classes of `update_stream` keep the state between calls.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from fl_deepcabac.agreement import check_base, check_content, check_state
from fl_deepcabac.allocation import GivenSteps, allocate_steps, round_mantissa, unit_steps
from fl_deepcabac.arrays import (
    Sensitivity,
    check_finite,
    check_update,
    flatten_importance,
    flatten_values,
    join_exact,
    level_slices,
    split_exact,
    unflatten_values,
)
from fl_deepcabac.config import CodecConfig
from fl_deepcabac.content_digest import content_digest
from fl_deepcabac.entropy import CodedLevels, decode_levels, encode_levels, encode_values
from fl_deepcabac.errors import (
    ConfigError,
    LevelCoderError,
    LevelRangeError,
)
from fl_deepcabac.feedback import Residual, carry_residual
from fl_deepcabac.packet import (
    HEADER_BYTES,
    parse_packet,
    write_packet,
)
from fl_deepcabac.quantize import choose_levels
from fl_deepcabac.rate import budget_of, code_within
from fl_deepcabac.report import (
    UpdateReport,
    level_errors,
    report_exact,
    report_levels,
)
from fl_deepcabac.schema import Schema
from fl_deepcabac.stream import StreamState
from fl_deepcabac.update_norm import check_update_norm

__all__ = [
    "DecodedUpdate",
    "EncodedUpdate",
    "decode_update",
    "encode_update",
]

Update = Mapping[str, NDArray[np.generic]]
Arrays = dict[str, NDArray[np.generic]]
MAX_LEVEL = 2**24


@dataclass(frozen=True, slots=True)
class EncodedUpdate:
    """One coded update.

    Parameters
    ----------
    packet : bytes
        What travels.
    report : UpdateReport
        What it cost.
    decoded : dict of str to ndarray
        What the decoder will see, bit for bit.
    state : StreamState
        The stream after this packet.
    """

    packet: bytes
    report: UpdateReport
    decoded: Arrays
    state: StreamState


@dataclass(frozen=True, slots=True)
class DecodedUpdate:
    """One decoded packet.

    Parameters
    ----------
    update : dict of str to ndarray
        Names, shapes and dtypes of the schema.
    report : UpdateReport
        What the packet cost; errors are unknown on this side.
    state : StreamState
        The stream after this packet.
    """

    update: Arrays
    report: UpdateReport
    state: StreamState


def encode_update(
    update: Update,
    *,
    schema: Schema,
    config: CodecConfig,
    state: StreamState,
    importance: Update | None = None,
    residual: Residual | None = None,
    sensitivity: Sensitivity | None = None,
    on_grid: bool = False,
    given: GivenSteps | None = None,
) -> EncodedUpdate:
    """Quantise and code an update against the state of a stream.

    Parameters
    ----------
    update : mapping of str to ndarray
        The tensors of the schema; floats must be finite.
    schema : Schema
    config : CodecConfig
    state : StreamState
        Not changed.
    importance : mapping of str to ndarray, optional
        What the squared error of each weight counts, for some or all tensors coded as levels: not
        negative, in the update's shapes, of any unit, because each tensor's is divided by its mean.
        For the quantiser ``"rdoq"`` (F_w of DeepCABAC); no decoder needs it.
    residual : mapping of str to ndarray, optional
        What earlier packets left out of their updates, from `feedback.find_residual`: added to the
        update before it is coded, while relative steps follow the update alone.
    sensitivity : mapping of str to float or ndarray, optional
        Mean squared gradients, positive, one number a tensor or one a weight, of which the mean
        counts; of any unit. Moves bits between the tensors named: their steps become proportional
        to its inverse square root (`allocation.move_by_sensitivity`). No decoder needs it.
    on_grid : bool
        Whether steps are rounded to powers of two and values are whole or half steps, without
        offsets, so that sums of decoded updates are exact (`fl_deepcabac.grid`). Not with a target.
    given : GivenSteps, optional
        Steps by name, and perhaps prices of bits, instead of what the config says of them.

    Returns
    -------
    EncodedUpdate

    Raises
    ------
    SchemaMismatchError
        If names, shapes or dtypes differ from the schema, or the state is another model's.
    ConfigError
        If the state has another profile, a pattern of `step_overrides` matches no tensor, or
        importance is given to a quantiser that weighs no errors, or sensitivity with an absolute
        step; or the steps given do not name each tensor, or are none of the format.
    ImportanceError, SensitivityError
        If one is negative or not finite, or a tensor's sensitivity is zero.
    BudgetError
        If the config names a target that even a packet of zeros exceeds.
    NonFiniteError
        If a float tensor holds NaN or infinity.
    LevelRangeError
        If a value is more than ``2**24`` steps away from zero.

    Notes
    -----
    The GIL is released while levels are chosen and coded. Time O(n); with a target, that times the
    trials of `rate.code_within`.
    """
    check_state(state, schema, config)
    arrays = check_update(update, schema)
    own_values = values = flatten_values(arrays, schema)
    check_finite(arrays, values, schema)
    if residual:
        arrays = carry_residual(arrays, residual, schema)
        values = flatten_values(arrays, schema)
    exact = join_exact(arrays, schema)
    weights = None if importance is None else _weights(importance, schema, config)
    steps = None
    if given is not None:
        steps = given.of(schema)
        weights, price = given.price_errors(weights, schema)
        config = config if price is None else replace(config, rd_lambda=price)
    budget = None if steps is not None else budget_of(config, schema)
    code = partial(
        _quantise_and_code,
        values,
        weights=weights,
        schema=schema,
        config=config,
        state=state,
        wants_levels=budget is not None,
        fits_offsets=not on_grid,
    )
    write = partial(
        write_packet,
        schema=schema,
        profile=state.profile,
        base_state_digest=state.digest,
        sequence_number=state.sequence_number,
        is_fresh=state.is_fresh,
        exact=exact,
    )
    if steps is None:
        units = unit_steps(
            values,
            schema=schema,
            config=config,
            own_values=own_values if budget is None else None,
            sensitivity=sensitivity,
        )
    if budget is None:
        steps = allocate_steps(units, config=config) if steps is None else steps
        coded = code(round_mantissa(steps, 0) if on_grid else steps)
    else:
        coded = code_within(
            budget,
            code,
            values=values,
            units=units,
            schema=schema,
            config=config,
            state=state.levels,
            other_bytes=len(write(payload=b"", content_digest=0)),
        )
    packet = write(payload=coded.payload, content_digest=content_digest(coded.values, exact))
    decoded = _reconstruct(coded, schema) | {
        spec.name: np.array(arrays[spec.name], dtype=spec.dtype) for spec in schema.exact_tensors
    }
    # These quantisers give the core levels only.
    is_unknown = config.quantizer in {"uniform", "stochastic"}
    known = None if is_unknown else coded.squared_errors
    errors = level_errors(schema, arrays, decoded, squared_errors=known)
    report = _report(coded, schema, len(packet), len(coded.payload), decoded, errors)
    after = state.after(packet, coded.state)
    return EncodedUpdate(packet, report, _in_order(decoded, schema), after)


def decode_update(
    packet: bytes,
    *,
    schema: Schema,
    state: StreamState,
    threads: int = 1,
    max_update_norm: float | None = None,
) -> DecodedUpdate:
    """Decode a packet that was coded against an equal state.

    Parameters
    ----------
    packet : bytes
    schema : Schema
    state : StreamState
        Not changed.
    threads : int
        At most so many at work.
    max_update_norm : float, optional
        The largest Euclidean norm that the floats of the update may have.

    Returns
    -------
    DecodedUpdate

    Raises
    ------
    TruncatedPacketError, CorruptPacketError, UnsupportedVersionError, LimitExceededError
        If the bytes are at fault.
    SchemaMismatchError
        If the packet belongs to another model.
    ConfigError
        If the packet was coded with another profile.
    StateMismatchError
        If the packet was coded against another state.
    UpdateNormError
        If the update is longer than `max_update_norm`.

    Notes
    -----
    The GIL is released while levels are decoded. Memory is bounded by the schema.
    """
    parsed = parse_packet(packet, schema)
    check_base(parsed.header, state)
    payload_begin = len(packet) - len(parsed.payload)
    coded = decode_levels(state.levels, parsed.payload, offset=payload_begin, threads=threads)
    check_content(parsed.header, content_digest(coded.values, parsed.exact))
    decoded = _reconstruct(coded, schema) | split_exact(parsed.exact, schema)
    check_update_norm(decoded.values(), max_update_norm)
    report = _report(coded, schema, len(packet), len(parsed.payload), decoded)
    return DecodedUpdate(_in_order(decoded, schema), report, state.after(packet, coded.state))


def _quantise_and_code(
    values: NDArray[np.float32],
    steps: NDArray[np.float32],
    *,
    weights: NDArray[np.float32] | None,
    schema: Schema,
    config: CodecConfig,
    state: StreamState,
    wants_levels: bool,
    fits_offsets: bool,
    price_factor: float = 1.0,
) -> CodedLevels:
    """Choose levels as the config says and code them; name the tensor when a value is too large."""
    try:
        if config.quantizer == "rdoq":
            return encode_values(
                state.levels,
                values,
                steps,
                rd_lambda=price_factor * config.rd_lambda,
                trellis=config.uses_trellis,
                importance=weights,
                fits_offsets=fits_offsets,
                threads=config.threads,
                wants_levels=wants_levels,
            )
        levels = choose_levels(values, steps, schema=schema, config=config, salt=state.digest)
        # Offsets would take the uniform quantiser's values beyond half a step, its promise, and
        # the stochastic one's away from their mean.
        return encode_levels(
            state.levels,
            levels,
            steps,
            values=values if fits_offsets and config.quantizer == "deadzone" else None,
            rd_lambda=config.rd_lambda,
            threads=config.threads,
            wants_levels=wants_levels,
        )
    except LevelCoderError as error:
        for (spec, place), step in zip(level_slices(schema), steps, strict=True):
            if place.start <= error.position < place.stop:
                value = float(values[error.position])
                raise LevelRangeError(spec.name, value, step=float(step), limit=MAX_LEVEL) from None
        raise


def _weights(importance: Update, schema: Schema, config: CodecConfig) -> NDArray[np.float32]:
    """Return what each squared error counts, for the one quantiser that asks."""
    if config.quantizer != "rdoq":
        raise ConfigError("quantizer", expected="rdoq, with importance", found=config.quantizer)
    return flatten_importance(importance, schema)


def _reconstruct(coded: CodedLevels, schema: Schema) -> Arrays:
    """Turn levels back into tensors."""
    return {
        spec.name: unflatten_values(coded.values[place], spec)
        for spec, place in level_slices(schema)
    }


def _in_order(arrays: Arrays, schema: Schema) -> Arrays:
    return {spec.name: arrays[spec.name] for spec in schema.tensors}


def _report(
    coded: CodedLevels,
    schema: Schema,
    packet_bytes: int,
    payload_bytes: int,
    decoded: Arrays,
    errors: Mapping[str, float] | None = None,
) -> UpdateReport:
    """Say what the packet cost, and what it left out where that is known."""
    exact_bytes = packet_bytes - payload_bytes - HEADER_BYTES
    reports = report_exact(schema, n_bytes=exact_bytes, arrays=decoded) | report_levels(
        schema,
        n_bytes=payload_bytes,
        n_nonzeros=coded.n_nonzeros,
        steps=coded.steps,
        costs=coded.costs,
        errors=errors or {},
    )
    tensors = tuple(reports[spec.name] for spec in schema.tensors)
    return UpdateReport(tensors, packet_bytes, HEADER_BYTES, schema.raw_bytes)
