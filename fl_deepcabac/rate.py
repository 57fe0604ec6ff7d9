# SPDX-License-Identifier: Apache-2.0
"""Rate control: the finest steps whose packet stays within a budget.

Coding is a function of an immutable state, so an update can be coded several times and all but one
result dropped. One number is searched, the relative step before it is shared out, from the steps
that the stream used last. Where bytes jump with the step, as they do at very low rates, the
smallest levels of a packet that is a little too large are dropped instead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fl_deepcabac.allocation import MAX_STEP, MIN_STEP, round_mantissa
from fl_deepcabac.arrays import level_slices
from fl_deepcabac.config import CodecConfig
from fl_deepcabac.entropy import CodedLevels, LevelState, encode_levels
from fl_deepcabac.errors import BudgetError, ConfigError
from fl_deepcabac.rate_search import RateSearch
from fl_deepcabac.schema import Schema

__all__ = ["budget_of", "code_within"]

# Trials for the step once a packet was too large, and before any was.
STEP_TRIALS, STEP_TRIALS_BELOW = 5, 10
# Trials with the smallest levels dropped or with other prices, from each packet to start from.
MORE_TRIALS = 7
# No step is finer than this part of the largest value: float32 has no more to tell.
FINEST_PART = 2.0**-22
# Above this many times the largest value a step leaves no level, rounded or not.
COARSEST_PART = 2.3
# A step with a full mantissa costs 20 bits and more: for tensors that have so many bits to spend.
FINE_STEP_BITS = 1024
# Bytes fall a little more slowly than the number of levels does.
TRIM_SLOPE = 0.9
# Where the smallest levels cannot be dropped, bits are made dearer or cheaper, up to 2^3
# times; bytes halve more slowly than prices double.
MAX_DEARER, DEARER_SLOPE, LEAST_DEARER = 3.0, 0.3, 2.0**-7
# In log2, so far that most steps of three bits of mantissa are others.
OTHER_STEPS = 1 / 8


class Code(Protocol):
    """Codes an update with steps, float32, one a level-coded tensor, at a multiple of the price."""

    def __call__(
        self, steps: NDArray[np.float32], /, *, price_factor: float = 1.0
    ) -> CodedLevels: ...


def budget_of(config: CodecConfig, schema: Schema) -> int | None:
    """Return the most bytes that a packet may have; None where steps are given instead.

    Raises
    ------
    ConfigError
        If the step depends on a number of clients that is not known here.
    """
    if config.relative_step_per_client is not None:
        raise ConfigError(
            "relative_step_per_client",
            expected="settings for a number of clients, from for_clients(n)",
            found=config.relative_step_per_client,
        )
    if config.target_bits_per_weight is not None:
        return int(config.target_bits_per_weight * schema.n_elements / 8)
    return config.target_bytes


def code_within(
    budget: int,
    code: Code,
    *,
    values: NDArray[np.float32],
    units: NDArray[np.float64],
    schema: Schema,
    config: CodecConfig,
    state: LevelState,
    other_bytes: int,
) -> CodedLevels:
    """Code an update with the finest steps that keep its packet within a budget.

    Parameters
    ----------
    budget : int
        Bytes of the whole packet.
    code : callable
        From steps, float32, one a level-coded tensor, to coded levels.
    values : ndarray, float32, shape (n,)
        All level-coded tensors of the update end to end.
    units : ndarray, float64, shape (n_level_tensors,)
        Steps at a relative step of 1, from `allocation.unit_steps`.
    schema : Schema
    config : CodecConfig
    state : LevelState
        What `code` codes against; its last steps are where the search starts.
    other_bytes : int
        Bytes of the packet besides the payload.

    Returns
    -------
    CodedLevels
        Of a packet with at least 97 % of the budget, where the update has that much to tell at the
        finest steps (one of zeros has not), and where one level more or less, or offsets for one
        tensor, are not already worth the other 3 %, as in packets of less than two hundred bytes.
        A stream's first packets may use a little less, and so may any that ran out of trials.

    Raises
    ------
    BudgetError
        If the packet is too large even with all levels zero.

    Notes
    -----
    Three or four trials are typical; packets of a few hundred bytes that follow the trellis may
    take twenty. The largest packet within the budget wins.
    """
    payload_bits = 8 * (budget - other_bytes)
    ladder = _Ladder.of(values, units, schema=schema, payload_bits=payload_bits)
    bits_per_level = payload_bits / max(1, values.size)
    search = RateSearch(
        budget, other_bytes, ladder.finest, ladder.coarsest, slope=_usual_slope(bits_per_level)
    )
    position = ladder.start(state.steps, bits_per_level)
    while not search.is_over and search.n_trials < (
        STEP_TRIALS if search.too_large else STEP_TRIALS_BELOW
    ):
        search.note(position, code(ladder.steps_at(position)))
        position = search.next_position()
    found = [search.best]
    if not search.is_enough and search.too_large is not None:
        if config.uses_trellis:
            found += _found_by_price(search, code, ladder)
        else:
            steps = ladder.steps_at(search.too_large_at)
            trimmer = _Trimmer(values, search.too_large.levels, steps, schema)
            trim = search.anew(trimmer.nothing, trimmer.most, slope=TRIM_SLOPE)
            trim.note(trim.finest, search.too_large)
            trim.run(partial(_code_trimmed, trimmer, steps, state, values, config), MORE_TRIALS)
            found.append(trim.best)
    best = max(
        (coded for coded in found if coded), key=lambda coded: len(coded.payload), default=None
    )
    if best is None:
        best = code(ladder.steps_at(ladder.coarsest))
        if (needed := other_bytes + len(best.payload)) > budget:
            raise BudgetError(budget=budget, needed=needed)
    return best


def _usual_slope(bits_per_level: float) -> float:
    """Return how many times bytes usually halve per doubling of the step; measured, roughly."""
    bits = max(bits_per_level, 1e-3)
    return 0.8 * min(1.0, 1.5 / bits) + 0.5 * math.pow(bits, -0.6)


def _found_by_price(search: RateSearch, code: Code, ladder: _Ladder) -> list[CodedLevels | None]:
    """Search the price of bits where steps alone do not find enough, and levels cannot be dropped.

    They depend on each other in a trellis. Dearer bits leave fewer levels than a packet has that is
    too large, cheaper ones more than one that fits. Levels and offsets of small packets come and go
    in avalanches: between the bytes of two prices there may be none, but at other steps there are.
    """
    starts = [
        (search.too_large_at, search.too_large),
        (search.best_at, search.best),
        (search.too_large_at - OTHER_STEPS, None),
    ]
    found = []
    for position, coded in starts:
        code_at_price = partial(_code_at_price, code, ladder.steps_at(position))
        prices = search.anew(-MAX_DEARER, MAX_DEARER, slope=DEARER_SLOPE, resolution=LEAST_DEARER)
        prices.note(0.0, coded or code_at_price(0.0))
        prices.run(code_at_price, MORE_TRIALS)
        found.append(prices.best)
        if prices.is_enough:
            break
    return found


def _code_at_price(code: Code, steps: NDArray[np.float32], position: float) -> CodedLevels:
    """Code at a price of bits that is 2^position times the usual one."""
    return code(steps, price_factor=2.0**position)


def _code_trimmed(
    trimmer: _Trimmer,
    steps: NDArray[np.float32],
    state: LevelState,
    values: NDArray[np.float32],
    config: CodecConfig,
    position: float,
) -> CodedLevels:
    """Code the levels that stay at a position of the trimmer."""
    return encode_levels(
        state,
        trimmer.levels_at(position),
        steps,
        values=values,
        rd_lambda=config.rd_lambda,
        threads=config.threads,
    )


@dataclass(frozen=True, slots=True)
class _Ladder:
    """The steps of all tensors as a function of one position: log2 of the relative step.

    Parameters
    ----------
    units : ndarray, float64
        Step of each tensor at position 0.
    floors : ndarray, float32
        Finest step of each tensor.
    weights : ndarray, float64
        Elements of each tensor; 0 where it is all zeros, whose step is never coded.
    is_fine : ndarray, bool
        Whose steps keep all their bits.
    finest, coarsest : float
        Positions at and beyond which nothing changes any more: the finest steps, and no levels.
    """

    units: NDArray[np.float64]
    floors: NDArray[np.float32]
    weights: NDArray[np.float64]
    is_fine: NDArray[np.bool_]
    finest: float
    coarsest: float

    @classmethod
    def of(
        cls,
        values: NDArray[np.float32],
        units: NDArray[np.float64],
        *,
        schema: Schema,
        payload_bits: int,
    ) -> _Ladder:
        """Measure an update."""
        places = [place for _, place in level_slices(schema)]
        largest = np.array([np.abs(values[place]).max(initial=0) for place in places], np.float64)
        largest = np.minimum(largest, np.finfo(np.float32).max)
        sizes = np.array([place.stop - place.start for place in places], np.float64)
        weights = np.where(largest > 0, sizes, 0.0)
        units = np.minimum(units, MAX_STEP)  # not infinite; coding names the value at fault
        floors = np.clip(FINEST_PART * largest, MIN_STEP, MAX_STEP)
        is_used = weights > 0
        coarsest = float(
            np.log2(COARSEST_PART * largest[is_used] / units[is_used]).max(initial=-np.inf)
        )
        finest = float(np.log2(floors[is_used] / units[is_used]).min(initial=np.inf))
        parts = weights / max(1.0, weights.sum())
        is_fine = parts * payload_bits >= FINE_STEP_BITS
        return cls(
            units, floors.astype(np.float32), weights, is_fine, min(finest, coarsest), coarsest
        )

    def steps_at(self, position: float) -> NDArray[np.float32]:
        """Return the step of every tensor."""
        if not math.isfinite(position):  # no tensor has a value other than zero
            return np.ones(len(self.units), np.float32)
        wanted = np.clip(np.exp2(position) * self.units, MIN_STEP, MAX_STEP).astype(np.float32)
        steps = np.where(self.is_fine, wanted, round_mantissa(wanted))
        return np.maximum(steps, self.floors)

    def start(self, last_steps: NDArray[np.float32], bits_per_level: float) -> float:
        """Return where to look first: the last steps' position, or what is usual at this rate."""
        weights = np.where(last_steps > 0, self.weights, 0.0)
        if bits_per_level <= 0.0:
            return self.coarsest
        if weights.sum() > 0:
            ratios = np.log2(np.where(last_steps > 0, last_steps, 1.0) / self.units)
            position = float(np.average(ratios, weights=weights))
        else:
            position = 1.0 - 0.7 * math.log2(bits_per_level)
        return min(max(position, self.finest), self.coarsest)


class _Trimmer:
    """Levels with the smallest dropped, as a function of one position: -log2 of how many stay.

    Parameters
    ----------
    values : ndarray, float32, shape (n,)
    levels : ndarray, int32, shape (n,)
    steps : ndarray, float32, shape (n_tensors,)
    schema : Schema
    """

    def __init__(
        self,
        values: NDArray[np.float32],
        levels: NDArray[np.int32],
        steps: NDArray[np.float32],
        schema: Schema,
    ) -> None:
        self._levels = levels
        places = np.flatnonzero(levels)
        step_of = np.repeat(steps, [spec.n_elements for spec in schema.level_tensors])
        distances = np.abs(values[places]) / step_of[places]
        self._places = places[np.argsort(distances, kind="stable")]
        self.nothing = -math.log2(max(1, places.size))
        self.most = 0.0

    def levels_at(self, position: float) -> NDArray[np.int32]:
        """Return the levels that stay; the others are 0."""
        n_kept = round(2.0**-position)
        levels = self._levels.copy()
        levels[self._places[: self._places.size - n_kept]] = 0
        return levels
