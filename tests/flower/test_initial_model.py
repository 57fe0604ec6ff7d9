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

from fl_deepcabac import CodecConfig, DecodeError
from fl_deepcabac.errors import ConfigError
from fl_deepcabac.flower import DownlinkConfig
from fl_deepcabac.flower.broadcast import Broadcast
from fl_deepcabac.flower.broadcast_records import (
    BROADCAST_STYPE,
    FileAndChain,
    Keyframe,
    Named,
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
    rng = np.random.default_rng(3)
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
    broadcast.advance(moved(weights, np.random.default_rng(4)))
    link = broadcast.envelope_for(copy.digest)
    assert link is not None
    assert len(link) < len(envelope) / 2
    after = received(link, broadcast.digest, copy)
    assert bytes_of(after) == bytes_of(arrays_of(broadcast.record))


def test_a_chain_longer_than_a_keyframe_gives_way_to_one() -> None:
    broadcast, rng, lengths = followed(0), np.random.default_rng(3), []
    for _ in range(40):
        envelope = broadcast.envelope_for(None)
        assert envelope is not None
        if isinstance(sent_envelope(envelope), Keyframe):
            break
        lengths.append(len(envelope))
        broadcast.advance(moved(arrays_of(broadcast.record), rng))
    else:
        pytest.fail("expected a keyframe in the end")
    assert len(lengths) > 2
    assert max(lengths) <= len(envelope) * 1.05
    copy = ModelCopy(RecordDict(), 1)
    weights = received(envelope, broadcast.digest, copy)
    assert bytes_of(weights) == bytes_of(arrays_of(broadcast.record))


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


@pytest.mark.parametrize("model", [record_of(WEIGHTS), initial_arrays(40)])
def test_another_first_model_is_coded_like_any_with_a_warning(
    model: ArrayRecord, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "fl_deepcabac"):
        broadcast = Broadcast(DownlinkConfig(initial_model=FILE))
        broadcast.advance(model)
    assert "expected its weights as the first model, found others" in caplog.text
    envelope = broadcast.envelope_for(None)
    assert envelope is not None
    assert isinstance(sent_envelope(envelope), Keyframe)


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


def test_another_type_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"initial_model.*expected a CompressedModel or None"):
        DownlinkConfig(initial_model=FILE.to_bytes())  # type: ignore[arg-type]
