# SPDX-License-Identifier: Apache-2.0
"""The settings a strategy gets when the user gives none."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from flower.downlink_run import run
from flower.four_nodes import N_NODES
from flower.toy import initial_arrays
from flwr.serverapp.strategy import (
    Bulyan,
    DifferentialPrivacyClientSideAdaptiveClipping,
    DifferentialPrivacyServerSideFixedClipping,
    FedAdam,
    FedAvg,
    FedAvgM,
    FedMedian,
    FedProx,
    FedTrimmedAvg,
    FedYogi,
    Krum,
    MultiKrum,
    QFedAvg,
    Strategy,
)
from flwr.serverapp.strategy.fedopt import FedOpt

from fl_deepcabac import CodecConfig, ConfigError
from fl_deepcabac.config import Profile, Quality
from fl_deepcabac.flower import DeepCABACStrategy, DeepCABACStrategyMixin, default_config


class Mine(FedAvg):
    """A FedAvg of one's own."""


class OwnAverage(FedAvg):
    """A FedAvg that looks at the updates itself."""

    def __init__(self) -> None:
        super().__init__()
        self.strategy = "mean"  # a name that wrappers use for something else

    def aggregate_train(self, server_round: int, replies: Any) -> Any:
        """Look at them, and go on."""
        return super().aggregate_train(server_round, list(replies))


class OwnOptimizer(FedOpt):
    """A server optimiser of one's own."""


class FromScratch(Strategy):
    """A strategy that nothing is known about."""

    configure_train = configure_evaluate = aggregate_train = aggregate_evaluate = None  # type: ignore[assignment]

    def summary(self) -> None:
        """Say nothing."""


@pytest.mark.parametrize(
    "inner",
    [FedAvg(), FedAvg(fraction_train=0.1), FedProx(proximal_mu=0.1), Mine()],
)
def test_plain_averages_round_by_chance_with_a_step_for_each_client(
    inner: Strategy, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    expected = CodecConfig(relative_step_per_client=4.0, quantizer="stochastic")
    assert default_config(inner) == default_config(DeepCABACStrategy(inner)) == expected
    DeepCABACStrategy(inner).summary()
    assert "4 x RMS of each tensor, for each client averaged" in caplog.text
    assert "WARNING" not in caplog.text


@pytest.mark.parametrize(
    ("inner", "relative_step"),
    [
        (FromScratch(), 6.0),
        (OwnAverage(), 6.0),
        (OwnOptimizer(), 6.0),
        (FedAvgM(), 6.0),
        (FedAdam(), 6.0),
        (FedAdam(fraction_train=0.0), 2.0),
        (FedYogi(fraction_train=0.5), 6.0),
        (QFedAvg(client_learning_rate=0.1), 6.0),
        (DifferentialPrivacyServerSideFixedClipping(FedAvg(), 0.1, 1.0, 4), 6.0),
        (DifferentialPrivacyClientSideAdaptiveClipping(FedAvg(), 0.1, 4), 6.0),
        (FedMedian(), 2.0),
        (FedTrimmedAvg(), 2.0),
        (Krum(), 2.0),
        (MultiKrum(), 2.0),
        (Bulyan(), 2.0),
        (DifferentialPrivacyServerSideFixedClipping(Krum(), 0.1, 1.0, 4), 2.0),
    ],
)
def test_default_step_is_finer_where_the_strategy_selects(
    inner: Strategy, relative_step: float, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert default_config(inner).relative_step == relative_step
    DeepCABACStrategy(inner).summary()
    assert f"{relative_step:g} x RMS" in caplog.text


@pytest.mark.parametrize(
    ("inner", "quality", "relative_step", "profile"),
    [
        (FedAdam(), "near-lossless", 1.0, "fast"),
        (FedAdam(), "balanced", 6.0, "fast"),
        (FedAdam(), "smallest", 12.0, "max"),
        (Krum(), "near-lossless", 0.5, "fast"),
        (FedMedian(), "balanced", 2.0, "fast"),
        (FedMedian(), "smallest", 4.0, "max"),
    ],
)
def test_every_quality_is_finer_where_the_strategy_selects(
    inner: Strategy, quality: Quality, relative_step: float, profile: Profile
) -> None:
    config = default_config(inner, quality)
    assert config == CodecConfig(relative_step=relative_step, profile=profile)


@pytest.mark.parametrize(
    ("quality", "step", "profile"),
    [("near-lossless", 1.0, "fast"), ("balanced", 4.0, "fast"), ("smallest", 8.0, "max")],
)
def test_every_quality_has_a_step_for_each_client(
    quality: Quality, step: float, profile: Profile
) -> None:
    expected = CodecConfig(relative_step_per_client=step, quantizer="stochastic", profile=profile)
    assert default_config(FedAvg(), quality) == expected
    assert default_config(FedMedian(), quality, quantizer="stochastic") == expected


def test_another_quantizer_has_the_steps_of_error_feedback() -> None:
    for inner, step in [(FedAvg(), 6.0), (FedAvg(fraction_train=0.1), 2.0)]:
        config = default_config(inner, quantizer="rdoq")
        assert config == CodecConfig(relative_step=step)
        assert config.error_feedback
    with pytest.raises(ConfigError, match="'quantizer'"):
        default_config(FedAvg(), quantizer="best")  # type: ignore[arg-type]


def test_an_unknown_quality_is_refused() -> None:
    with pytest.raises(ConfigError, match="'quality'"):
        default_config(Krum(), quality="best")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="'quality'"):
        default_config(FedAvg(), quality="best")  # type: ignore[arg-type]


def test_default_step_of_a_mixin_is_that_of_its_base(caplog: pytest.LogCaptureFixture) -> None:
    class CompressedKrum(DeepCABACStrategyMixin, Krum):
        pass

    caplog.set_level(logging.INFO)
    CompressedKrum().summary()
    assert "2 x RMS" in caplog.text


def test_given_settings_win_over_the_default(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    DeepCABACStrategy(Krum(), CodecConfig(relative_step=4.0)).summary()
    assert "4 x RMS" in caplog.text


@pytest.mark.parametrize(
    ("inner", "is_suited"),
    [
        (FedAvg(), True),
        (FromScratch(), True),
        (FedAdam(), False),
        (FedMedian(), False),
        (DifferentialPrivacyServerSideFixedClipping(Krum(), 0.1, 1.0, 4), False),
    ],
)
def test_rounding_by_chance_is_warned_of_where_the_strategy_selects(
    inner: Strategy, is_suited: bool, caplog: pytest.LogCaptureFixture
) -> None:
    DeepCABACStrategy(inner, CodecConfig(relative_step=32.0, quantizer="stochastic"))
    warned = "expected a strategy that averages all updates" in caplog.text
    assert warned is not is_suited
    caplog.clear()
    DeepCABACStrategy(inner)
    assert not caplog.text


def test_an_attribute_that_is_no_strategy_is_no_layer() -> None:
    inner = OwnAverage()
    inner.min_train_nodes = inner.min_available_nodes = N_NODES
    strategy, _, _, _ = run(inner=inner, num_rounds=2)
    assert strategy.communication.totals.failures == 0


def test_a_bound_on_norms_speaks_against_chance(caplog: pytest.LogCaptureFixture) -> None:
    strategy = DeepCABACStrategy(FedAvg(), max_update_norm=3.0)
    assert strategy._codec_endpoint.config == CodecConfig(relative_step=6.0)
    assert not caplog.text
    codec = CodecConfig(relative_step=32.0, quantizer="stochastic")
    DeepCABACStrategy(FedAvg(), codec, max_update_norm=3.0)
    assert "expected no max_update_norm, or a wide one" in caplog.text


class MixedIn(DeepCABACStrategyMixin, FedProx):
    """What a user writes who derives from a strategy."""


def test_a_mixin_before_a_plain_average_rounds_by_chance() -> None:
    endpoint = MixedIn(proximal_mu=0.1)._codec_endpoint
    assert endpoint.config == default_config(FedProx(proximal_mu=0.1))
    assert endpoint.config.quantizer == "stochastic"


def test_rounding_by_chance_goes_the_whole_way_without_residuals() -> None:
    codec = CodecConfig(relative_step=16.0, quantizer="stochastic")
    strategy, grid, _, _ = run(codec=codec, num_rounds=4)
    totals = strategy.communication.totals
    assert (totals.failures, totals.fresh, totals.warm) == (0, N_NODES, 3 * N_NODES)
    assert totals.uplink_ratio > 40
    for node in grid.nodes.values():
        records = node.context.state.array_records.values()
        kept = sum(len(array.data) for record in records for array in record.values())
        # The copy of the model alone: nothing that packets left out.
        assert kept <= sum(len(array.data) for array in initial_arrays(100).values())
