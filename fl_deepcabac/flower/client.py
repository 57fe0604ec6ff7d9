# SPDX-License-Identifier: Apache-2.0
"""The client mod: what the app trained goes out as one packet.

The mod has no parameters, because the server's settings travel with the message. It stands between
Flower and the app, sees the weights received and the weights trained, and codes their difference.
Invariant: a message that it does not understand passes through untouched, in both directions.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from flwr.app import Array, ArrayRecord, Context, Message
from numpy.typing import NDArray

from fl_deepcabac.config import CodecConfig
from fl_deepcabac.feedback import Residual, carry_residual, find_residual
from fl_deepcabac.flower.broadcast_records import named_model
from fl_deepcabac.flower.model_copy import ModelCopy, receive_model
from fl_deepcabac.flower.positive import encode_positive
from fl_deepcabac.flower.records import (
    NUMPY_STYPE,
    parse_settings,
    refuse_secure_aggregation,
    replace_record,
    settings_of,
    take_importance,
    write_update,
)
from fl_deepcabac.flower.state import ClientSlots, Slot
from fl_deepcabac.flower.weights import schema_of, subtract_reference, tensor_mismatch
from fl_deepcabac.schema import Schema
from fl_deepcabac.stream import StreamState

__all__ = ["deepcabac_mod"]

logger = logging.getLogger("fl_deepcabac")

_NOT_WEIGHED = (
    "DeepCABAC: the app's importance is left out: expected the quantiser rdoq, which weighs "
    "errors, found {}; on the server, default_config(strategy, quantizer='rdoq') has it"
)


def deepcabac_mod(
    msg: Message, context: Context, call_next: Callable[[Message, Context], Message]
) -> Message:
    """Compress the reply to a train message, as the server's settings in it say.

    Put it first in the list of mods, so that it sees the reply last: ``[deepcabac_mod,
    fixedclipping_mod]`` clips and then compresses. The app sees the message as it came, with the
    settings among its config.

    An app that knows how much the error of each weight counts, such as by mean squared gradients of
    its training, leaves an ArrayRecord in ``context.state[IMPORTANCE_RECORD]``, with names and
    shapes of some or all float tensors (``importance`` of `encode_update`). It does not travel, and
    is taken out again. Quantisers other than ``"rdoq"`` weigh no errors: a warning says so, once.

    Parameters
    ----------
    msg : Message
        Of any type. Acted on are messages of type ``train`` or ``train.*`` with the settings that
        `DeepCABACStrategy` adds and exactly one ArrayRecord; its name does not matter. Where the
        server compresses the way down, also all others that stand for a model.
    context : Context
        Its state keeps what the next packet builds on: two stream states of at most 2 bytes a
        weight, and, with error feedback, two residuals of 4 bytes a weight; and with a compressed
        way down the model and one more stream state.
    call_next : callable
        The next mod, or the app.

    Returns
    -------
    Message
        The app's reply with its ArrayRecord replaced by one that holds a packet; or the reply as it
        is, where it carries an error, has not exactly one ArrayRecord, or does not fit the weights
        received (logged as a warning: it then travels uncompressed).

    Raises
    ------
    NonFiniteError
        If training diverged. Flower reports it to the server as this node's error, like all others.
    LevelRangeError
        If a weight moved by more steps than a level can count.
    ConfigError
        If the settings are unreadable, or SecAgg+ is at work.
    SchemaMismatchError, ImportanceError
        If importance does not fit the weights, or is negative or not finite.
    DecodeError
        If the weights cannot be had from the copy of the model that this node keeps.
    """
    _restore_weights(msg, context)
    settings = _settings_for_us(msg)
    if settings is None:
        return call_next(msg, context)
    config, token = settings
    refuse_secure_aggregation(context.state)

    # The app may empty the record to save memory; these are its Arrays, not copies of them.
    [received] = msg.content.array_records.values()
    reference = dict(received)
    take_importance(context.state)
    reply = call_next(msg, context)
    importance = take_importance(context.state)
    if reply.has_error():
        return reply
    records = reply.content.array_records
    if len(records) != 1:
        return _uncompressed(reply, f"expected one ArrayRecord in the reply, found {len(records)}")
    [(name, trained)] = records.items()
    schema = schema_of(reference)
    if (reason := _mismatch(schema, trained)) is not None:
        return _uncompressed(reply, reason)

    before = {spec.name: reference[spec.name].numpy() for spec in schema.tensors}
    after = {spec.name: trained[spec.name].numpy() for spec in schema.tensors}
    slots = ClientSlots(context.state, context.run_id)
    if importance is not None and config.quantizer != "rdoq":
        # The app cannot know what the server chose; said once a process.
        warnings.warn(_NOT_WEIGHED.format(config.quantizer), stacklevel=2)
        importance = None
    if importance is not None:
        # Exact tensors have no errors to weigh.
        exact = {spec.name for spec in schema.exact_tensors}
        importance = {name: own for name, own in importance.items() if name not in exact}
    packet, seconds = _encode(
        before,
        after,
        importance,
        schema=schema,
        config=config,
        slots=slots,
        token=token,
    )
    record = write_update(packet, answers=msg.metadata, encode_seconds=seconds)
    reply.content = replace_record(reply.content, name, record)
    return reply


def _restore_weights(msg: Message, context: Context) -> None:
    """Put the weights into a message that stands for the broadcast model.

    Raises
    ------
    DecodeError
        If they cannot be had; the server answers this node's error reply with a keyframe.
    """
    named = named_model(msg.content) if msg.has_content() else None
    if named is None:
        return
    weights = receive_model(msg.content, named, ModelCopy(context.state, context.run_id))
    # A record of its own: the app may empty it.
    record = ArrayRecord()
    for name, array in weights.items():
        record[name] = array
    msg.content = replace_record(msg.content, named.record_name, record)


def _settings_for_us(msg: Message) -> tuple[CodecConfig, bytes] | None:
    """Return settings and token if the reply to `msg` is to be compressed."""
    category = msg.metadata.message_type.partition(".")[0]
    if category != "train" or (record := settings_of(msg.content)) is None:
        return None
    refuse_secure_aggregation(msg.content)
    settings = parse_settings(record)
    if settings is None:
        logger.warning(
            "DeepCABAC: the server speaks another version of the protocol; this update travels "
            "uncompressed: use the same version of fl_deepcabac on both sides"
        )
        return None
    if len(msg.content.array_records) != 1:
        logger.warning(
            "DeepCABAC: expected one ArrayRecord in the train message, found %d; this update "
            "travels uncompressed",
            len(msg.content.array_records),
        )
        return None
    return settings


def _mismatch(schema: Schema, trained: Mapping[str, Array]) -> str | None:
    """Say why the reply is no update of the weights received; None if it is."""
    names = {spec.name for spec in schema.tensors}
    if differing := names.symmetric_difference(trained):
        return f"expected the names received, found a difference in {sorted(differing)}"
    if foreign := {array.stype for array in trained.values()} - {NUMPY_STYPE}:
        return f"expected arrays of type {NUMPY_STYPE}, found {sorted(foreign)}"
    reasons = (tensor_mismatch(spec, trained[spec.name].numpy()) for spec in schema.tensors)
    return next(filter(None, reasons), None)


def _uncompressed(reply: Message, reason: str) -> Message:
    """Let a reply pass that cannot be an update."""
    logger.warning("DeepCABAC: %s; this reply travels uncompressed", reason)
    return reply


def _encode(
    received: dict[str, NDArray[Any]],
    trained: dict[str, NDArray[Any]],
    importance: dict[str, NDArray[Any]] | None,
    *,
    schema: Schema,
    config: CodecConfig,
    slots: ClientSlots,
    token: bytes,
) -> tuple[bytes, float]:
    """Code what training moved against the state that `token` names; return packet and seconds."""
    update = {
        spec.name: subtract_reference(spec, trained[spec.name], received[spec.name])
        for spec in schema.tensors
    }
    slot = slots.find(token, schema, config.profile)
    base = slot or Slot(StreamState.fresh(schema, config.profile), {})

    start = time.perf_counter()
    before: Residual = base.residual if config.error_feedback else {}
    after: Residual = {}
    encoded = encode_positive(
        update,
        start=received,
        goal=trained,
        schema=schema,
        config=config,
        state=base.state,
        residual=before,
        importance=importance,
    )
    if config.error_feedback:
        carried = carry_residual(update, before, schema)
        after = find_residual(carried, encoded.decoded, schema)
    seconds = time.perf_counter() - start

    slots.store(acknowledged=token, pending=Slot(encoded.state, after))
    return encoded.packet, seconds
