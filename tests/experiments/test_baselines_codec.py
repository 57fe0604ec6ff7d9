# SPDX-License-Identifier: Apache-2.0
"""Methods in whole runs, what becomes of bad replies, and the catalogue."""

from __future__ import annotations

import dataclasses
import json
import math
import pickle
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from experiments.baseline_samples import needs_sz3
from experiments.test_baselines_nncodec import needs_nncodec
from experiments.test_runner import InProcess
from flower.inprocess_grid import ChangesReplies, Faults
from flwr.app import Array, ArrayRecord, Message, RecordDict

from fl_deepcabac import CodecConfig, ConfigError
from fl_deepcabac.experiments.baselines import codec as codec_module
from fl_deepcabac.experiments.baselines.catalogue import CODEC_NAMES, METHODS, build_codec
from fl_deepcabac.experiments.baselines.codec import BaselineCodec
from fl_deepcabac.experiments.baselines.envelope import PAYLOAD_STYPE
from fl_deepcabac.experiments.client import load_partitioned
from fl_deepcabac.experiments.codecs import DeepCabac, Uncompressed
from fl_deepcabac.experiments.rows import HEADER_LAYER, RoundRow
from fl_deepcabac.experiments.runner import RunResult, run_federated
from fl_deepcabac.experiments.settings import RunSettings, SettingsError
from fl_deepcabac.experiments.tasks import TaskData, digits
from fl_deepcabac.flower import DownlinkConfig

SETTINGS = RunSettings(clients=2, rounds=2, local_epochs=1, batch_size=32)
# What not every machine has.
NEEDS = {"nncodec": needs_nncodec, "sz3": needs_sz3}
N_SAMPLES = 80
N_WEIGHTS = 151_306
ENVELOPE_BYTES = 6
# Bits per weight of those methods for which they hardly depend on the update.
EXPECTED_BITS = {
    "fp16": 16,
    "bf16": 16,
    "drive": 1.01,
    "eden": 2.02,
    "powersgd": 0.76,
    "stc": 0.1,
    "topk": 0.41,
}


@pytest.fixture(autouse=True)
def _few_digits(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    data = digits.TASK.load_data(None)
    few = TaskData(data.train.take(np.arange(N_SAMPLES)), data.test.take(np.arange(60)))
    monkeypatch.setattr(digits, "TASK", dataclasses.replace(digits.TASK, load_data=lambda _: few))
    load_partitioned.cache_clear()
    yield
    load_partitioned.cache_clear()


def run(spec: dict[str, Any], faults: Faults | None = None, *, seed: int = 0) -> RunResult:
    return run_federated(SETTINGS, build_codec(spec), engine=InProcess(faults, seed=seed))


def without_times(rows: list[RoundRow]) -> list[RoundRow]:
    times = {"seconds": 0.0, "encode_seconds": 0.0, "decode_seconds": 0.0}
    return [dataclasses.replace(row, **times) for row in rows]


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=NEEDS.get(name, ())) for name in METHODS],
)
def test_method_runs_and_every_byte_is_counted(name: str) -> None:
    result = run({"name": name})
    for row in result.rows:
        assert (row.codec, row.clients, row.failures) == (name, 2, 0)
        assert row.uplink_raw_bytes == 2 * 4 * N_WEIGHTS
        assert row.layer_bytes == {HEADER_LAYER: row.uplink_packet_bytes}
        assert row.encode_seconds > 0
        assert row.decode_seconds > 0
        assert math.isfinite(row.loss or math.nan)
        if name in EXPECTED_BITS:
            assert row.bits_per_weight == pytest.approx(EXPECTED_BITS[name], rel=0.15)
        if name == "fp16":
            assert row.uplink_packet_bytes == 2 * (2 * N_WEIGHTS + ENVELOPE_BYTES)
    assert result.warnings == []


def test_lossless_method_changes_nothing_but_bytes() -> None:
    """The sum of received and difference is rounded once: the same to a last bit or two."""
    exact = run({"name": "none"})
    coded = run({"name": "zstd", "byte_planes": True})
    for name, array in exact.weights.items():
        assert np.allclose(array, coded.weights[name], rtol=1e-5, atol=1e-7), name
    assert coded.rows[0].uplink_packet_bytes < exact.rows[0].uplink_packet_bytes
    assert coded.rows[0].uplink_raw_bytes == exact.rows[0].uplink_raw_bytes


@pytest.mark.parametrize("spec", [{"name": "qsgd"}, {"name": "stc"}, {"name": "powersgd"}])
def test_run_repeats_bit_for_bit(spec: dict[str, Any]) -> None:
    runs = [run(spec, seed=seed) for seed in (0, 1)]
    assert without_times(runs[0].rows) == without_times(runs[1].rows)
    for name, array in runs[0].weights.items():
        assert np.array_equal(array, runs[1].weights[name])


def test_chance_differs_between_seeds_rounds_and_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    chance_of = codec_module._chance_of

    def watched(*arguments: Any) -> np.random.Generator:
        drawn.append(chance_of(*arguments).random())
        return chance_of(*arguments)

    monkeypatch.setattr(codec_module, "_chance_of", watched)
    run({"name": "qsgd"})
    other_seed = dataclasses.replace(SETTINGS, seed=1, rounds=1)
    run_federated(other_seed, build_codec({"name": "qsgd"}), engine=InProcess())
    assert len(set(drawn)) == len(drawn) == 2 * 2 + 2


def test_memory_is_the_clients_own_and_goes_on() -> None:
    """With error feedback the second round sends what the first left out."""
    plain, fed = (
        run({"name": "stc", "error_feedback": error_feedback}) for error_feedback in (False, True)
    )
    assert plain.rows[0].uplink_packet_bytes == fed.rows[0].uplink_packet_bytes
    assert any(
        not np.array_equal(array, fed.weights[name]) for name, array in plain.weights.items()
    )


def damaged(message: Message, change: Any) -> Message:
    [(name, record)] = message.content.array_records.items()
    [(key, array)] = record.items()
    data = change(bytes(array.data))
    record[key] = Array("uint8", (len(data),), array.stype, data)
    message.content = RecordDict({**message.content, name: record})
    return message


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda data: data[:-1] + b"\xff", "envelope"),
        (lambda data: data[:3], "envelope"),
        (lambda data: data[:1000], "envelope"),
    ],
)
def test_damaged_payload_is_its_nodes_failure(change: Any, reason: str) -> None:
    faults = ChangesReplies(
        lambda node, server_round: node.partition_id == 1 and server_round == 1,
        lambda message: damaged(message, change),
    )
    result = run({"name": "fp16"}, faults)
    assert [row.failures for row in result.rows] == [1, 0]
    assert len(result.warnings) == 1
    assert "fp16: reply of node 1001" in result.warnings[0]
    assert reason in result.warnings[0]


def test_reply_without_a_payload_is_a_failure() -> None:
    def strip(message: Message) -> Message:
        content = {"arrays": ArrayRecord({"w": Array(np.zeros(3, np.float32))})}
        message.content = RecordDict({**message.content, **content})
        return message

    faults = ChangesReplies(lambda node, _: node.partition_id == 0, strip)
    result = run({"name": "uniform"}, faults)
    assert [row.failures for row in result.rows] == [1, 1]
    assert PAYLOAD_STYPE in result.warnings[0]


class ArrivesTwice(Faults):
    """Hands the server one reply again."""

    def arriving(self, replies: list[Message]) -> list[Message]:
        return replies + replies[:1]


def test_second_reply_of_a_node_is_not_used() -> None:
    once, twice = run({"name": "fp16"}), run({"name": "fp16"}, ArrivesTwice())
    assert [row.failures for row in twice.rows] == [0, 0]
    assert all(np.array_equal(once.weights[name], twice.weights[name]) for name in once.weights)
    assert "expected one reply to each message, found another" in twice.warnings[0]


class Diverges(Faults):
    """Sends one client weights that training cannot make finite."""

    def before_training(self, node: Any, message: Message, server_round: int) -> Message:
        if node.partition_id == 1 and server_round == 1:
            [record] = message.content.array_records.values()
            for name, array in list(record.items()):
                record[name] = Array(np.full(array.shape, np.nan, np.float32))
        return message


def test_client_that_cannot_encode_is_a_failure() -> None:
    result = run({"name": "topk"}, Diverges())
    assert [row.failures for row in result.rows] == [1, 0]


def test_names_are_those_of_the_catalogue() -> None:
    assert CODEC_NAMES[:2] == ("none", "deepcabac")
    assert set(CODEC_NAMES[2:]) == set(METHODS)
    for name, method in METHODS.items():
        assert method.name == name


@pytest.mark.parametrize(
    "spec",
    [
        {"name": "none"},
        *(pytest.param({"name": name}, marks=NEEDS.get(name, ())) for name in METHODS),
        {"name": "topk", "density": 0.5, "scope": "tensor", "values": "float16"},
        {"name": "zstd", "level": 5},
        {"name": "deepcabac"},
        {"name": "deepcabac", "relative_step": 6.0, "profile": "max", "downlink": True},
        {"name": "deepcabac", "step": 0.004, "step_overrides": {"*.bias": 0.5}},
        {"name": "deepcabac", "downlink": {"relative_step": 1.0}, "threads": 2},
    ],
    ids=str,
)
def test_described_codec_can_be_built_again(spec: dict[str, Any]) -> None:
    codec = build_codec(spec)
    assert codec.name == spec["name"]
    described = {"name": codec.name, **codec.describe()}
    again = build_codec(json.loads(json.dumps(described)))
    assert type(again) is type(codec)
    assert again.describe() == codec.describe()
    if isinstance(codec, BaselineCodec):
        assert isinstance(again, BaselineCodec)
        assert again.method == codec.method
        # To other processes.
        assert pickle.loads(pickle.dumps(codec.client_mods()))[0].method == codec.method


def test_deepcabac_takes_its_settings_and_the_way_down() -> None:
    spec = {"name": "deepcabac", "relative_step": 6.0, "profile": "max"}
    codec = build_codec(spec)
    assert isinstance(codec, DeepCabac)
    assert codec.config == CodecConfig(relative_step=6.0, profile="max")
    assert codec.downlink is None
    for downlink, expected in (
        ({"downlink": True}, DownlinkConfig()),
        ({"downlink": {}}, DownlinkConfig()),
        ({"downlink": False}, None),
        ({"downlink": {"relative_step": 1.0}}, DownlinkConfig(relative_step=1.0)),
        ({"downlink_relative_step": 1.0}, DownlinkConfig(relative_step=1.0)),
        (
            {"downlink": {"threads": 2}, "downlink_profile": "fast"},
            DownlinkConfig(threads=2, profile="fast"),
        ),
    ):
        codec = build_codec(spec | downlink)
        assert isinstance(codec, DeepCabac)
        assert codec.downlink == expected
    assert isinstance(build_codec({"name": "none"}), Uncompressed)


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({}, "'name': expected one of none, deepcabac, fp16, .*, found None"),
        ({"name": "gzip"}, "'name': expected one of none, .* nncodec, found 'gzip'"),
        ({"name": ["stc"]}, "'name': expected one of none"),
        ({"name": "stc", "p": 0.1}, "'p': expected one of error_feedback, density, scope, found"),
        ({"name": "none", "bits": 3}, "'bits': expected no parameters, found 'bits'"),
        ({"name": "stc", "density": 0}, r"'density': expected a number in \[1e-06, 1\], found 0"),
        ({"name": "stc", "density": "all"}, "'density': expected a number"),
        ({"name": "stc", "error_feedback": 1}, "'error_feedback': expected a bool, found 1"),
        ({"name": "topk", "scope": "layer"}, "'scope': expected one of update, tensor"),
        ({"name": "topk", "values": "float8"}, "'values': expected one of float32, float16"),
        ({"name": "uniform", "bits": 17}, r"'bits': expected an integer in \[1, 16\]"),
        ({"name": "uniform", "bits": 1, "span": "maxabs"}, r"'bits': expected an integer in \[2"),
        ({"name": "uniform", "bits": True}, "'bits': expected an integer"),
        ({"name": "qsgd", "levels": 0}, "'levels': expected an integer"),
        ({"name": "qsgd", "bucket": 0}, "'bucket': expected an integer"),
        ({"name": "qsgd", "norm": "l1"}, "'norm': expected one of l2, max"),
        ({"name": "drive", "block": 100}, "'block': expected a power of two, found 100"),
        ({"name": "drive", "bits": 2}, "'bits': expected one of error_feedback, scale, block"),
        ({"name": "eden", "bits": 0}, "'bits': expected an integer"),
        ({"name": "eden", "scale": 3}, "'scale': expected one of unbiased, least error"),
        ({"name": "powersgd", "rank": 0}, "'rank': expected an integer"),
        ({"name": "kmeans", "iterations": -1}, "'iterations': expected an integer"),
        ({"name": "zstd", "level": 22}, r"'level': expected an integer in \[1, 19\]"),
        ({"name": "zstd", "level": 3, "byte_planes": True}, "'level': expected none with"),
        ({"name": "sz3", "bound": 0.0}, "'bound': expected a number"),
        ({"name": "sz3", "relative_to": "mean"}, "'relative_to': expected one of range, rms"),
        ({"name": "deepcabac", "speed": 3}, "'speed': expected one of step, relative_step, .*down"),
        ({"name": "deepcabac", "downlink": 3}, "'downlink': expected a bool or a table, found 3"),
        ({"name": "deepcabac", "downlink": {"qp": 3}}, "'qp': expected one of relative_step, key"),
        ({"name": "deepcabac", "downlink_qp": 3}, "'qp': expected one of relative_step, key"),
    ],
    ids=str,
)
def test_unknown_names_and_values_are_refused(spec: dict[str, Any], reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        build_codec(spec)


def test_settings_of_deepcabac_are_checked_by_it() -> None:
    with pytest.raises(ConfigError, match="relative_step"):
        build_codec({"name": "deepcabac", "relative_step": -1.0})


def test_sz3_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pysz", None)
    with pytest.raises(SettingsError, match="the package pysz for sz3, from pip install pysz"):
        build_codec({"name": "sz3"})
