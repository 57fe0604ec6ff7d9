# SPDX-License-Identifier: Apache-2.0
"""The smallest model that is as good: the paper's grid over steps and prices, gone through wisely.

For each price of a bit there is a boundary: the coarsest step within the tolerance. It is found by
strides that are halved, first for prices far apart, then for those round the best. Accuracy does
not fall evenly with the step, so the end of the search looks beyond the boundary. Invariant: what
is tried depends on the accuracies alone, not on the number of jobs nor on where a search was cut.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

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
# Rungs beyond the last boundary that are tried in the end.
BEYOND: Final = 3


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
        From weights, which it may keep or change, to accuracy in per cent. Called from several
        threads at once where there are several jobs. Equal weights must have equal accuracies.
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
        How many prices are followed at a time.
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
        If nothing is within the tolerance, an accuracy is no number, or the log is another's.
    ConfigError, SchemaMismatchError, NonFiniteError, ImportanceError
        If the arguments cannot be used.

    Notes
    -----
    Some forty evaluations. Memory: a few models for each job.

    References
    ----------
    .. [1] S. Wiedemann et al., "DeepCABAC", IEEE J. Sel. Topics Signal Process. 14(4), 2020.
    """
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

    def judge(arrays: Arrays) -> float:
        accuracy = float(evaluate(arrays))
        if not math.isfinite(accuracy):
            raise SearchError(f"accuracy: expected a number in per cent, found {accuracy}")
        return accuracy

    kept = SearchLog(log, coder.name(), lambda: judge(dict(weights)))
    trials = Trials(coder, judge, kept, on_point or (lambda _: None), tolerance)
    with ThreadPoolExecutor(max_workers=max(1, jobs)) as pool:
        try:
            _follow(trials, prices, pool)
        except BaseException:
            # After Ctrl-C or a failure, only evaluations at hand are waited for.
            trials.stop()
            raise
    best = trials.best()
    if best is None:
        closest = max(kept.points, key=lambda point: point.accuracy)
        raise SearchError(
            f"expected an accuracy of {kept.accuracy_before:.2f} - {tolerance:g} per cent, found "
            f"{closest.accuracy:.2f} at most"
        )
    return best, trials.tried(), kept.accuracy_before


def _follow(trials: Trials, first: Sequence[float], pool: ThreadPoolExecutor) -> None:
    """Find the boundaries of the first prices, then of prices round the best."""
    middle = trials.n_rungs // 2
    list(pool.map(lambda price: trials.boundary(price, middle), first))
    for factor in REFINEMENTS if len(first) > 1 else ():
        best = trials.best()
        if best is None:
            return
        rung = trials.rung_of(best)
        near = (best.rd_lambda / factor, best.rd_lambda * factor)
        list(pool.map(lambda price, rung=rung: trials.boundary(price, rung), near))
    best = trials.best()
    if best is not None:
        rung = trials.rung_of(best)
        beyond = range(rung + 1, min(rung + 1 + BEYOND, trials.n_rungs))
        list(pool.map(lambda other: trials.at(other, best.rd_lambda), beyond))
