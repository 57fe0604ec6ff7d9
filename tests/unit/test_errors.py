# SPDX-License-Identifier: Apache-2.0
"""Every error: its place in the hierarchy, its facts, its words."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import pytest

import fl_deepcabac as dc
from fl_deepcabac import entropy, errors

STATUS_HEADER = Path(__file__).resolve().parents[2] / "native/include/fl_deepcabac/status.hpp"
EXAMPLES = [
    (errors.ConfigError("step", expected="a number", found="x"), {"field": "step"}),
    (errors.NonFiniteError("w", (1, 2), float("inf")), {"tensor": "w", "index": (1, 2)}),
    (errors.LevelRangeError("w", 9.0, step=0.5, limit=4), {"tensor": "w", "value": 9.0}),
    (errors.TruncatedPacketError(needed=9, available=3), {"needed": 9, "available": 3}),
    (
        errors.CorruptPacketError("magic", 0, expected="a", found="b"),
        {"section": "magic", "offset": 0},
    ),
    (errors.UnsupportedVersionError(found=2, supported=1), {"found": 2, "supported": 1}),
    (errors.LimitExceededError("bytes", limit=3, requested=9), {"limit": 3, "requested": 9}),
    (
        errors.StateMismatchError(expected=b"12345678", found=b"abcdefgh"),
        {"expected": b"12345678", "found": b"abcdefgh"},
    ),
]


@pytest.mark.parametrize(("error", "facts"), EXAMPLES, ids=lambda e: type(e).__name__)
def test_error_carries_its_facts_and_says_them(
    error: dc.DeepCabacError, facts: dict[str, object]
) -> None:
    assert {name: getattr(error, name) for name in facts} == facts
    assert isinstance(error, dc.DeepCabacError)
    assert isinstance(error, ValueError)
    assert "expected" in str(error)
    assert "found" in str(error)


@pytest.mark.parametrize("name", errors.__all__)
def test_error_is_public_and_documented(name: str) -> None:
    cls = getattr(dc, name)
    assert cls is getattr(errors, name)
    assert issubclass(cls, dc.DeepCabacError)
    assert cls.__doc__


@pytest.mark.parametrize("name", ["Truncated", "Corrupt", "StateMismatch", "LimitExceeded"])
def test_faults_of_the_bytes_are_decode_errors(name: str) -> None:
    matches = [getattr(dc, n) for n in errors.__all__ if n.startswith(name)]
    assert len(matches) == 1
    assert issubclass(matches[0], dc.DecodeError)
    assert not issubclass(matches[0], dc.EncodeError)


def test_wrong_model_and_wrong_settings_are_no_decode_errors() -> None:
    assert not issubclass(dc.SchemaMismatchError, dc.DecodeError)
    assert not issubclass(dc.ConfigError, dc.DecodeError)


def test_every_status_of_the_core_has_a_translation() -> None:
    codes = {int(code) for code in re.findall(r"= (\d+),", STATUS_HEADER.read_text())} - {0}
    decoding = {code for code in codes if 20 <= code < 40}
    assert decoding == entropy.PAYLOAD_FAULTS.keys() | entropy.TRUNCATIONS.keys()
    # What is left is the caller's fault and reaches `codec` as `LevelCoderError`.
    described = set(map(int, re.findall(r"\b(\d\d)\b", errors.LevelCoderError.__doc__ or "")))
    assert codes - decoding == described


def test_errors_cross_process_boundaries() -> None:
    # Simulation engines carry exceptions between processes by pickling them.
    for error, facts in EXAMPLES:
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert {name: getattr(again, name) for name in facts} == facts
