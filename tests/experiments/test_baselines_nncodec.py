# SPDX-License-Identifier: Apache-2.0
"""The adapter of NNCodec, against a stand-in; against NNCodec where NNCODEC_PYTHON names it."""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from experiments.baseline_samples import Update, floats_of

from fl_deepcabac import NonFiniteError, Schema
from fl_deepcabac.errors import CorruptPacketError, DecodeError, EncodeError, LevelRangeError
from fl_deepcabac.experiments.baselines.catalogue import build_codec
from fl_deepcabac.experiments.baselines.nncodec import (
    PYTHON_VARIABLE,
    NnCodec,
    nearest_qp,
    step_of,
)
from fl_deepcabac.experiments.settings import SettingsError

needs_nncodec = pytest.mark.skipif(
    PYTHON_VARIABLE not in os.environ, reason=f"{PYTHON_VARIABLE} names no interpreter"
)
RNG = np.random.default_rng(0)


def make_update(seed: int = 0) -> Update:
    rng = np.random.default_rng(seed)
    return {
        "w": rng.standard_normal((3, 4)).astype(np.float32),
        "n": np.array([seed, 3]),
        "nothing": np.zeros((0, 2), np.float32),
        "b": rng.standard_normal(2).astype(np.float32),
        "scalar": np.array(0.25, np.float32),
    }


SCHEMA = Schema.from_arrays(make_update())


def test_absence_is_said_before_anything_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(PYTHON_VARIABLE, raising=False)
    hint = r"'python': expected the interpreter .* pip install nncodec==2.1.3 'numpy<2', .*found "
    with pytest.raises(SettingsError, match=hint + "None"):
        build_codec({"name": "nncodec"})
    for python in ("/nowhere/python", 3, str(tmp_path)):
        with pytest.raises(SettingsError, match=hint):
            build_codec({"name": "nncodec", "python": python})
    # This one has none, because NNCodec needs NumPy 1.
    with pytest.raises(SettingsError, match=hint + ".*, without nncodec"):
        build_codec({"name": "nncodec", "python": sys.executable})
    program = tmp_path / "program"
    program.write_text("no program", encoding="utf-8")
    with pytest.raises(SettingsError, match=hint):
        NnCodec(python=str(program))


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"qp": 65}, "qp"),
        ({"qp": -30, "relative_step": 2.0}, "qp"),
        ({"relative_step": 0.0}, "relative_step"),
        ({"use_dq": 1}, "use_dq"),
        ({"lambda_scale": -1}, "lambda_scale"),
        ({"qp_density": 2}, "qp_density"),
    ],
)
def test_settings_are_checked(python: str, settings: dict[str, Any], field: str) -> None:
    with pytest.raises(SettingsError, match=f"'{field}'"):
        build_codec({"name": "nncodec", "python": python} | settings)


def test_settings_describe_the_codec(python: str) -> None:
    codec = build_codec({"name": "nncodec", "python": python, "qp": -20, "tca": False})
    again = build_codec({"name": "nncodec", **codec.describe()})
    assert again.describe() == codec.describe()
    assert codec.describe()["qp"] == -20


def test_steps_are_those_of_the_standard() -> None:
    assert step_of(-40) == 2.0**-10
    assert step_of(-38) == 1.5 * 2.0**-10
    assert [nearest_qp(step_of(qp)) for qp in range(-128, 65)] == list(range(-128, 65))
    assert nearest_qp(0.0) == -128


def test_stream_goes_on_from_what_both_sides_remember(python: str) -> None:
    method = NnCodec(python=python, qp=-16)
    sent: dict[str, Any] = {}
    held: dict[str, Any] = {}
    total = received = 0.0
    for number in range(3):
        update = make_update(number)
        payload, sent = method.encode(update, SCHEMA, sent, RNG)
        decoded, held = method.decode(payload, SCHEMA, held)
        assert list(decoded) == list(update)
        assert np.array_equal(decoded["n"], update["n"])
        assert decoded["nothing"].shape == (0, 2)
        total, received = total + floats_of(update), received + floats_of(decoded)
        assert np.array_equal(sent["levels"], held["levels"])
        assert sent["depths"].tolist() == held["depths"].tolist() == [number + 1] * 2
    assert np.abs(received + sent["residual"] - total).max() < 1e-5
    assert np.abs(sent["residual"]).max() <= 1 / 32
    with pytest.raises(CorruptPacketError, match="bases differ"):
        method.decode(payload, SCHEMA, {})


def test_without_temporal_contexts_nothing_is_remembered(python: str) -> None:
    method = NnCodec(python=python, tca=False, error_feedback=False, relative_step=0.5)
    payload, sent = method.encode(make_update(), SCHEMA, {}, RNG)
    decoded, held = method.decode(payload, SCHEMA, {})
    assert sent == held == {}
    error = floats_of(make_update()) - floats_of(decoded)
    rms = np.sqrt(np.mean(floats_of(make_update()) ** 2))
    assert np.abs(error).max() <= 0.3 * rms


def test_model_without_floats_needs_no_process(python: str) -> None:
    update: Update = {"n": np.array(3), "nothing": np.zeros((2, 0), np.float32)}
    method, schema = NnCodec(python=python), Schema.from_arrays(update)
    payload, _ = method.encode(update, schema, {}, RNG)
    decoded, _ = method.decode(payload, schema, {})
    assert decoded["n"] == 3


def test_process_that_refuses_or_dies_costs_one_update(python: str) -> None:
    method, update = NnCodec(python=python), make_update()
    for value, reason in ((666.0, "SystemExit: this will not do"), (999.0, "code 3: a last word")):
        bad = update | {"b": np.array([value, 0], np.float32)}
        with pytest.raises(EncodeError, match=reason):
            method.encode(bad, SCHEMA, {}, RNG)
    payload, _ = method.encode(update, SCHEMA, {}, RNG)
    assert len(payload) > 0


def test_what_cannot_be_coded_is_refused(python: str) -> None:
    method, update = NnCodec(python=python), make_update()
    with pytest.raises(NonFiniteError):
        method.encode(update | {"b": np.array([np.nan, 0], np.float32)}, SCHEMA, {}, RNG)
    with pytest.raises(LevelRangeError, match="'b'"):
        method.encode(update | {"b": np.array([1e6, 0], np.float32)}, SCHEMA, {}, RNG)


def test_damage_is_noticed(python: str) -> None:
    method = NnCodec(python=python)
    payload, _ = method.encode(make_update(), SCHEMA, {}, RNG)
    for n_bytes in range(len(payload)):
        with pytest.raises(DecodeError):
            method.decode(payload[:n_bytes], SCHEMA, {})
    exact_bytes = sum(spec.raw_bytes for spec in SCHEMA.exact_tensors)
    for place in range(exact_bytes, len(payload)):
        changed = bytearray(payload)
        changed[place] ^= 1
        with pytest.raises(DecodeError):
            method.decode(bytes(changed), SCHEMA, {})


def test_copies_share_a_process(python: str) -> None:
    """Flower's engine hands a worker a new copy with each message."""
    method, update = NnCodec(python=python), make_update()
    payload, _ = method.encode(update, SCHEMA, {}, RNG)
    copy = pickle.loads(pickle.dumps(method))
    assert copy == method
    assert copy.encode(update, SCHEMA, {}, RNG)[0] == payload
    assert copy._process is method._process


def real_update(rng: np.random.Generator, base: np.ndarray) -> Update:
    return {
        "w": 0.01 * (base + rng.standard_normal(base.shape).astype(np.float32)),
        "zeros": np.zeros((4, 5), np.float32),
        "conv": 0.02 * rng.standard_normal((4, 2, 3, 3)).astype(np.float32),
        "n": np.array(3),
        "b": (0.01 * rng.standard_normal(64)).astype(np.float16),
        "double": 0.01 * rng.standard_normal((3, 2)),
    }


@needs_nncodec
def test_nncodec_itself_codes_a_stream() -> None:
    rng, sizes = np.random.default_rng(0), {}
    base = rng.standard_t(4, (64, 96)).astype(np.float32)
    updates = [real_update(rng, base) for _ in range(4)]
    schema = Schema.from_arrays(updates[0])
    for tca, feedback in ((True, True), (True, False), (False, False)):
        method = NnCodec(relative_step=1.0, tca=tca, error_feedback=feedback)
        sent: dict[str, Any] = {}
        held: dict[str, Any] = {}
        total = received = 0.0
        for update in updates:
            payload, sent = method.encode(update, schema, sent, rng)
            before = held
            decoded, held = method.decode(payload, schema, held)
            total, received = total + floats_of(update), received + floats_of(decoded)
        if feedback:
            assert np.abs(received + sent["residual"] - total).max() < 1e-6
        else:
            sizes[tca] = len(payload)
        with pytest.raises(DecodeError):
            method.decode(payload[:-5], schema, before)
    assert sizes[True] < sizes[False] < schema.n_elements
