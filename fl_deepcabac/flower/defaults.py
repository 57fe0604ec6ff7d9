# SPDX-License-Identifier: Apache-2.0
"""The settings for a strategy by quality, and those it gets when the user gives none.

A plain average of updates takes noise without bias well: rounded by chance, updates of many clients
lose least for their bytes, at a step that goes with their number (docs/decisions/0018, 0019). All
other strategies get DeepCABAC's own quantiser with error feedback: medians and picks, which take a
few large values for outliers, in finer steps (0006), and server optimisers and clipping, which
divide by what noise has made large. Finer, too, where few nodes take part at a time: what is left
out waits for many rounds (0013).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from flwr.serverapp.strategy import (
    Bulyan,
    DifferentialPrivacyClientSideAdaptiveClipping,
    DifferentialPrivacyClientSideFixedClipping,
    DifferentialPrivacyServerSideAdaptiveClipping,
    DifferentialPrivacyServerSideFixedClipping,
    FedAvg,
    FedAvgM,
    FedMedian,
    FedTrimmedAvg,
    Krum,
    MultiKrum,
    QFedAvg,
    Strategy,
)
from flwr.serverapp.strategy.fedopt import FedOpt

from fl_deepcabac.config import CodecConfig, Quality, QuantizerName

__all__ = [
    "FINER_RELATIVE_STEPS",
    "STEPS_PER_CLIENT",
    "WRAPPED_NAMES",
    "default_config",
    "layers_of",
    "objection",
    "weight_key_of",
]

# Rounding by chance, for each client averaged.
STEPS_PER_CLIENT: Final[Mapping[Quality, float]] = {
    "near-lossless": 1.0,
    "balanced": 4.0,
    "smallest": 8.0,
}
# Those of `CodecConfig.auto` are coarser: nearly all levels are zero, and error feedback sends what
# they leave out later.
FINER_RELATIVE_STEPS: Final[Mapping[Quality, float]] = {
    "near-lossless": 0.5,
    "balanced": 2.0,
    "smallest": 4.0,
}
# Where a smaller part of the nodes trains in a round, steps with error feedback are finer.
LOW_PARTICIPATION: Final = 0.5
_SELECTIVE = (Bulyan, FedMedian, FedTrimmedAvg, Krum, MultiKrum)
_DIVIDING = (FedOpt, QFedAvg)
_ADDING_UP = (FedAvgM,)
_CLIPPING = (
    DifferentialPrivacyClientSideAdaptiveClipping,
    DifferentialPrivacyClientSideFixedClipping,
    DifferentialPrivacyServerSideAdaptiveClipping,
    DifferentialPrivacyServerSideFixedClipping,
)
# Where strategies that wrap another one keep it: ours, and Flower's for differential privacy.
WRAPPED_NAMES: Final = ("inner", "strategy")
_OURS: Final = "fl_deepcabac.flower."


def default_config(
    strategy: Strategy,
    quality: Quality = "balanced",
    *,
    fraction: float | None = None,
    quantizer: QuantizerName | None = None,
) -> CodecConfig:
    """Return the settings for a strategy.

    FedAvg, FedProx and classes derived from them that leave the aggregation as it is get stochastic
    rounding, with a step for each client averaged; all others the steps of `CodecConfig.auto`, or
    finer ones where the strategy selects, or less than half of the nodes train in a round.

    Parameters
    ----------
    strategy : Strategy
        Or a wrapper round one.
    quality : {"near-lossless", "balanced", "smallest"}
        As for `CodecConfig.auto`.
    fraction : float, optional
        Part of the nodes that trains in a round; the strategy's own ``fraction_train`` if not
        given.
    quantizer : str, optional
        One of `CodecConfig`'s, instead of the one that suits the strategy, with steps for it.

    Returns
    -------
    CodecConfig

    Raises
    ------
    ConfigError
        If there is no such quality or quantiser.

    Examples
    --------
    >>> default_config(FedAvg()).relative_step_per_client
    4.0
    >>> default_config(FedAvg(), quantizer="rdoq").relative_step
    6.0
    >>> default_config(Krum()).relative_step
    2.0
    """
    config, innermost = CodecConfig.auto(quality), layers_of(strategy)[-1]
    if quantizer is None:
        is_suited = _averages(innermost) and _doubt_of_chance(strategy) is None
        quantizer = "stochastic" if is_suited else config.quantizer
    if quantizer == "stochastic":
        step = STEPS_PER_CLIENT[quality]
        return replace(
            config, quantizer=quantizer, relative_step=None, relative_step_per_client=step
        )
    if fraction is None:
        fraction = getattr(innermost, "fraction_train", 1.0)
    if isinstance(innermost, _SELECTIVE) or fraction < LOW_PARTICIPATION:
        config = replace(config, relative_step=FINER_RELATIVE_STEPS[quality])
    return replace(config, quantizer=quantizer)


def objection(
    config: CodecConfig, strategy: object, *, max_update_norm: float | None = None
) -> str | None:
    """Say what speaks against settings under a strategy.

    Parameters
    ----------
    config : CodecConfig
    strategy : Strategy
        Or a wrapper round one.
    max_update_norm : float, optional
        The largest Euclidean norm that decoded updates may have.

    Returns
    -------
    str or None
        For people; None where nothing is known to.
    """
    if config.quantizer != "stochastic":
        return None
    if max_update_norm is not None:
        return (
            "expected no max_update_norm, or a wide one, with the stochastic quantiser, found "
            f"{max_update_norm:g}: decoded updates are some sqrt(0.8 * step) times as long, with a "
            "step in RMS"
        )
    if (doubt := _doubt_of_chance(strategy)) is None:
        return None
    expected = "a strategy that averages all updates, with the stochastic quantiser"
    return f"expected {expected}, found {doubt}"


def _averages(strategy: object) -> bool:
    """Whether updates go into FedAvg's own average, and nothing else looks at them."""
    return isinstance(strategy, FedAvg) and (
        _own_aggregation(type(strategy)) is FedAvg.aggregate_train
    )


def _own_aggregation(kind: type) -> object:
    """Return the method that aggregates, apart from what our mixin does before it."""
    return next(
        vars(base)["aggregate_train"]
        for base in kind.__mro__
        if "aggregate_train" in vars(base) and not base.__module__.startswith(_OURS)
    )


def _doubt_of_chance(strategy: object) -> str | None:
    """Say why noise without bias does harm under a strategy; None where it is not known to."""
    layers = layers_of(strategy)
    innermost = layers[-1]
    name = type(innermost).__name__
    if isinstance(innermost, _SELECTIVE):
        return f"{name}, which takes the few large values of each for outliers"
    if isinstance(innermost, _DIVIDING):
        return f"{name}, which divides by squares of what it averages, noise and all"
    if isinstance(innermost, _ADDING_UP):
        return f"{name}, whose momentum adds up the noise of many rounds"
    for layer in layers:
        if isinstance(layer, _CLIPPING):
            return f"{type(layer).__name__}, which bounds the size of updates that noise enlarges"
    return None


def weight_key_of(strategy: object) -> str:
    """Return under which replies name their weight in the average of a strategy."""
    return str(getattr(layers_of(strategy)[-1], "weighted_by_key", "num-examples"))


def layers_of(strategy: object) -> list[object]:
    """Return a strategy and those inside it, outermost first."""
    layers = [strategy]
    while True:
        attributes = vars(layers[-1])
        inside = (attributes.get(name) for name in WRAPPED_NAMES)
        wrapped = next((value for value in inside if isinstance(value, Strategy)), None)
        if wrapped is None:
            return layers
        layers.append(wrapped)
