# SPDX-License-Identifier: Apache-2.0
"""Encoders and decoders as their users meet them."""

from __future__ import annotations

import numpy as np
import pytest
from samples import assert_same, sample_update
from strategies import PROFILES

import fl_deepcabac as dc

SCHEMA = dc.Schema.from_arrays(sample_update(0))
CONFIG = dc.CodecConfig(step=0.05)


def test_compress_is_a_fresh_encoder_and_decompress_a_fresh_decoder() -> None:
    update = sample_update(1)
    encoded = dc.UpdateEncoder(SCHEMA, CONFIG).encode(update)
    assert dc.compress(update, CONFIG) == encoded.packet
    assert_same(dc.decompress(encoded.packet, SCHEMA, CONFIG), encoded.decoded)


@pytest.mark.parametrize("profile", PROFILES)
def test_functions_and_objects_walk_the_same_stream(profile: str) -> None:
    config = dc.CodecConfig(step=0.05, profile=profile)
    encoder = dc.UpdateEncoder(SCHEMA, config)
    sender = receiver = dc.StreamState.fresh(SCHEMA, profile)
    for number in range(3):
        update = sample_update(8 * number)
        encoded = dc.encode_update(update, schema=SCHEMA, config=config, state=sender)
        assert encoded.packet == encoder.encode(update).packet
        decoded = dc.decode_update(encoded.packet, schema=SCHEMA, state=receiver)
        assert_same(decoded.update, encoded.decoded)
        sender, receiver = encoded.state, decoded.state
        assert sender.digest == receiver.digest == encoder.state_digest


def test_decoder_reads_its_profile_only_from_the_config() -> None:
    sender = dc.CodecConfig(step=0.05, profile="max", quantizer="deadzone", allocation="uniform")
    packet = dc.compress(sample_update(1), sender)
    receiver = dc.CodecConfig(relative_step=9.0, profile="max")
    assert list(dc.decompress(packet, SCHEMA, receiver)) == [t.name for t in SCHEMA.tensors]
    with pytest.raises(dc.ConfigError, match="expected max, as in the packet, found 'fast'"):
        dc.decompress(packet, SCHEMA, dc.CodecConfig(profile="fast"))


def test_packet_replayed_skipped_or_out_of_order_is_refused() -> None:
    encoder, decoder = dc.UpdateEncoder(SCHEMA, CONFIG), dc.UpdateDecoder(SCHEMA, CONFIG)
    first, second, third = (encoder.encode(sample_update(i)).packet for i in (0, 8, 16))
    with pytest.raises(dc.StateMismatchError):
        decoder.decode(second)
    decoder.decode(first)
    held = decoder.state_digest
    for packet in (first, third):
        with pytest.raises(dc.StateMismatchError) as caught:
            decoder.decode(packet)
        assert caught.value.expected == held
        assert caught.value.found == dc.inspect_packet(packet).base_state_digest
    decoder.decode(second)
    decoder.decode(third)
    assert decoder.state_digest == encoder.state_digest


def test_too_many_steps_are_refused_by_tensor_and_value() -> None:
    update = {"a": np.zeros(5, np.float32), "b": np.zeros((2, 3), np.float64)}
    schema = dc.Schema.from_arrays(update)
    for quantizer in ("rdoq", "deadzone", "uniform", "stochastic"):
        encoder = dc.UpdateEncoder(schema, dc.CodecConfig(step=0.5, quantizer=quantizer))
        update["b"][1, 1] = -(2.0**23)
        encoder.encode(update)
        state = encoder.state_bytes()
        for value in (-(2.0**23) - 1, 1e300):
            update["b"][1, 1] = value
            with pytest.raises(dc.LevelRangeError, match="tensor 'b': expected at most") as caught:
                encoder.encode(update)
            assert caught.value.tensor == "b"
            assert abs(caught.value.value) >= abs(value)
            assert encoder.state_bytes() == state


def test_reset_starts_both_ends_afresh() -> None:
    encoder, decoder = dc.UpdateEncoder(SCHEMA, CONFIG), dc.UpdateDecoder(SCHEMA, CONFIG)
    fresh = encoder.state_digest
    first = encoder.encode(sample_update(0)).packet
    encoder.encode(sample_update(8))
    encoder.reset()
    assert encoder.state_digest == fresh
    assert encoder.encode(sample_update(0)).packet == first
    decoder.decode(first)
    decoder.reset()
    decoder.decode(first)


def test_load_state_goes_back_in_the_stream() -> None:
    encoder = dc.UpdateEncoder(SCHEMA, CONFIG)
    encoder.encode(sample_update(0))
    saved = encoder.state_bytes()
    packet = encoder.encode(sample_update(8)).packet
    encoder.encode(sample_update(16))
    encoder.load_state(saved)
    assert encoder.encode(sample_update(8)).packet == packet


def test_decoder_reports_once_it_has_decoded() -> None:
    decoder = dc.UpdateDecoder(SCHEMA, CONFIG)
    assert decoder.report is None
    packet = dc.compress(sample_update(0), CONFIG)
    decoder.decode(packet)
    assert decoder.report is not None
    assert decoder.report.packet_bytes == len(packet)


@pytest.mark.parametrize("packet", [None, "x", bytearray(40), 5])
def test_decode_takes_bytes_only(packet: object) -> None:
    with pytest.raises(TypeError):
        dc.UpdateDecoder(SCHEMA, CONFIG).decode(packet)


def test_float16_saturates_instead_of_overflowing() -> None:
    update = {"h": np.array([65504, -65504, 40000, 12000], np.float16)}
    config = dc.CodecConfig(step=48000.0, quantizer="uniform")
    decoded = dc.decompress(dc.compress(update, config), dc.Schema.from_arrays(update), config)
    assert decoded["h"].tolist() == [48000, -48000, 48000, 0]
    config = dc.CodecConfig(step=100000.0, quantizer="uniform")
    decoded = dc.decompress(dc.compress(update, config), dc.Schema.from_arrays(update), config)
    assert decoded["h"].tolist() == [65504, -65504, 0, 0]


def test_float64_values_are_exact_products() -> None:
    update = {"d": np.array([0.3, -0.7, 1e-300])}
    config = dc.CodecConfig(step=0.1, quantizer="uniform")
    decoded = dc.decompress(dc.compress(update, config), dc.Schema.from_arrays(update), config)
    step = np.float32(0.1)
    assert decoded["d"].tolist() == [float(np.float32(3) * step), float(np.float32(-7) * step), 0]


def test_encoding_against_the_state_of_another_stream_is_refused() -> None:
    update = {"a": np.ones((2, 3), np.float32)}
    schema = dc.Schema.from_arrays(update)
    # As many weights in another shape: the core alone could not tell.
    other = dc.Schema.from_arrays({"a": np.ones((3, 2), np.float32)})
    config = dc.CodecConfig(step=0.5)
    state = dc.StreamState.fresh(other, "fast")
    with pytest.raises(dc.SchemaMismatchError, match="stream state: expected schema"):
        dc.encode_update(update, schema=schema, config=config, state=state)
    state = dc.StreamState.fresh(schema, "max")
    with pytest.raises(dc.ConfigError, match="'profile': expected max, as in the state"):
        dc.encode_update(update, schema=schema, config=config, state=state)
