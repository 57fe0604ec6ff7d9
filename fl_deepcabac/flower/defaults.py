# SPDX-License-Identifier: Apache-2.0
"""The settings for a strategy by quality, and those it gets when the user gives none.

Strategies that average forgive coarse steps: what one client's zeros leave out, another's levels
and the next round's error feedback bring back. Strategies that take a median or pick some clients
do not, because a median of mostly zeros is zero (docs/decisions/0006, 0014). Nor do those in which
few nodes take part at a time: what is left out waits for many rounds (docs/decisions/0013).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from flwr.serverapp.strategy import (
    Bulyan,
    FedMedian,
    FedTrimmedAvg,
    Krum,
    MultiKrum,
    Strategy,
)

from fl_deepcabac.config import CodecConfig, Quality

__all__ = ["FINER_RELATIVE_STEPS", "WRAPPED_NAMES", "default_config", "objection", "weight_key_of"]

# Those of `CodecConfig.auto` are coarser: nearly all levels are zero, and error feedback sends what
# they leave out later.
FINER_RELATIVE_STEPS: Final[Mapping[Quality, float]] = {
    "near-lossless": 0.5,
    "balanced": 2.0,
    "smallest": 4.0,
}
# Where a smaller part of the nodes trains in a round, steps are finer.
LOW_PARTICIPATION: Final = 0.5
_SELECTIVE = (Bulyan, FedMedian, FedTrimmedAvg, Krum, MultiKrum)
# Where strategies that wrap another one keep it: ours, and Flower's for differential privacy.
WRAPPED_NAMES: Final = ("inner", "strategy")


def default_config(
    strategy: Strategy, quality: Quality = "balanced", *, fraction: float | None = None
) -> CodecConfig:
    """Return the settings for a strategy: finer steps where it does not average all updates.

    Finer, too, where less than half of the nodes train in a round.

    Parameters
    ----------
    strategy : Strategy
        Or a wrapper round one.
    quality : {"near-lossless", "balanced", "smallest"}
        As for `CodecConfig.auto`.
    fraction : float, optional
        Part of the nodes that trains in a round; the strategy's own ``fraction_train`` if not
        given.

    Returns
    -------
    CodecConfig

    Raises
    ------
    ConfigError
        If there is no such quality.

    Examples
    --------
    >>> from flwr.serverapp.strategy import FedAvg
    >>> default_config(Krum()).relative_step
    2.0
    >>> default_config(FedAvg(fraction_train=0.1)).relative_step
    2.0
    """
    config = CodecConfig.auto(quality)
    innermost = _innermost(strategy)
    if fraction is None:
        fraction = getattr(innermost, "fraction_train", 1.0)
    if isinstance(innermost, _SELECTIVE) or fraction < LOW_PARTICIPATION:
        return replace(config, relative_step=FINER_RELATIVE_STEPS[quality])
    return config


def objection(config: CodecConfig, strategy: object) -> str | None:
    """Say what speaks against settings under a strategy.

    Parameters
    ----------
    config : CodecConfig
    strategy : Strategy
        Or a wrapper round one.

    Returns
    -------
    str or None
        For people; None where nothing is known to.
    """
    innermost = _innermost(strategy)
    if config.quantizer == "stochastic" and isinstance(innermost, _SELECTIVE):
        return (
            "expected a strategy that averages all updates, with the stochastic quantiser, found "
            f"{type(innermost).__name__}, which takes the few large values of each for outliers"
        )
    return None


def weight_key_of(strategy: object) -> str:
    """Return under which replies name their weight in the average of a strategy."""
    return str(getattr(_innermost(strategy), "weighted_by_key", "num-examples"))


def _innermost(strategy: object) -> object:
    """Return the strategy inside all wrappers."""
    while wrapped := next(
        (vars(strategy)[name] for name in WRAPPED_NAMES if name in vars(strategy)), None
    ):
        strategy = wrapped
    return strategy
