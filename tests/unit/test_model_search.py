# SPDX-License-Identifier: Apache-2.0
"""The search for the smallest model that is as good, on models whose accuracy is a formula."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fl_deepcabac as dc
from fl_deepcabac.models import (
    SearchError,
    SearchPoint,
    compress_model,
    decompress_model,
    search,
)
from fl_deepcabac.models.search_result import pareto_front

Weights = dict[str, np.ndarray[Any, Any]]
RNG = np.random.default_rng(3)
WEIGHTS: Weights = {
    "a": RNG.normal(0, 0.1, (30, 40)).astype(np.float32),
    "b": RNG.laplace(0, 0.03, (60, 20)).astype(np.float32),
    "bias": RNG.normal(0, 0.1, 30).astype(np.float32),
}
IMPORTANCE = {"a": np.full((30, 40), 1e2, np.float32), "b": np.full((60, 20), 1e2, np.float32)}


class Judge:
    """An accuracy that falls with the squared error, and notes of what was asked."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.n_calls = 0
        self._fails_at = fails_at
        self._lock = threading.Lock()

    def __call__(self, weights: Weights) -> float:
        with self._lock:
            self.n_calls += 1
            if self.n_calls == self._fails_at:
                raise KeyboardInterrupt
        error = sum(float(np.sum((weights[name] - WEIGHTS[name]) ** 2)) for name in WEIGHTS)
        energy = sum(float(np.sum(array**2)) for array in WEIGHTS.values())
        return 90.0 - 10.0 * error / energy


def best_of_a_grid(tolerance: float) -> int:
    """Return the bytes of the best of many steps and prices."""
    sizes = []
    for price in (0.02, 0.06, 0.12, 0.24, 0.48, 0.96):
        for exponent in range(-16, 8):
            config = dc.CodecConfig(step=0.08 * 2 ** (exponent / 4), rd_lambda=price, profile="max")
            model = compress_model(WEIGHTS, config)
            if Judge()(decompress_model(model)) >= 90.0 - tolerance:
                sizes.append(model.n_bytes)
    return min(sizes)


@pytest.mark.parametrize("tolerance", [0.1, 1.0])
def test_search_does_as_well_as_a_blind_grid(tolerance: float) -> None:
    judge = Judge()
    result = search(WEIGHTS, judge, tolerance)
    assert result.accuracy_before == 90.0
    assert result.point.accuracy >= 90.0 - tolerance
    assert result.model.n_bytes == result.point.n_bytes <= 1.02 * best_of_a_grid(tolerance)
    assert judge(decompress_model(result.model)) == result.point.accuracy
    assert judge.n_calls < 65
    assert result.point in result.front
    assert result.front == pareto_front(result.points)


@pytest.mark.parametrize("method", ["dc-v1", "dc-v2"])
def test_nearest_levels_are_among_what_is_tried(method: Any) -> None:
    # Worth nothing but where a level is the nearest one.
    def accuracy(weights: Weights) -> float:
        steps = [np.unique(np.abs(own[own != 0])).min(initial=1.0) for own in weights.values()]
        is_near = all(
            np.abs(own - WEIGHTS[name]).max() <= 0.5001 * step
            for (name, own), step in zip(weights.items(), steps, strict=True)
        )
        return 90.0 if is_near else 10.0

    result = search(WEIGHTS, accuracy, 0.1, method, importance=IMPORTANCE)
    assert result.point.rd_lambda == 0
    assert result.model.config.quantizer == "uniform"
    restored = decompress_model(result.model)
    assert accuracy(restored) == 90.0


def test_dc_v1_weighs_errors_by_importance() -> None:
    result = search(WEIGHTS, Judge(), 0.5, "dc-v1", importance=IMPORTANCE)
    assert result.point.accuracy >= 89.5
    assert float(result.point.coarseness).is_integer()
    plain = search(WEIGHTS, Judge(), 0.5)
    assert result.model.n_bytes < 1.5 * plain.model.n_bytes


def test_jobs_change_nothing() -> None:
    one, three = (search(WEIGHTS, Judge(), 0.3, jobs=jobs) for jobs in (1, 3))
    described = [
        [(p.coarseness, p.rd_lambda, p.n_bytes, p.accuracy) for p in result.points]
        for result in (one, three)
    ]
    assert described[0] == described[1]
    assert one.model.packet == three.model.packet


def test_interrupted_search_goes_on(tmp_path: Path) -> None:
    log, whole = tmp_path / "log.jsonl", Judge()
    expected = search(WEIGHTS, whole, 0.3)
    with pytest.raises(KeyboardInterrupt):
        search(WEIGHTS, Judge(fails_at=9), 0.3, log=log)
    # A kill in the middle of a line leaves a part of it.
    log.write_text(log.read_text() + '{"coarseness": 0.0')
    rest, points = Judge(), list[SearchPoint]()
    result = search(WEIGHTS, rest, 0.3, log=log, on_point=points.append)
    assert result.model.packet == expected.model.packet
    assert [p.n_bytes for p in result.points] == [p.n_bytes for p in expected.points]
    # What was chosen is judged once more.
    assert rest.n_calls - 1 <= len(points) == len(result.points) - 7
    again = Judge()
    assert search(WEIGHTS, again, 0.3, log=log).point == result.point
    assert again.n_calls == 1


def test_log_of_another_search_is_refused_and_kept(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    search(WEIGHTS, Judge(), 0.3, log=log)
    before = log.read_text()
    other = WEIGHTS | {"a": WEIGHTS["a"] + 1}
    for weights, settings in (
        (other, {}),
        (WEIGHTS, {"vector_step": 0.01}),
        (WEIGHTS, {"config": dc.CodecConfig(profile="fast")}),
        (WEIGHTS, {"method": "dc-v1", "importance": IMPORTANCE}),
    ):
        with pytest.raises(SearchError, match="same weights with the same settings"):
            search(weights, Judge(), 0.3, log=log, **settings)  # type: ignore[arg-type]
    assert log.read_text() == before


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no json\n",
        "[]\n",
        '{"search": 2}\n',
        '{"search": 1, "subject": "x", "accuracy": null}\n',
    ],
)
def test_other_files_are_no_logs(tmp_path: Path, text: str) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text(text)
    with pytest.raises(SearchError, match="expected the log of a search"):
        search(WEIGHTS, Judge(), 0.3, log=log)
    assert log.read_text() == text


@pytest.mark.parametrize("line", ["{}", "x", '{"coarseness": 1, "rd_lambda": true}'])
def test_damaged_lines_are_named(tmp_path: Path, line: str) -> None:
    log = tmp_path / "log.jsonl"
    search(WEIGHTS, Judge(), 0.3, log=log)
    head, first, *rest = log.read_text().splitlines()
    assert json.loads(first).keys() == {
        "coarseness", "rd_lambda", "n_bytes", "accuracy", "seconds",
    }  # fmt: skip
    log.write_text("\n".join([head, line, *rest, ""]))
    with pytest.raises(SearchError, match="a point in line 2"):
        search(WEIGHTS, Judge(), 0.3, log=log)


def test_search_that_finds_nothing_says_how_close_it_came() -> None:
    def needs_all(weights: Weights) -> float:
        return 90.0 if all((weights[n] == WEIGHTS[n]).all() for n in WEIGHTS) else 60.0

    with pytest.raises(SearchError, match=r"90.00 - 0.1 per cent, found 60.00 at most"):
        search(WEIGHTS, needs_all)


def test_function_may_change_what_it_is_given() -> None:
    def spoils(weights: Weights) -> float:
        accuracy = Judge()(weights)
        for array in weights.values():
            array[...] = 9
        return accuracy

    before = {name: array.copy() for name, array in WEIGHTS.items()}
    assert search(WEIGHTS, spoils, 0.3).model.packet == search(WEIGHTS, Judge(), 0.3).model.packet
    for name, array in before.items():
        np.testing.assert_array_equal(WEIGHTS[name], array)


def test_function_that_shares_a_model_between_threads_is_found_out() -> None:
    shared: Weights = {}

    def shares(weights: Weights) -> float:
        shared.update(weights)
        time.sleep(0.002)
        return Judge()(dict(shared))

    def search_often() -> None:
        for _ in range(5):
            search(WEIGHTS, shares, 1.0, jobs=3)

    with pytest.raises(SearchError, match="several threads can call at once"):
        search_often()


def test_log_of_another_encoder_is_refused(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    search(WEIGHTS, Judge(), 0.3, log=log)
    head, *lines = log.read_text().splitlines()
    larger = [json.loads(line) for line in lines]
    for line in larger:
        line["n_bytes"] += 100
    log.write_text("\n".join([head, *map(json.dumps, larger), ""]))
    with pytest.raises(SearchError, match="name another file"):
        search(WEIGHTS, Judge(), 0.3, log=log)


def test_first_failure_is_what_is_raised_whatever_the_jobs() -> None:
    calls = iter(range(99))

    def fails(weights: Weights) -> float:
        if next(calls) == 2:
            raise ValueError("the data set is damaged")
        time.sleep(0.01)
        return Judge()(weights)

    with pytest.raises(ValueError, match="the data set is damaged"):
        search(WEIGHTS, fails, 0.3, jobs=3)


@pytest.mark.parametrize("scale", [1e-27, 1e28])
def test_weights_of_any_size_are_searched(scale: float) -> None:
    weights = {name: (array * np.float32(scale)) for name, array in WEIGHTS.items()}

    def accuracy(found: Weights) -> float:
        return Judge()({name: array / np.float32(scale) for name, array in found.items()})

    assert search(weights, accuracy, 1.0).point.accuracy >= 89.0


def test_step_overrides_reach_both_methods() -> None:
    config = dc.CodecConfig(profile="max", step_overrides={"a": 0.25})
    for method in ("dc-v1", "dc-v2"):
        plain, finer = (
            search(WEIGHTS, Judge(), 0.3, method, importance=IMPORTANCE, config=given)  # type: ignore[arg-type]
            for given in (dc.CodecConfig(profile="max"), config)
        )
        assert plain.model.packet != finer.model.packet
        unmatched = dc.CodecConfig(step_overrides={"nothing": 0.5})
        with pytest.raises(dc.ConfigError, match="step_overrides"):
            search(WEIGHTS, Judge(), method=method, importance=IMPORTANCE, config=unmatched)  # type: ignore[arg-type]


def test_what_cannot_be_searched_is_refused() -> None:
    for found in (float("nan"), -1.0, 100.5, None, "95 %"):
        with pytest.raises(SearchError, match=f"a number in per cent, found {found!r}"):
            search(WEIGHTS, lambda _, found=found: found)
    with pytest.raises(SearchError, match=r"found 0\.95"):
        search(WEIGHTS, lambda _: 0.95)
    with pytest.raises(dc.NonFiniteError):
        search(WEIGHTS | {"a": np.full((3, 3), np.nan, np.float32)}, Judge())
    for settings in (
        {"method": "dc-v3"},
        {"tolerance": -1.0},
        {"config": dc.CodecConfig(quantizer="uniform")},
        {"method": "dc-v1"},
        {"jobs": 0},
    ):
        with pytest.raises(dc.ConfigError):
            search(WEIGHTS, Judge(), **settings)  # type: ignore[arg-type]


def test_front_is_what_nothing_beats() -> None:
    points = [
        SearchPoint(1.0, 0.1, size, accuracy, 0.0)
        for size, accuracy in ((9, 90.0), (5, 80.0), (7, 80.0), (5, 70.0), (8, 91.0))
    ]
    assert [(p.n_bytes, p.accuracy) for p in pareto_front(points)] == [(5, 80.0), (8, 91.0)]
