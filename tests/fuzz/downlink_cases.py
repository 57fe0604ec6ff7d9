# SPDX-License-Identifier: Apache-2.0
"""Train messages that stand for a model, each with the state of a client that can follow it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

import numpy as np
from flower.toy import EXACT, STEP, Arrays, arrays_of, make_app, new_context, record_of
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict

import fl_deepcabac as dc
from fl_deepcabac.flower import DownlinkConfig
from fl_deepcabac.flower.broadcast import Broadcast
from fl_deepcabac.flower.broadcast_records import write_broadcast
from fl_deepcabac.flower.records import FRESH_TOKEN, parse_update, write_settings
from fl_deepcabac.models import CompressedModel, compress_model, decompress_model

__all__ = ["Case", "cases", "context_with", "message_with", "train"]

NODE = 1000


@dataclass(frozen=True, eq=False)
class Case:
    """What a client has, what it is sent, and the model that this stands for.

    `keyframe` is the content of a message that any client can follow to `keyframe_model`.
    """

    records: RecordDict = field(repr=False)
    content: RecordDict = field(repr=False)
    model: Arrays
    keyframe: RecordDict = field(repr=False)
    keyframe_model: Arrays


def train(weights: Arrays, rng: np.random.Generator) -> Arrays:
    """Move all floats by a step of the codec."""
    del rng
    return {
        name: array + np.asarray(STEP, array.dtype) if array.dtype.kind == "f" else array
        for name, array in weights.items()
    }


def message_with(content: RecordDict, message_type: str = "train") -> Message:
    """Return a message to the client; its content is copied."""
    message = Message(RecordDict({**content}), dst_node_id=NODE, message_type=message_type)
    message.metadata.__dict__["_message_id"] = "message-1"
    return message


def context_with(records: RecordDict) -> Context:
    """Return the client's context; records are copied."""
    return new_context(state=RecordDict({**records}))


def _model_of(number: int) -> ArrayRecord:
    rng = np.random.default_rng(number)
    start = np.random.default_rng(99)
    return record_of(
        {
            "w": (start.normal(0, 1, (16, 12)) + rng.normal(0, 0.01, (16, 12))).astype(np.float32),
            "b": (1 + rng.uniform(0, 0.01, 3)).astype(np.float32),
            "half": rng.normal(0, 1, 4).astype(np.float16),
            "n": np.array(number, np.int64),
            "mask": np.array([True, False, True]),
        }
    )


def _model_after(file: CompressedModel | None, number: int) -> ArrayRecord:
    """Return a global model: that of the file, if there is one, whose biases move."""
    if file is None:
        return _model_of(number)
    arrays = dict(decompress_model(file))
    arrays["b"] = arrays_of(_model_of(number))["b"] if number else arrays["b"]
    return record_of(arrays)


class _Client:
    """A client that is sent one model after the other."""

    def __init__(self) -> None:
        self.records = RecordDict()
        self.token = FRESH_TOKEN

    def content_of(self, broadcast: Broadcast, envelope: bytes | None) -> RecordDict:
        """Return what a message to this client holds."""
        plain = RecordDict({"arrays": ArrayRecord(), "config": ConfigRecord({"server-round": 1})})
        content = write_broadcast(
            plain, "arrays", digest=broadcast.digest, keeps_copy=True, envelope=envelope
        )
        return write_settings(content, EXACT, token=self.token)

    def follow(self, content: RecordDict) -> None:
        """Receive a message, and move on."""
        context = context_with(self.records)
        reply = make_app(train=train)(message_with(content), context)
        update = parse_update(reply.content)
        assert update is not None
        saved = context.state.config_records["fl-deepcabac.1.states"]
        base = dc.inspect_packet(update.packet).base_state_digest.hex()
        [token] = saved.keys() - {base}
        self.records, self.token = context.state, bytes.fromhex(token)


@cache
def cases() -> tuple[Case, ...]:
    """Return all cases; inputs name them by number, so new ones go to the end."""
    exact = DownlinkConfig(profile="fast", exact_keyframes=True)
    # Its weights are on no short grid, so that it is shorter than a keyframe with differences, too.
    file = compress_model(arrays_of(_model_of(0)), dc.CodecConfig(step=0.3141592))
    return (
        *_cases_of(DownlinkConfig(profile="fast")),
        *_cases_of(exact),
        *_cases_of(DownlinkConfig(profile="fast", initial_model=file)),
    )


def _cases_of(config: DownlinkConfig) -> list[Case]:
    """Let a client follow three models, and note on the way what else might have been sent."""
    broadcast, new, client = Broadcast(config), _Client(), _Client()
    models, digests, sent = [], [], []

    def note(held: int | None, receiver: _Client) -> RecordDict:
        envelope = broadcast.envelope_for(None if held is None else digests[held])
        content = receiver.content_of(broadcast, envelope)
        sent.append((receiver.records, content, models[-1]))
        return content

    for number in range(3):
        broadcast.advance(_model_after(config.initial_model, number))
        models.append(arrays_of(broadcast.record))
        digests.append(broadcast.digest)
        if number == 0:
            client.follow(note(None, new))
            old = _Client()
            old.records, old.token = client.records, client.token
        elif number == 1:
            client.follow(note(0, client))
            note(1, client)
        else:
            note(0, old)  # two differences, for a client that has none of them
            note(0, client)  # and for one that has the first
            note(1, client)
            note(None, client)
            keyframe = note(None, new)
    return [Case(records, content, model, keyframe, models[-1]) for records, content, model in sent]
