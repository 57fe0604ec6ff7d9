# SPDX-License-Identifier: Apache-2.0
"""The settings a strategy gets when the user gives none."""

from __future__ import annotations

import logging

import pytest
from flwr.serverapp.strategy import (
    Bulyan,
    DifferentialPrivacyServerSideFixedClipping,
    FedAdam,
    FedAvg,
    FedMedian,
    FedTrimmedAvg,
    Krum,
    MultiKrum,
    Strategy,
)

from fl_deepcabac import CodecConfig
from fl_deepcabac.flower import DeepCABACStrategy, DeepCABACStrategyMixin, default_config


@pytest.mark.parametrize(
    ("inner", "relative_step"),
    [
        (FedAvg(), 6.0),
        (FedAdam(), 6.0),
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
