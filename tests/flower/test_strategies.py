# SPDX-License-Identifier: Apache-2.0
"""Every built-in strategy trains the same model, wrapped or not."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from flower.inprocess_grid import InProcessGrid
from flower.toy import EXACT, Arrays, arrays_of, initial_arrays, make_app, record_of
from flwr.app import ArrayRecord, ConfigRecord, RecordDict
from flwr.clientapp.mod import arrays_size_mod, fixedclipping_mod, message_size_mod
from flwr.server.strategy import FedAvg as LegacyFedAvg
from flwr.serverapp import strategy as flwr_strategies
from flwr.serverapp.strategy import (
    DifferentialPrivacyClientSideFixedClipping,
    DifferentialPrivacyServerSideAdaptiveClipping,
    DifferentialPrivacyServerSideFixedClipping,
    FedAvg,
    FedMedian,
    FedProx,
    FedXgbBagging,
    FedXgbCyclic,
    Result,
    Strategy,
)

from fl_deepcabac import CodecConfig, ConfigError
from fl_deepcabac.flower import DeepCABACStrategy, DeepCABACStrategyMixin, deepcabac_mod

N_NODES = 7
NODES: dict[str, Any] = {"min_available_nodes": N_NODES, "min_train_nodes": N_NODES}

STRATEGIES: dict[str, dict[str, Any]] = {
    "FedAvg": {},
    "FedProx": {"proximal_mu": 0.1},
    "FedAdam": {},
    "FedYogi": {},
    "FedAdagrad": {},
    "FedAvgM": {"server_momentum": 0.5},
    "FedMedian": {},
    "FedTrimmedAvg": {},
    "Krum": {"num_malicious_nodes": 1},
    "MultiKrum": {"num_malicious_nodes": 1, "num_nodes_to_select": 3},
    "Bulyan": {"num_malicious_nodes": 1},
    "QFedAvg": {"client_learning_rate": 0.1},
}
# Unwrapped, these two send float64 from round 2 on; wrapped, float32 as they began.
DRIFTING = {"FedAdam", "QFedAvg"}


def build(name: str) -> Strategy:
    return getattr(flwr_strategies, name)(**NODES, **STRATEGIES[name])


def run(
    strategy: Strategy,
    *,
    mods: Any = (deepcabac_mod,),
    num_rounds: int = 3,
    arrays: ArrayRecord | None = None,
) -> tuple[Result, InProcessGrid]:
    random.seed(1)
    grid = InProcessGrid([make_app(mods=mods) for _ in range(N_NODES)])
    return strategy.start(grid, arrays or initial_arrays(), num_rounds=num_rounds), grid


@pytest.mark.parametrize("name", STRATEGIES)
def test_wrapped_strategy_trains_the_model_of_the_plain_one(name: str) -> None:
    plain, _ = run(build(name), mods=())
    strategy = DeepCABACStrategy(build(name), EXACT)
    wrapped, _ = run(strategy)

    tolerance = 1e-5 if name in DRIFTING else 0
    for key, expected in arrays_of(plain.arrays).items():
        found = wrapped.arrays[key].numpy()
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)
    totals = strategy.communication.totals
    assert (totals.fresh, totals.warm, totals.failures) == (N_NODES, 2 * N_NODES, 0)
    assert totals.uplink_packet_bytes < totals.uplink_raw_bytes / 4


def towards_zero(weights: Arrays, rng: np.random.Generator) -> Arrays:
    """Train to an optimum of zeros, a third of the way, each node with noise of its own."""
    return {
        name: (0.67 * tensor + rng.normal(0, 0.01, tensor.shape)).astype(tensor.dtype)
        for name, tensor in weights.items()
    }


@pytest.mark.parametrize("inner", [FedAvg(**NODES), FedMedian(**NODES)])
def test_default_settings_reach_the_optimum_that_the_plain_run_does(inner: Strategy) -> None:
    apps = [make_app(train=towards_zero) for _ in range(N_NODES)]
    distances = []
    for strategy in (inner, DeepCABACStrategy(inner)):
        arrays = strategy.start(InProcessGrid(apps), initial_arrays(), num_rounds=30).arrays
        distances.append(
            np.linalg.norm(np.concatenate([a.numpy().ravel() for a in arrays.values()]))
        )
    plain, wrapped = distances
    start = np.linalg.norm(
        np.concatenate([a.ravel() for a in arrays_of(initial_arrays()).values()])
    )
    assert plain < 0.1 * start
    assert wrapped < 0.2 * start


class CompressedProx(DeepCABACStrategyMixin, FedProx):
    """What a user writes who derives from a strategy."""


def test_mixin_and_wrapper_do_the_same() -> None:
    wrapped, _ = run(DeepCABACStrategy(FedProx(proximal_mu=0.1, **NODES), EXACT))
    mixed_strategy = CompressedProx(proximal_mu=0.1, codec=EXACT, **NODES)
    mixed, grid = run(mixed_strategy)
    assert arrays_of(mixed.arrays).keys() == arrays_of(wrapped.arrays).keys()
    for key, array in arrays_of(mixed.arrays).items():
        np.testing.assert_array_equal(array, wrapped.arrays[key].numpy())
    assert mixed_strategy.communication.totals.warm == 2 * N_NODES
    assert grid.exchanges[0].message.content["config"]["proximal-mu"] == 0.1


def test_mixin_without_codec_uses_the_default_settings() -> None:
    strategy = CompressedProx(proximal_mu=0.1, **NODES)
    run(strategy, num_rounds=1)
    assert strategy.communication.totals.fresh == N_NODES


def test_inner_configure_train_sees_an_untouched_config_and_messages_share_nothing() -> None:
    strategy = DeepCABACStrategy(FedAvg(**NODES), EXACT)
    config = ConfigRecord({"lr": 0.1})
    grid = InProcessGrid([make_app()] * N_NODES)
    messages = list(strategy.configure_train(1, initial_arrays(), config, grid))
    assert dict(config) == {"lr": 0.1, "server-round": 1}
    contents = {id(message.content) for message in messages}
    assert len(contents) == N_NODES
    records = [message.content["config"] for message in messages]
    assert all(set(record) > {"lr", "server-round", "fl-deepcabac"} for record in records)
    assert len({id(record) for record in records}) == N_NODES


def test_wrapper_looks_up_unknown_attributes_on_the_inner_strategy() -> None:
    strategy = DeepCABACStrategy(FedAvg(fraction_train=0.25))
    assert strategy.fraction_train == 0.25
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = strategy.no_such_thing


@pytest.mark.parametrize("inner", [None, "FedAvg", FedAvg, CodecConfig()])
def test_wrapper_refuses_what_is_no_strategy(inner: Any) -> None:
    with pytest.raises(TypeError, match=r"expected a strategy of flwr\.serverapp\.strategy"):
        DeepCABACStrategy(inner)


def test_wrapper_refuses_a_legacy_strategy_and_names_secure_aggregation() -> None:
    legacy: Any = LegacyFedAvg()
    with pytest.raises(TypeError, match="SecAgg"):
        DeepCABACStrategy(legacy)


def test_wrapper_refuses_to_compress_twice() -> None:
    with pytest.raises(TypeError, match="which does"):
        DeepCABACStrategy(DeepCABACStrategy(FedAvg()))


@pytest.mark.parametrize("codec", [0.1, {"step": 0.1}])
def test_wrapper_refuses_settings_of_another_type(codec: Any) -> None:
    with pytest.raises(TypeError, match="expected a CodecConfig"):
        DeepCABACStrategy(FedAvg(), codec)


class SecureAggregation(FedAvg):
    """A strategy that speaks SecAgg+, as far as its messages show."""

    def configure_train(self, *args: Any, **kwargs: Any) -> Any:
        for message in super().configure_train(*args, **kwargs):
            records = dict(message.content.items())
            message.content = RecordDict({**records, "secaggplus_configs": ConfigRecord({"s": 1})})
            yield message


def test_secure_aggregation_is_refused_before_anything_is_sent() -> None:
    strategy = DeepCABACStrategy(SecureAggregation(**NODES))
    with pytest.raises(ConfigError, match="secure aggregation"):
        run(strategy)


@pytest.mark.parametrize("xgb", [FedXgbBagging, FedXgbCyclic])
def test_tree_strategies_pass_through(
    xgb: Callable[..., Strategy], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "flwr.serverapp.strategy.fedxgb_bagging.aggregate_bagging", lambda old, new: old + new
    )
    trees = ArrayRecord([np.frombuffer(b'{"learner": {}}', dtype=np.uint8)])
    plain, _ = run(xgb(min_available_nodes=N_NODES), mods=(), arrays=trees)
    strategy = DeepCABACStrategy(xgb(min_available_nodes=N_NODES))
    wrapped, grid = run(strategy, arrays=trees)
    np.testing.assert_array_equal(wrapped.arrays["0"].numpy(), plain.arrays["0"].numpy())
    assert wrapped.arrays["0"].numpy().dtype == np.uint8
    for exchange in grid.train_exchanges():
        assert "fl-deepcabac" not in exchange.message.content["config"]
    totals = strategy.communication.totals
    assert (totals.fresh, totals.warm) == (0, 0)
    assert totals.uncompressed > 0


def test_model_without_floats_passes_through_with_one_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    strategy = DeepCABACStrategy(FedAvg(**NODES))
    run(strategy, arrays=record_of({"table": np.arange(6, dtype=np.int64)}))
    warnings = [r for r in caplog.records if r.name == "fl_deepcabac"]
    assert len(warnings) == 1
    assert "expected floating-point weights" in warnings[0].getMessage()
    assert strategy.communication.totals.uncompressed == 3 * N_NODES


@pytest.mark.parametrize(
    "wrapper",
    [
        lambda inner: DifferentialPrivacyServerSideFixedClipping(inner, 0.0, 10.0, N_NODES),
        lambda inner: DifferentialPrivacyServerSideAdaptiveClipping(
            inner, 0.001, N_NODES, 10.0, 0.5, 0.2, 1.0
        ),
    ],
)
def test_server_side_privacy_goes_inside(wrapper: Callable[[Strategy], Strategy]) -> None:
    strategy = DeepCABACStrategy(wrapper(FedAvg(**NODES)), EXACT)
    result, _ = run(strategy)
    assert strategy.communication.totals.warm == 2 * N_NODES
    moved = arrays_of(result.arrays)["fc.weight"] - arrays_of(initial_arrays())["fc.weight"]
    assert np.abs(moved).max() > 0


def test_client_side_clipping_works_with_the_codec_as_first_mod() -> None:
    inner = DifferentialPrivacyClientSideFixedClipping(FedAvg(**NODES), 0.0, 0.05, N_NODES)
    strategy = DeepCABACStrategy(inner, CodecConfig(step=1e-5))
    apps = [_app_with_train_mods(deepcabac_mod, fixedclipping_mod) for _ in range(N_NODES)]
    grid = InProcessGrid(apps)
    result = strategy.start(grid, initial_arrays(), num_rounds=1)
    assert strategy.communication.totals.fresh == N_NODES
    before = arrays_of(initial_arrays())
    moved = [arrays_of(result.arrays)[name] - before[name] for name in before]
    norm = np.sqrt(sum(np.square(array).sum() for array in moved))
    assert 0 < norm <= 0.051


def test_codec_behind_clipping_makes_every_reply_an_error_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    inner = DifferentialPrivacyClientSideFixedClipping(FedAvg(**NODES), 0.0, 0.05, N_NODES)
    strategy = DeepCABACStrategy(inner, EXACT)
    apps = [_app_with_train_mods(fixedclipping_mod, deepcabac_mod) for _ in range(N_NODES)]
    strategy.start(InProcessGrid(apps), initial_arrays(), num_rounds=1)
    assert strategy.communication.totals.failures == N_NODES
    assert "none of 7 train messages led to a usable reply" in caplog.text


def _app_with_train_mods(*mods: Any) -> Any:
    """Return an app with mods for training only, as Flower's clipping mods demand."""
    app = make_app(mods=())
    app._registered_funcs["train.default"] = make_app(mods=mods)._registered_funcs["train.default"]
    return app


def test_server_side_privacy_outside_fails_loudly() -> None:
    outside = DifferentialPrivacyServerSideFixedClipping(
        DeepCABACStrategy(FedAvg(**NODES), EXACT), 0.0, 10.0, N_NODES
    )
    with pytest.raises(TypeError, match=r"Unsupported serialization type.*fl_deepcabac\.packet"):
        run(outside)


def test_size_mods_of_flower_work_around_the_codec() -> None:
    strategy = DeepCABACStrategy(FedAvg(**NODES), EXACT)
    run(strategy, mods=(arrays_size_mod, message_size_mod, deepcabac_mod), num_rounds=2)
    assert strategy.communication.totals.failures == 0


def test_evaluate_only_round_needs_no_training() -> None:
    strategy = DeepCABACStrategy(FedAvg(fraction_train=0.0, min_available_nodes=N_NODES))
    result, _ = run(strategy, num_rounds=1)
    assert 1 in result.evaluate_metrics_clientapp
    assert strategy.communication.totals.messages == N_NODES


def test_summary_shows_the_codec_and_then_the_inner_strategy(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    DeepCABACStrategy(FedProx(proximal_mu=0.5), CodecConfig(step=0.004, profile="max")).summary()
    text = caplog.text
    assert "DeepCABAC settings" in text
    assert "0.004" in text
    assert "max" in text
    assert text.index("DeepCABAC settings") < text.index("Proximal mu: 0.5")


def test_summary_names_the_relative_step(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    DeepCABACStrategy(FedAvg(), CodecConfig(relative_step=2.5)).summary()
    assert "2.5 x RMS" in caplog.text
