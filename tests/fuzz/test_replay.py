# SPDX-License-Identifier: Apache-2.0
"""All inputs of the corpora, and a few mutations of them, the same every time; engines do more."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Iterator

import pytest
from flower.toy import record_of

from fl_deepcabac.flower.broadcast_records import FileAndChain, Keyframe, parse_envelope
from fuzz import TARGETS, downlink_cases
from fuzz.corpus import CORPUS, read_corpus, read_dictionary
from fuzz.mutations import mutations
from fuzz.surroundings import settled

# By what one of them takes, so that each target has about as long.
N_MUTATIONS = {
    "packet": 400,
    "saved_state": 200,
    "container": 1000,
    "checkpoint": 60,
    "replies": 30,
    "downlink": 40,
}


@pytest.fixture(autouse=True)
def _surroundings() -> Iterator[None]:
    with settled():
        yield


def run(target: str, name: str, data: bytes) -> None:
    try:
        importlib.import_module(f"fuzz.{target}").run(data)
    except Exception as error:
        error.add_note(f"input {name} of {target}: {data.hex()}")
        raise


def run_corpus(target: str) -> None:
    for name, data in read_corpus(target).items():
        run(target, name, data)


@pytest.mark.parametrize("target", TARGETS)
def test_corpus_finds_nothing(target: str) -> None:
    assert read_corpus(target)
    run_corpus(target)


@pytest.mark.parametrize("target", TARGETS)
def test_mutations_find_nothing(target: str) -> None:
    corpus = list(read_corpus(target).values())
    mutated = itertools.islice(mutations(corpus, seed=1), N_MUTATIONS[target])
    for number, data in enumerate(mutated):
        run(target, f"mutation {number}", data)


# A check of the package for each target, and what leaves it out.
FORGERIES = {
    "packet": ("codec.check_content", lambda *_: None),
    "saved_state": ("stream._check_envelope", lambda _: None),
    "container": ("schema._shape", tuple),
    "checkpoint": ("flower.saved_ledger._finite", float),
    "replies": ("flower.replies.check_binding", lambda *_: None),
    "downlink": ("flower.model_copy._checked", lambda arrays, *_: record_of(arrays)),
}


@pytest.mark.parametrize("target", TARGETS)
def test_target_finds_out_a_package_that_leaves_out_a_check(
    target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, forgery = FORGERIES[target]
    monkeypatch.setattr(f"fl_deepcabac.{name}", forgery)
    with pytest.raises((AssertionError, ValueError)):
        run_corpus(target)


def test_every_target_has_a_corpus_and_every_corpus_a_target() -> None:
    assert sorted(path.name for path in CORPUS.iterdir()) == sorted(TARGETS)
    assert set(N_MUTATIONS) == set(TARGETS)


def test_dictionary_can_be_read() -> None:
    assert b"FDC\x01" in read_dictionary()
    assert b'"config"' in read_dictionary()


def test_messages_down_are_of_every_kind() -> None:
    kinds = set()
    for case in downlink_cases.cases():
        [record] = case.content.array_records.values()
        envelope = parse_envelope(record)
        if isinstance(envelope, Keyframe):
            kinds.add(envelope.coding)
        elif isinstance(envelope, FileAndChain):
            kinds.add(f"file and {len(envelope.chain)}")
        else:
            kinds.add(f"chain of {len(envelope)}")
    assert {"on grid", "exact", "file and 0", "file and 2", "chain of 1", "chain of 2"} <= kinds
