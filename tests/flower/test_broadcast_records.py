# SPDX-License-Identifier: Apache-2.0
"""What travels down is read as it was written, or refused."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from flower.toy import initial_arrays, new_context, train_message
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict

from fl_deepcabac import CodecConfig, Schema, StreamState, compress
from fl_deepcabac.errors import ConfigError, DecodeError
from fl_deepcabac.flower import deepcabac_mod
from fl_deepcabac.flower.broadcast_records import (
    BROADCAST_STYPE,
    Difference,
    FileAndChain,
    Keyframe,
    envelope_of_chain,
    envelope_of_file,
    envelope_of_keyframe,
    model_digest,
    named_model,
    parse_envelope,
    write_broadcast,
)

SCHEMA = Schema.from_arrays({"w": np.zeros((2, 3), np.float32), "n": np.array(1)})
CHAIN = [Difference(bytes(8), b"abc"), Difference(bytes(range(8)), b"")]


def record_with(envelope: bytes) -> ArrayRecord:
    return ArrayRecord({"packet": Array("uint8", (len(envelope),), BROADCAST_STYPE, envelope)})


def test_chains_and_keyframes_come_back() -> None:
    found = parse_envelope(record_with(envelope_of_chain(CHAIN)))
    assert isinstance(found, Sequence)
    assert list(found) == CHAIN
    for coding in ("on grid", "exact"):
        keyframe = Keyframe(SCHEMA, coding, b"content")  # type: ignore[arg-type]
        assert parse_envelope(record_with(envelope_of_keyframe(keyframe))) == keyframe
    for chain in (tuple(CHAIN), ()):
        file = FileAndChain(b"content", chain)
        assert parse_envelope(record_with(envelope_of_file(file))) == file
    assert parse_envelope(ArrayRecord()) == ()


@pytest.mark.parametrize(
    "envelope",
    [
        b"",
        b"\0",
        b"\4abc",
        envelope_of_chain(CHAIN)[:-2],
        envelope_of_chain(CHAIN) + b"\0",
        envelope_of_file(FileAndChain(b"content", tuple(CHAIN)))[:-2],
        b"\4\xff\xff\xff\xffabc",
        b"\5abc",
        b"\2",
        b"\2\3\0\0\0abc",
        b"\3\xff\xff\xff\xffabc",
    ],
)
def test_other_envelopes_are_refused(envelope: bytes) -> None:
    with pytest.raises(DecodeError):
        parse_envelope(record_with(envelope))


def test_arrays_of_another_kind_are_refused() -> None:
    with pytest.raises(DecodeError, match="expected one envelope"):
        parse_envelope(initial_arrays())


def test_a_message_names_its_model_and_leaves_shared_records_alone() -> None:
    content = train_message(initial_arrays()).content
    before = {name: dict(record) for name, record in content.items()}
    written = write_broadcast(content, "arrays", digest=b"12345678", keeps_copy=True, envelope=None)
    assert {name: dict(record) for name, record in content.items()} == before
    assert named_model(content) is None
    assert named_model(written) == ("arrays", b"12345678", True)
    assert not written["arrays"]
    bare = RecordDict({"arrays": ArrayRecord()})
    written = write_broadcast(bare, "arrays", digest=b"12345678", keeps_copy=False, envelope=b"x")
    assert named_model(written) == ("arrays", b"12345678", False)


@pytest.mark.parametrize("value", [b"short", "text", bytes(10)])
def test_a_model_named_otherwise_is_refused(value: object) -> None:
    config = ConfigRecord({"fl-deepcabac-model": value})  # type: ignore[dict-item]
    with pytest.raises(ConfigError, match="expected 9 bytes"):
        named_model(RecordDict({"arrays": ArrayRecord(), "config": config}))
    good = ConfigRecord({"fl-deepcabac-model": bytes(9)})
    with pytest.raises(ConfigError, match="expected one ArrayRecord"):
        named_model(RecordDict({"config": good}))


def test_keyframe_of_a_damaged_schema_is_refused_before_its_state_takes_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    packet = compress({"w": np.zeros((2, 3), np.float32)}, CodecConfig())
    vast = Schema.from_json('[["w","float32",[2,33333333]]]')
    message = train_message(initial_arrays())
    message.content = write_broadcast(
        message.content,
        "arrays",
        digest=bytes(8),
        keeps_copy=True,
        envelope=envelope_of_keyframe(Keyframe(vast, "on grid", packet)),
    )
    monkeypatch.setattr(StreamState, "fresh", lambda *_: pytest.fail("a state is made"))
    with pytest.raises(DecodeError, match=r"needs a keyframe: model: expected a packet of"):
        deepcabac_mod(message, new_context(), lambda reply, _: reply)


def test_digests_tell_models_apart() -> None:
    arrays = {"w": np.zeros((2, 3), np.float32), "n": np.array(1)}
    digest = model_digest(arrays, SCHEMA)
    assert len(digest) == 8
    assert model_digest(dict(arrays), SCHEMA) == digest
    assert model_digest({**arrays, "n": np.array(2)}, SCHEMA) != digest
    signed = {**arrays, "w": -arrays["w"]}
    assert model_digest(signed, SCHEMA) != digest


def test_a_node_without_a_copy_says_what_it_expected_and_found() -> None:
    message = train_message(initial_arrays())
    message.content = write_broadcast(
        message.content, "arrays", digest=b"12345678", keeps_copy=True, envelope=None
    )
    context = new_context()

    def app(_: Message, __: object) -> Message:
        raise AssertionError("the app must not be called")

    with pytest.raises(DecodeError, match=r"needs a keyframe.*expected a copy.*found no copy"):
        deepcabac_mod(message, context, app)
    assert not context.state
