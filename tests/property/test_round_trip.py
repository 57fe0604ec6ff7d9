# SPDX-License-Identifier: Apache-2.0
"""What holds for every update: the decoder sees what the encoder says it will, and so on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from samples import assert_same, copied, sample_levels, sample_update
from strategies import PROFILES, configs, examples, updates

import fl_deepcabac as dc

Update = dict[str, NDArray[np.generic]]


@examples(40)
@given(updates(), configs())
def test_decoder_sees_what_the_encoder_says(update: Update, config: dc.CodecConfig) -> None:
    before = copied(update)
    schema = dc.Schema.from_arrays(update)
    encoder, decoder = dc.UpdateEncoder(schema, config), dc.UpdateDecoder(schema, config)
    for _ in range(2):
        encoded = encoder.encode(update)
        decoded = decoder.decode(encoded.packet)
        assert_same(decoded, encoded.decoded)
        assert decoder.state_digest == encoder.state_digest
    assert_same(update, before)
    for spec in schema.exact_tensors:
        assert decoded[spec.name].tobytes() == update[spec.name].tobytes()
    assert decoder.state_bytes() == encoder.state_bytes()


@examples(40)
@given(updates(), configs())
def test_same_input_gives_the_same_bytes(update: Update, config: dc.CodecConfig) -> None:
    schema = dc.Schema.from_arrays(update)
    one, two = dc.UpdateEncoder(schema, config), dc.UpdateEncoder(schema, config)
    shuffled = dict(reversed(update.items()))
    for _ in range(2):
        assert one.encode(update).packet == two.encode(shuffled).packet
    assert one.state_bytes() == two.state_bytes()


@examples(50)
@given(updates(), configs())
def test_report_sums_to_the_packet(update: Update, config: dc.CodecConfig) -> None:
    schema = dc.Schema.from_arrays(update)
    encoder, decoder = dc.UpdateEncoder(schema, config), dc.UpdateDecoder(schema, config)
    encoded = encoder.encode(update)
    decoded = decoder.decode(encoded.packet)
    header = dc.inspect_packet(encoded.packet)
    assert decoder.report is not None
    for report in (encoded.report, decoder.report):
        assert report.packet_bytes == len(encoded.packet) == header.total_bytes
        assert report.header_bytes + sum(t.n_bytes for t in report.tensors) == report.packet_bytes
        assert all(t.n_bytes >= 0 for t in report.tensors)
        assert [t.name for t in report.tensors] == list(update)
        assert report.raw_bytes == sum(array.nbytes for array in update.values())
        assert report.n_nonzero >= sum(np.count_nonzero(array) for array in decoded.values())
    assert 36 + header.exact_bytes + header.payload_bytes == header.total_bytes
    for tensor in encoded.report.tensors:
        difference = update[tensor.name].astype(np.float64) - decoded[tensor.name]
        wanted = float(np.sqrt(np.mean(difference**2))) if difference.size else 0.0
        assert tensor.rmse == pytest.approx(wanted, rel=1e-12)


@examples(40)
@given(
    values=hnp.arrays(np.float32, st.integers(1, 40), elements=st.floats(-1000, 1000, width=32)),
    step=st.floats(2**-9, 2.0**9, width=32),
    profile=st.sampled_from(PROFILES),
)
def test_uniform_quantiser_errs_by_half_a_step(
    values: NDArray[np.float32], step: float, profile: str
) -> None:
    update = {"w": values}
    schema = dc.Schema.from_arrays(update)
    config = dc.CodecConfig(step=step, quantizer="uniform", profile=profile)
    decoded = dc.decompress(dc.compress(update, config), schema, config)["w"]
    error = np.abs(values.astype(np.float64) - decoded.astype(np.float64))
    # One unit in the last place each for the quotient, scaled back, and for the product.
    slack = np.spacing(np.abs(values)) + np.spacing(np.abs(decoded))
    assert (error <= np.float64(np.float32(step)) / 2 + slack).all()


@examples(40)
@given(
    exponent=st.integers(-100, 100),
    levels=st.lists(
        st.integers(-(1 << 24), 1 << 24) | st.sampled_from([1 << 24, -(1 << 24)]), max_size=20
    ),
)
def test_dyadic_steps_lose_nothing_at_any_magnitude(exponent: int, levels: list[int]) -> None:
    # From 2^-100 to 2^124: every such product is a float32, so uniform quantisation is exact.
    update = {"w": (np.array(levels, np.float64) * 2.0**exponent).astype(np.float32)}
    schema = dc.Schema.from_arrays(update)
    config = dc.CodecConfig(step=2.0**exponent, quantizer="uniform")
    decoded = dc.decompress(dc.compress(update, config), schema, config)
    assert decoded["w"].tolist() == update["w"].tolist()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_subnormal_and_extreme_values_round_trip(dtype: str) -> None:
    info = np.finfo(dtype)
    small = np.array([info.smallest_subnormal, -info.tiny, 0, -0.0], dtype)
    # Whatever lies nearer to zero than half the smallest step is zero.
    config = dc.CodecConfig(step=2.0**-100, quantizer="uniform")
    if dtype == "float16":
        config = dc.CodecConfig(step=2.0**-24, quantizer="uniform")
    decoded = dc.decompress(
        dc.compress({"w": small}, config), dc.Schema.from_arrays({"w": small}), config
    )["w"]
    expected = [2.0**-24, -(2.0**-14), 0.0, 0.0] if dtype == "float16" else [0.0] * 4
    assert decoded.tolist() == expected
    largest = {
        "w": np.array([2.0**124, -(2.0**124), 65504.0]).clip(info.min, info.max).astype(dtype)
    }
    config = dc.CodecConfig(step=2.0**100, quantizer="uniform")
    if dtype == "float16":
        config = dc.CodecConfig(step=48.0, quantizer="uniform")  # 1365 steps are above 65504
    encoded = dc.UpdateEncoder(dc.Schema.from_arrays(largest), config).encode(largest)
    assert np.isfinite(encoded.decoded["w"]).all()
    assert encoded.decoded["w"][0] == largest["w"][0]


@examples(40)
@given(profile=st.sampled_from(PROFILES), seed=st.integers(0, 1 << 32), n=st.integers(0, 3))
def test_state_moves_between_encoder_and_decoder(profile: str, seed: int, n: int) -> None:
    schema = dc.Schema.from_arrays(sample_update(0))
    config = dc.CodecConfig(step=0.1, profile=profile)
    encoder, decoder = dc.UpdateEncoder(schema, config), dc.UpdateDecoder(schema, config)
    fresh = encoder.state_bytes()
    for number in range(n):
        encoder.encode(sample_update(seed + 8 * number))
    saved = encoder.state_bytes()
    decoder.load_state(saved)
    assert decoder.state_digest == encoder.state_digest
    assert decoder.state_bytes() == saved
    packet = encoder.encode(sample_update(seed + 80)).packet
    decoder.decode(packet)
    assert decoder.state_bytes() == encoder.state_bytes()
    for end in (encoder, decoder):
        end.reset()
        assert end.state_bytes() == fresh


def test_eight_threads_give_equal_bytes() -> None:
    update = {"w": np.array(sample_levels(5, 4000, per_cent=40, largest=50), np.float32)}
    update = {"w": update["w"].reshape(40, 100), "n": np.arange(50)}
    schema = dc.Schema.from_arrays(update)
    config = dc.CodecConfig(step=0.7, profile="max")
    start = dc.StreamState.fresh(schema, "max")
    start = dc.encode_update(update, schema=schema, config=config, state=start).state

    def work(_: int) -> tuple[bytes, bytes, bytes]:
        encoded = dc.encode_update(update, schema=schema, config=config, state=start)
        decoded = dc.decode_update(encoded.packet, schema=schema, state=start)
        return encoded.packet, decoded.update["w"].tobytes(), decoded.state.to_bytes()

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(work, range(32)))
    assert len(set(results)) == 1
