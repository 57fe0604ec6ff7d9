# SPDX-License-Identifier: Apache-2.0
"""The settings that a strategy gets when the user gives none (docs/decisions/0006).

Strategies that average forgive coarse steps: what one client's zeros leave out, another's levels
and the next round's error feedback bring back. Strategies that take a median or pick some clients
do not, because a median of mostly zeros is zero.
"""

from __future__ import annotations

from typing import Final

from flwr.serverapp.strategy import (
    Bulyan,
    FedMedian,
    FedTrimmedAvg,
    Krum,
    MultiKrum,
    Strategy,
)

from fl_deepcabac.config import CodecConfig

__all__ = ["AVERAGING_RELATIVE_STEP", "SELECTIVE_RELATIVE_STEP", "default_config"]

# Coarse: nearly all levels are zero, and error feedback sends later what they leave out.
AVERAGING_RELATIVE_STEP: Final = 6.0
SELECTIVE_RELATIVE_STEP: Final = 2.0
_SELECTIVE = (Bulyan, FedMedian, FedTrimmedAvg, Krum, MultiKrum)
# Where strategies that wrap another one keep it: ours, and Flower's for differential privacy.
_WRAPPED = ("inner", "strategy")


def default_config(strategy: Strategy) -> CodecConfig:
    """Return the settings for a strategy: finer steps where it does not average all updates.

    Parameters
    ----------
    strategy : Strategy
        Or a wrapper round one.

    Returns
    -------
    CodecConfig

    Examples
    --------
    >>> default_config(Krum()).relative_step
    2.0
    """
    innermost: object = strategy
    while wrapped := next(
        (vars(innermost)[name] for name in _WRAPPED if name in vars(innermost)), None
    ):
        innermost = wrapped
    if isinstance(innermost, _SELECTIVE):
        return CodecConfig(relative_step=SELECTIVE_RELATIVE_STEP)
    return CodecConfig(relative_step=AVERAGING_RELATIVE_STEP)
