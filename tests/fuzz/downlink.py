# SPDX-License-Identifier: Apache-2.0
"""Models on their way to a client: its app works with the model that was meant, or not at all.

Input: a byte that names a case (`downlink_cases`), then changes to its message
(`downlink_changes`), each a byte and what it draws. After that message comes a good keyframe.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from flower.copies import name_of
from flower.toy import Arrays, arrays_of, record_of
from flwr.app import ArrayRecord, Context, Error, Message, MetricRecord, RecordDict

import fl_deepcabac as dc
from fl_deepcabac.flower import deepcabac_mod
from fl_deepcabac.flower.broadcast_records import MODEL_KEY
from fl_deepcabac.flower.model_copy import COPY_PREFIX, NEEDS_KEYFRAME, ModelCopy
from fl_deepcabac.flower.records import (
    check_binding,
    parse_settings,
    parse_update,
    settings_of,
)
from fl_deepcabac.flower.state import ClientSlots
from fuzz.downlink_cases import Case, cases, context_with, message_with, train
from fuzz.downlink_changes import CHANGES, Sent
from fuzz.inputs import Draws

MAX_CHANGES = 6
RUN_ID = 1
SLOTS_PREFIX = f"fl-deepcabac.{RUN_ID}."


class AppError(Exception):
    """What an app raises of its own."""


@dataclass
class App:
    """An app that notes what it is called with, and behaves as it is told to."""

    behaviour: str = "trains"
    seen: list[RecordDict] = field(default_factory=list)

    def __call__(self, message: Message, context: Context) -> Message:
        del context
        self.seen.append(RecordDict({**message.content}))
        if self.behaviour == "raises":
            raise AppError
        if self.behaviour == "fails":
            return Message(Error(7, "own"), reply_to=message)
        content = RecordDict({"metrics": MetricRecord({"num-examples": 1})})
        records = list(message.content.array_records.values())
        if records and self.behaviour != "returns nothing":
            content["arrays"] = self._train(records[0])
        if self.behaviour == "returns two":
            content["more"] = ArrayRecord()
        return Message(content, reply_to=message)

    def _train(self, record: ArrayRecord) -> ArrayRecord:
        try:
            weights = arrays_of(record)
        except Exception as error:  # a message has come through as it was, and is none for NumPy
            raise AppError from error
        trained = train(weights, np.random.default_rng(0))
        for name, array in trained.items():
            if self.behaviour == "diverges" and array.dtype.kind == "f":
                array.fill(np.nan)
            if self.behaviour == "reshapes":
                trained[name] = array.ravel()[:1]
        return record_of(trained)


def run(data: bytes) -> None:
    draws = Draws(data)
    case = cases()[draws.below(len(cases()))]
    sent = Sent(case, RecordDict({**case.content}))
    for _ in range(MAX_CHANGES):
        if draws:
            CHANGES[draws.below(len(CHANGES))](sent, draws)
    context = context_with(case.records)
    _send(sent, context)
    _send_keyframe(case, context)


def _send(sent: Sent, context: Context) -> None:
    """Let the client receive a message, and demand all that is promised."""
    app, before = App(sent.app), RecordDict({**context.state})
    message = message_with(sent.content, sent.message_type)
    try:
        reply = deepcabac_mod(message, context, app)
    except AppError:
        assert _slots_in(context.state) == _slots_in(before)
    except dc.DeepCabacError as error:
        assert _slots_in(context.state) == _slots_in(before)
        if not app.seen:
            _check_refusal(error, context.state)
    else:
        _check_reply(reply, message, app, before, context)
    for seen in app.seen:
        _check_seen(seen, sent.content, context)


def _slots_in(records: RecordDict) -> dict[str, int]:
    """Return the records of the client's slots, by their identity: they are never edited."""
    return {name: id(one) for name, one in records.items() if name.startswith(SLOTS_PREFIX)}


def _check_refusal(error: dc.DeepCabacError, records: RecordDict) -> None:
    """A client without the model asks for a keyframe; else it is the settings that are at fault."""
    if NEEDS_KEYFRAME in str(error):
        assert type(error) is dc.DecodeError
        assert not [name for name in records if name.startswith(COPY_PREFIX)]
    else:
        assert isinstance(error, dc.ConfigError)


def _check_seen(seen: RecordDict, sent: RecordDict, context: Context) -> None:
    """The app has got the model that the message names; or, if it names none, what was sent."""
    naming = [record for record in sent.config_records.values() if MODEL_KEY in record]
    if not naming:
        assert {name: id(one) for name, one in seen.items()} == {
            name: id(one) for name, one in sent.items()
        }
        return
    named = naming[0][MODEL_KEY]
    assert isinstance(named, bytes)
    [record] = seen.array_records.values()
    assert name_of(arrays_of(record)) == named[:8]
    copy = ModelCopy(context.state, RUN_ID)
    if named[8:] == b"\1":
        assert copy.digest == named[:8] == name_of(arrays_of(copy.weights))
    else:
        assert copy.digest == b""


def _check_reply(
    reply: Message, message: Message, app: App, before: RecordDict, context: Context
) -> None:
    """A packet in the reply is one that the server can decode, and go on from."""
    update = parse_update(reply.content) if reply.has_content() else None
    if update is None:
        assert _slots_in(context.state) == _slots_in(before)
        return
    check_binding(update, message.metadata)
    settings = settings_of(message.content)
    assert settings is not None
    parsed = parse_settings(settings)
    assert parsed is not None
    config, token = parsed
    [record] = app.seen[0].array_records.values()
    schema = dc.Schema.from_arrays(arrays_of(record))
    state = dc.StreamState.fresh(schema, config.profile)
    if not dc.inspect_packet(update.packet).is_fresh:
        slot = ClientSlots(before, RUN_ID).find(token, schema, config.profile)
        assert slot is not None
        state = slot.state
    decoded = dc.decode_update(update.packet, schema=schema, state=state)
    assert dc.Schema.from_arrays(decoded.update) == schema
    slots = ClientSlots(context.state, RUN_ID)
    assert slots.find(decoded.state.digest, schema, config.profile) is not None


def _send_keyframe(case: Case, context: Context) -> None:
    """Whatever came before, the client can follow a good keyframe, and answers as it should."""
    app, before = App(), RecordDict({**context.state})
    message = message_with(case.keyframe)
    reply = deepcabac_mod(message, context, app)
    [seen] = app.seen
    assert _bytes_of(arrays_of(seen["arrays"])) == _bytes_of(case.keyframe_model)
    _check_seen(seen, case.keyframe, context)
    assert parse_update(reply.content) is not None
    _check_reply(reply, message, app, before, context)


def _bytes_of(arrays: Arrays) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    return {name: (a.dtype.str, a.shape, a.tobytes()) for name, a in arrays.items()}
