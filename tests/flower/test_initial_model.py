# SPDX-License-Identifier: Apache-2.0
"""A run that starts from a compressed model: nodes get its file, and what has happened since."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
from flower.downlink_run import bytes_of, packet_bytes, run
from flower.four_nodes import N_NODES
from flower.toy import Arrays, arrays_of, initial_arrays, record_of
from flwr.app import Array, ArrayRecord, RecordDict

from fl_deepcabac import CodecConfig, DecodeError, Schema, StreamState
from fl_deepcabac.errors import ConfigError
from fl_deepcabac.flower import DownlinkConfig
from fl_deepcabac.flower.broadcast import Broadcast
from fl_deepcabac.flower.broadcast_records import (
    BROADCAST_STYPE,
    FileAndChain,
    Keyframe,
    Named,
    envelope_of_file,
    parse_envelope,
)
from fl_deepcabac.flower.model_copy import ModelCopy, receive_model
from fl_deepcabac.models import CompressedModel, compress_model, decompress_model

WEIGHTS = arrays_of(initial_arrays(100))


def compressed(**settings: Any) -> CompressedModel:
    """Return the toy model as a file has it, on a grid of no power of two."""
    config = CodecConfig(relative_step=0.3, profile="max", **settings)
    return CompressedModel.from_bytes(compress_model(WEIGHTS, config).to_bytes())


FILE = compressed()
ROUNDS = np.random.default_rng
START = record_of(decompress_model(FILE))


def sent_envelope(envelope: bytes) -> Any:
    return parse_envelope(
        ArrayRecord({"packet": Array("uint8", (len(envelope),), BROADCAST_STYPE, envelope)})
    )


def moved(arrays: Arrays, rng: np.random.Generator, by: float = 0.01) -> ArrayRecord:
    return record_of(
        {
            name: (tensor + by * rng.normal(size=tensor.shape)).astype(tensor.dtype)
            if tensor.dtype.kind == "f"
            else tensor
            for name, tensor in arrays.items()
        }
    )


def followed(n_rounds: int, *, by: float = 0.01) -> Broadcast:
    """Return the broadcast of a run that has gone on from the file for some rounds."""
    rng = ROUNDS(3)
    broadcast = Broadcast(DownlinkConfig(initial_model=FILE))
    broadcast.advance(START)
    for _ in range(n_rounds):
        broadcast.advance(moved(arrays_of(broadcast.record), rng, by))
    return broadcast


def received(envelope: bytes, digest: bytes, copy: ModelCopy) -> Arrays:
    """Return what a node has after a message with this envelope."""
    arrays = ArrayRecord({"packet": Array("uint8", (len(envelope),), BROADCAST_STYPE, envelope)})
    content = RecordDict({"arrays": arrays})
    return arrays_of(receive_model(content, Named("arrays", digest, keeps_copy=True), copy))


def test_nodes_get_the_file_and_train_from_its_weights() -> None:
    downlink = DownlinkConfig(initial_model=FILE)
    strategy, _, seen, _ = run(downlink, model=START, num_rounds=3)
    assert strategy.communication.totals.failures == 0
    for partition in range(N_NODES):
        assert bytes_of(seen.by_node[partition, 1]) == bytes_of(decompress_model(FILE))
        assert bytes_of(seen.by_node[partition, 3]) == bytes_of(seen.by_strategy[3])
        first, *later = packet_bytes(strategy, partition, "train")
        # A kind and a length before it.
        assert first == FILE.n_bytes + 5
        assert later == [0, 0]
    plain, _, _, _ = run(DownlinkConfig(), model=START, num_rounds=1)
    assert FILE.n_bytes < packet_bytes(plain, 0, "train")[0]


def test_a_node_that_comes_later_gets_the_file_and_the_differences_and_knows_the_stream() -> None:
    broadcast = followed(2)
    envelope = broadcast.envelope_for(None)
    assert envelope is not None
    parsed = sent_envelope(envelope)
    assert isinstance(parsed, FileAndChain)
    assert (parsed.content, len(parsed.chain)) == (FILE.to_bytes(), 2)
    copy = ModelCopy(RecordDict(), 1)
    weights = received(envelope, broadcast.digest, copy)
    assert bytes_of(weights) == bytes_of(arrays_of(broadcast.record))
    # The next difference is warm, and this node can follow it.
    broadcast.advance(moved(weights, ROUNDS(4)))
    link = broadcast.envelope_for(copy.digest)
    assert link is not None
    assert len(link) < len(envelope) / 2
    after = received(link, broadcast.digest, copy)
    assert bytes_of(after) == bytes_of(arrays_of(broadcast.record))


@pytest.mark.parametrize("settings", [{}, {"quantizer": "uniform"}])
def test_what_is_sent_is_the_shorter_of_file_and_keyframe_in_every_round(
    settings: dict[str, Any],
) -> None:
    file = compressed(**settings)
    broadcast, rng, kinds = Broadcast(DownlinkConfig(initial_model=file)), ROUNDS(3), []
    broadcast.advance(record_of(decompress_model(file)))
    for _ in range(25):
        sent = broadcast.envelope_for(None)
        assert sent is not None
        from_file, keyframe = broadcast._ways._from_file(), broadcast._encode_keyframe()
        assert len(sent) == min(len(way) for way in (from_file, keyframe) if way is not None)
        kinds.append(type(sent_envelope(sent)))
        weights = received(sent, broadcast.digest, ModelCopy(RecordDict(), 1))
        assert bytes_of(weights) == bytes_of(arrays_of(broadcast.record))
        broadcast.advance(moved(weights, rng))
    # First the one and then the other: once dropped, the file does not come back.
    assert kinds == sorted(kinds, key=lambda kind: kind is Keyframe)
    assert kinds.count(FileAndChain) > 2
    assert Keyframe in kinds


def test_a_way_back_to_an_earlier_model_leaves_every_node_able_to_follow() -> None:
    broadcast = followed(0)
    first = arrays_of(broadcast.record)
    stayed, went = ModelCopy(RecordDict(), 1), ModelCopy(RecordDict(), 2)

    def send(copy: ModelCopy) -> None:
        envelope = broadcast.envelope_for(copy.digest or None)
        if envelope is not None:
            received(envelope, broadcast.digest, copy)
        assert copy.digest == broadcast.digest

    send(stayed)
    send(went)
    # One weight that is zero, by a power of two: there and back again, exactly.
    name = next(name for name, tensor in first.items() if (tensor == 0).any())
    there = first[name].copy()
    there.flat[int(np.flatnonzero(there == 0)[0])] = 8
    broadcast.advance(record_of({**first, name: there}))
    assert broadcast.digest != stayed.digest
    send(went)
    broadcast.advance(record_of(first))
    assert broadcast.digest == stayed.digest
    late = ModelCopy(RecordDict(), 3)
    for copy in (stayed, went, late):
        send(copy)
    broadcast.advance(moved(first, ROUNDS(5)))
    envelope = broadcast.envelope_for(stayed.digest)
    assert envelope is not None
    # Nobody goes there and back again.
    assert len(sent_envelope(envelope)) == 1
    for copy in (stayed, went, late):
        send(copy)


@pytest.mark.parametrize("held", [0, 1, 2])
def test_a_node_that_holds_something_goes_on_from_there_and_not_from_the_file(held: int) -> None:
    broadcast, rng = followed(0), ROUNDS(3)
    copy = ModelCopy(RecordDict(), 1)
    for number in range(3):
        if number:
            broadcast.advance(moved(arrays_of(broadcast.record), rng))
        if number <= held:
            envelope = broadcast.envelope_for(copy.digest or None)
            assert envelope is not None
            received(envelope, broadcast.digest, copy)
    # As to a node that nobody knows anything of.
    envelope = broadcast.envelope_for(None)
    assert envelope is not None
    assert isinstance(sent_envelope(envelope), FileAndChain)
    # The file is of no account to it.
    begin = 5 + FILE.n_bytes // 2
    damaged = envelope[:begin] + bytes([envelope[begin] ^ 1]) + envelope[begin + 1 :]
    weights = received(damaged, broadcast.digest, copy)
    assert bytes_of(weights) == bytes_of(arrays_of(broadcast.record))


def test_nodes_that_keep_no_copy_get_the_file_each_time() -> None:
    downlink = DownlinkConfig(initial_model=FILE, client_copy_bytes=0)
    strategy, _, seen, _ = run(downlink, model=START, num_rounds=3)
    assert strategy.communication.totals.failures == 0
    assert min(packet_bytes(strategy, 0, "train")) >= FILE.n_bytes
    assert bytes_of(seen.by_node[2, 3]) == bytes_of(seen.by_strategy[3])


def test_a_checkpoint_keeps_the_file() -> None:
    broadcast = followed(1)
    restored = Broadcast.from_plain(DownlinkConfig(), broadcast.to_plain())
    assert restored.envelope_for(None) == broadcast.envelope_for(None)
    # Checkpoints from before there were files.
    plain = broadcast.to_plain()
    del plain["file"]
    older = Broadcast.from_plain(DownlinkConfig(), plain).envelope_for(None)
    assert older is not None
    assert isinstance(sent_envelope(older), Keyframe)


DAMAGED = CompressedModel(FILE.packet[:-9] + bytes(9), FILE.schema, FILE.config)


@pytest.mark.parametrize(
    ("file", "model", "found"),
    [
        (FILE, record_of(WEIGHTS), "found others"),
        (FILE, initial_arrays(40), "found other tensors, or their order"),
        (DAMAGED, START, "found a damaged file"),
    ],
)
def test_another_first_model_is_coded_like_any_with_a_warning(
    file: CompressedModel, model: ArrayRecord, found: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "fl_deepcabac"):
        broadcast = Broadcast(DownlinkConfig(initial_model=file))
        broadcast.advance(model)
    assert f"expected its weights as the first model, {found}" in caplog.text
    envelope = broadcast.envelope_for(None)
    assert envelope is not None
    assert isinstance(sent_envelope(envelope), Keyframe)


def test_a_later_model_of_other_tensors_is_no_reason_to_warn(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broadcast = followed(1)
    broadcast.advance(initial_arrays(40))
    envelope = broadcast.envelope_for(None)
    assert envelope is not None
    assert isinstance(sent_envelope(envelope), Keyframe)
    assert broadcast.to_plain()["file"] is None
    assert not caplog.records


def test_a_damaged_file_is_refused_and_leaves_no_copy() -> None:
    broadcast = followed(1)
    envelope = broadcast.envelope_for(None)
    assert envelope is not None
    copy = ModelCopy(RecordDict(), 1)
    for place in range(5, len(envelope), 97):
        damaged = bytearray(envelope)
        damaged[place] ^= 0x10
        with pytest.raises(DecodeError, match="needs a keyframe"):
            received(bytes(damaged), broadcast.digest, copy)
        assert copy.digest == b""


def test_a_vast_schema_is_refused_before_a_state_takes_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vast = Schema.from_json('[["w","float32",[2,33333333]]]')
    content = CompressedModel(FILE.packet, vast, FILE.config).to_bytes()
    monkeypatch.setattr(StreamState, "fresh", lambda *_: pytest.fail("a state is made"))
    with pytest.raises(DecodeError, match="needs a keyframe: model: expected a packet of schema"):
        received(envelope_of_file(FileAndChain(content)), bytes(8), ModelCopy(RecordDict(), 1))


def test_another_type_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"initial_model.*expected a CompressedModel or None, found .?bytes"
    ):
        DownlinkConfig(initial_model=FILE.to_bytes())  # type: ignore[arg-type]
    assert len(repr(DownlinkConfig(initial_model=FILE))) < 1000
