# SPDX-License-Identifier: Apache-2.0
"""The smallest model that is as good: the paper's grid over steps and prices, gone through wisely.

For each price of a bit there is a boundary: the coarsest step within the tolerance. It is found by
strides that are halved, first for prices far apart, then for those round the best. Accuracy does
not fall evenly with the step, so the end of the search looks beyond the boundary. Invariant: what
is tried depends on the accuracies alone, not on the number of jobs nor on where a search was cut.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from fl_deepcabac import __version__
from fl_deepcabac.config import CodecConfig
from fl_deepcabac.errors import ConfigError
from fl_deepcabac.models.compressed import DEFAULT_CONFIG
from fl_deepcabac.models.search_coder import (
    FIRST_PRICES,
    Method,
    SearchCoder,
    Weights,
)
from fl_deepcabac.models.search_log import SearchLog
from fl_deepcabac.models.search_result import SearchError, SearchPoint, SearchResult
from fl_deepcabac.models.search_trials import Arrays, PointCoder, Trials
from fl_deepcabac.models.steps import VECTOR_STEP
from fl_deepcabac.schema import Schema

__all__ = ["search", "search_points"]

Evaluate = Callable[[Arrays], float]

# Factors by which the best price is refined, one after the other.
REFINEMENTS: Final = (2.0, 2.0, 2**0.5)
# Rungs beyond the last boundary that are tried in the end; many where there is one price, so that
# one method has about as many chances to be lucky as another.
BEYOND, FAR_BEYOND = 16, 32
PER_CENT: Final = 100


def search(  # noqa: PLR0913 (settings of one search, given by name)
    weights: Weights,
    evaluate: Evaluate,
    tolerance: float = 0.1,
    method: Method = "dc-v2",
    *,
    importance: Weights | None = None,
    config: CodecConfig = DEFAULT_CONFIG,
    vector_step: float = VECTOR_STEP,
    jobs: int = 1,
    log: Path | str | None = None,
    on_point: Callable[[SearchPoint], None] | None = None,
) -> SearchResult:
    """Find the smallest compressed model within a tolerance of accuracy.

    Parameters
    ----------
    weights : mapping of str to ndarray
        Of the trained model.
    evaluate : callable
        From weights, which it may keep or change, to accuracy in per cent. Equal weights must have
        equal accuracies.
    tolerance : float
        How much accuracy may be lost. Unit: points of a per cent.
    method : {"dc-v1", "dc-v2"}
        ``"dc-v2"``: one step for all matrices. ``"dc-v1"``: steps from `importance` and one
        coarseness S, errors weighed by it.
    importance : mapping of str to ndarray, optional
        For DC-v1, of every matrix: 1 / variance of each weight, from variational training or an
        estimate of the diagonal of the Fisher information. For DC-v2, if given, it weighs errors
        within each tensor.
    config : CodecConfig
        Profile, trellis, threads and step overrides; its steps and price are those searched.
    vector_step : float
        As for `compress_model`.
    jobs : int
        How many prices are followed at a time. From 2 on, several threads call `evaluate` at once:
        it must not share one model between calls. What was chosen is judged again, alone.
    log : Path or str, optional
        A file that keeps every evaluation; a search that finds it goes on from it.
    on_point : callable, optional
        Called after each evaluation, from any thread.

    Returns
    -------
    SearchResult

    Raises
    ------
    SearchError
        If nothing is within the tolerance, an accuracy is no number in per cent, the log is of
        another search, or what was chosen is judged otherwise the second time.
    ConfigError, SchemaMismatchError, NonFiniteError, ImportanceError
        If the arguments cannot be used.

    Notes
    -----
    Some 30 to 65 evaluations. Memory: a few models for each job.

    References
    ----------
    .. [1] S. Wiedemann et al., "DeepCABAC", IEEE J. Sel. Topics Signal Process. 14(4), 2020.
    """
    if type(jobs) is not int or jobs < 1:
        raise ConfigError("jobs", expected="a whole number of at least 1", found=jobs)
    schema = Schema.from_arrays(weights)
    coder = SearchCoder.of(weights, schema, config, method, importance or {}, vector_step)
    point, points, before = search_points(
        coder,
        weights,
        evaluate,
        tolerance,
        prices=FIRST_PRICES[method],
        jobs=jobs,
        log=None if log is None else Path(log),
        on_point=on_point,
    )
    model, _ = coder.code(point.coarseness, point.rd_lambda)
    return SearchResult(model, point, before, tolerance, points)


def search_points(
    coder: PointCoder,
    weights: Weights,
    evaluate: Evaluate,
    tolerance: float,
    *,
    prices: Sequence[float],
    jobs: int = 1,
    log: Path | None = None,
    on_point: Callable[[SearchPoint], None] | None = None,
) -> tuple[SearchPoint, tuple[SearchPoint, ...], float]:
    """Search with any coder; arguments and errors as for `search`.

    Parameters
    ----------
    coder : PointCoder
    weights, evaluate, tolerance, jobs, log, on_point
        As for `search`.
    prices : sequence of float
        To begin with. A single one, of a coder without prices, is not refined.

    Returns
    -------
    tuple of (SearchPoint, tuple of SearchPoint, float)
        The smallest within the tolerance, all that were tried, and the accuracy before.
    """
    if not math.isfinite(tolerance) or tolerance < 0:
        raise ConfigError("tolerance", expected="a number of at least 0", found=tolerance)
    judge = _Judge(evaluate)
    subject = json.dumps([coder.name(), __version__, judge.name])
    kept = SearchLog(log, subject, lambda: judge(dict(weights)))
    trials = Trials(coder, judge, kept, on_point or (lambda _: None), tolerance)
    try:
        _follow(trials, prices, jobs)
    except CancelledError:
        raise trials.failure or SearchError("search: expected an end, found none") from None
    best = trials.best()
    if best is None:
        closest = max(kept.points, key=lambda point: point.accuracy)
        raise SearchError(
            f"expected an accuracy of {kept.accuracy_before:.2f} - {tolerance:g} per cent, found "
            f"{closest.accuracy:.2f} at most"
        )
    _check(coder, best, judge)
    return best, trials.tried(), kept.accuracy_before


class _Judge:
    """The user's function, given arrays of its own, and believed only where it says per cents."""

    def __init__(self, evaluate: Evaluate) -> None:
        self._evaluate = evaluate
        kind = evaluate if hasattr(evaluate, "__qualname__") else type(evaluate)
        self.name = f"{kind.__module__}:{kind.__qualname__}"

    def __call__(self, arrays: Arrays) -> float:
        found = self._evaluate({name: np.array(own) for name, own in arrays.items()})
        try:
            accuracy = float(found)
        except (TypeError, ValueError):
            accuracy = math.nan
        # With parts of one, as other libraries have them, the tolerance would be a hundred times as
        # wide.
        if not 0 <= accuracy <= PER_CENT or 0 < accuracy <= 1:
            raise SearchError(f"accuracy: expected a number in per cent, found {found!r}")
        return accuracy


def _check(coder: PointCoder, best: SearchPoint, judge: _Judge) -> None:
    """Code and evaluate what was chosen once more, alone.

    Raises
    ------
    SearchError
        If it is another model than was logged, or is judged otherwise now.
    """
    model, decoded = coder.code(best.coarseness, best.rd_lambda)
    if model.n_bytes != best.n_bytes:
        raise SearchError(
            f"log: expected {best.n_bytes} bytes for the model that was chosen, found "
            f"{model.n_bytes}: name another file"
        )
    if (accuracy := judge(decoded)) != best.accuracy:
        raise SearchError(
            f"accuracy: expected {best.accuracy} for the model that was chosen, as before, found "
            f"{accuracy}: equal weights must have equal accuracies, and several jobs need a "
            "function that several threads can call at once"
        )


def _follow(trials: Trials, first: Sequence[float], jobs: int) -> None:
    """Find the boundaries of the first prices, then of prices round the best."""
    if jobs == 1:
        # In the caller's own thread.
        _walk(trials, first, _do_all)
        return
    with ThreadPoolExecutor(max_workers=jobs) as pool:
        _walk(trials, first, lambda do, items: list(pool.map(do, items)))


def _do_all(do: Callable[[Any], object], items: Iterable[Any]) -> None:
    for item in items:
        do(item)


def _walk(
    trials: Trials,
    first: Sequence[float],
    do_all: Callable[[Callable[[Any], object], Iterable[Any]], object],
) -> None:
    middle = trials.n_rungs // 2
    has_prices = len(first) > 1
    do_all(partial(trials.boundary, start=middle), [p for p in first if p > 0 or not has_prices])
    if has_prices and 0 in first:
        # Levels that cost nothing: their boundary is not far from those of small prices.
        priced = trials.best()
        trials.boundary(0.0, start=middle if priced is None else trials.rung_of(priced))
    for factor in REFINEMENTS if has_prices else ():
        # Zero has no neighbours.
        best = trials.best(is_priced=True)
        if best is None:
            break
        rung = trials.rung_of(best)
        near = (best.rd_lambda / factor, best.rd_lambda * factor)
        do_all(partial(trials.boundary, start=rung), near)
    best = trials.best()
    if best is not None:
        rung, reach = trials.rung_of(best), BEYOND if has_prices else FAR_BEYOND
        beyond = range(rung + 1, min(rung + 1 + reach, trials.n_rungs))
        do_all(partial(trials.at, price=best.rd_lambda), beyond)
