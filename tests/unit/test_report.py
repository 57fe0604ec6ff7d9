# SPDX-License-Identifier: Apache-2.0
"""Reports: sums, shares, and plain data."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import sample_update
from strategies import examples

import fl_deepcabac as dc
from fl_deepcabac.report import share_bytes


@examples(200)
@given(st.integers(0, 1 << 40), st.lists(st.integers(0, 1 << 50), max_size=12))
def test_shares_add_up_and_follow_the_costs(n_bytes: int, costs: list[int]) -> None:
    shares = share_bytes(n_bytes, costs)
    assert len(shares) == len(costs)
    if not costs:
        return
    assert sum(shares) == n_bytes
    assert min(shares) >= 0
    if sum(costs) > 0:
        for share, cost in zip(shares, costs, strict=True):
            assert share == pytest.approx(n_bytes * cost / sum(costs), rel=1e-6, abs=1.01)


def test_report_adds_up_where_bins_cost_next_to_nothing() -> None:
    # Every level is rated away, so in time the bins that say so cost less than their unit.
    update = {"a": np.full(3, 0.52, np.float32), "b": np.full(3, 0.52, np.float32)}
    encoder = dc.UpdateEncoder(dc.Schema.from_arrays(update), dc.CodecConfig(step=1.0))
    for _ in range(300):
        report = encoder.encode(update).report
        assert report.header_bytes + sum(t.n_bytes for t in report.tensors) == report.packet_bytes
    assert report.packet_bytes <= 37


def test_report_of_known_levels_says_what_they_are() -> None:
    update = {
        "w": np.array([[1.0, 0.0], [-0.5, 0.26]], np.float32),
        "z": np.zeros(5, np.float32),
        "i": np.array([3, 0], np.int16),
    }
    config = dc.CodecConfig(step=0.5, quantizer="uniform")
    report = dc.UpdateEncoder(dc.Schema.from_arrays(update), config).encode(update).report
    w, z, i = report.tensors
    assert (w.n_elements, w.n_nonzero, w.step) == (4, 3, 0.5)
    assert w.rmse == pytest.approx(0.24 / 2, rel=1e-6)
    assert (z.n_elements, z.n_nonzero, z.step, z.rmse) == (5, 0, None, 0.0)
    assert (i.n_elements, i.n_nonzero, i.step, i.rmse, i.n_bytes) == (2, 1, None, 0.0, 5)
    assert w.bits_per_weight == 8 * w.n_bytes / 4
    assert (report.n_elements, report.n_nonzero, report.raw_bytes) == (11, 4, 40)
    assert report.rmse == pytest.approx(np.sqrt(0.24**2 / 11), rel=1e-6)
    assert report.ratio == 40 / report.packet_bytes
    assert report.bits_per_weight == 8 * report.packet_bytes / 11


def test_report_on_the_decoder_knows_no_errors() -> None:
    update = sample_update(0)
    schema = dc.Schema.from_arrays(update)
    config = dc.CodecConfig(step=0.05)
    encoder, decoder = dc.UpdateEncoder(schema, config), dc.UpdateDecoder(schema, config)
    sent = encoder.encode(update)
    decoder.decode(sent.packet)
    assert decoder.report is not None
    assert decoder.report.rmse is None
    for ours, theirs in zip(sent.report.tensors, decoder.report.tensors, strict=True):
        assert (ours.name, ours.n_bytes, ours.n_nonzero, ours.step) == (
            (theirs.name, theirs.n_bytes, theirs.n_nonzero, theirs.step)
        )


def test_report_to_dict_is_json_and_complete() -> None:
    update = sample_update(0)
    encoder = dc.UpdateEncoder(dc.Schema.from_arrays(update), dc.CodecConfig(step=0.05))
    report = encoder.encode(update).report
    data = json.loads(json.dumps(report.to_dict()))
    assert data["packet_bytes"] == report.packet_bytes
    assert data["rmse"] == report.rmse
    assert [tensor["name"] for tensor in data["tensors"]] == list(update)
    assert data["tensors"][0]["bits_per_weight"] == report.tensors[0].bits_per_weight


def test_report_of_nothing_divides_by_nothing() -> None:
    report = dc.UpdateEncoder(dc.Schema.from_arrays({}), dc.CodecConfig()).encode({}).report
    assert (report.bits_per_weight, report.ratio, report.rmse) == (0.0, 0.0, 0.0)
