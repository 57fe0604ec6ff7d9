# SPDX-License-Identifier: Apache-2.0
"""Tensors of every dtype through a full round, and the dtypes of the global model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from flower.inprocess_grid import InProcessGrid
from flower.toy import EXACT, STEP, Arrays, arrays_of, initial_arrays, make_app, record_of
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord
from flwr.serverapp.strategy import FedAdam, FedAvg, Krum, QFedAvg, Strategy

from fl_deepcabac.flower import DeepCABACStrategy, deepcabac_mod
from fl_deepcabac.flower.weights import DtypeMemory, add_reference, subtract_reference
from fl_deepcabac.schema import TensorSpec

N_NODES = 5
NODES: dict[str, Any] = {"min_available_nodes": N_NODES, "min_train_nodes": N_NODES}


def mixed_arrays() -> ArrayRecord:
    """Return what a model with batch normalisation and odd buffers holds."""
    return record_of(
        {
            "conv.weight": np.linspace(-1, 1, 24, dtype=np.float32).reshape(2, 3, 4),
            "half.weight": np.linspace(-1, 1, 16, dtype=np.float16),
            "double.weight": np.linspace(-1, 1, 10, dtype=np.float64),
            "bn.running_var": np.ones(3, np.float32),
            "bn.num_batches_tracked": np.array(7, np.int64),
            "temperature": np.array(0.25, np.float32),
            "double.scale": np.array(1 / 3, np.float64),
            "mask": np.array([True, False, True, True]),
            "counts": np.arange(6, dtype=np.uint8).reshape(2, 3),
            "empty": np.zeros((0, 4), np.float32),
        }
    )


def train_mixed(weights: Arrays, rng: np.random.Generator) -> Arrays:
    """Move floats by whole steps, change every exact tensor."""
    del rng
    trained = {
        name: (tensor + tensor.dtype.type(STEP)) if tensor.dtype.kind == "f" else tensor
        for name, tensor in weights.items()
    }
    trained["bn.num_batches_tracked"] = np.array(weights["bn.num_batches_tracked"] + 1)
    trained["temperature"] = np.array(weights["temperature"] * np.float32(1.1))
    trained["double.scale"] = np.array(weights["double.scale"] * 1.1)
    trained["mask"] = ~weights["mask"]
    trained["counts"] = weights["counts"] + np.uint8(2)
    return {name: np.asarray(tensor) for name, tensor in trained.items()}


def run(strategy: Strategy, *, mods: Any = (deepcabac_mod,), num_rounds: int = 1) -> Arrays:
    grid = InProcessGrid([make_app(mods=mods, train=train_mixed) for _ in range(N_NODES)])
    return arrays_of(strategy.start(grid, mixed_arrays(), num_rounds=num_rounds).arrays)


def test_each_dtype_arrives_as_it_was_trained() -> None:
    seen: list[Arrays] = []

    class Spy(FedAvg):
        def aggregate_train(self, _round: int, replies: Any) -> Any:
            seen.extend(arrays_of(reply.content["arrays"]) for reply in replies)
            return None, None

    run(DeepCABACStrategy(Spy(**NODES), EXACT))
    expected = train_mixed(arrays_of(mixed_arrays()), np.random.default_rng(0))
    assert len(seen) == N_NODES
    for arrays in seen:
        assert list(arrays) == list(expected)
        for name, tensor in arrays.items():
            assert tensor.dtype == expected[name].dtype, name
            np.testing.assert_array_equal(tensor, expected[name], err_msg=name)


def test_global_model_keeps_its_dtypes_over_rounds() -> None:
    arrays = run(DeepCABACStrategy(FedAvg(**NODES), EXACT), num_rounds=3)
    before = arrays_of(mixed_arrays())
    for name, tensor in arrays.items():
        assert tensor.dtype == before[name].dtype, name
        assert tensor.shape == before[name].shape, name
    assert arrays["bn.num_batches_tracked"] == 10
    np.testing.assert_array_equal(arrays["counts"], before["counts"] + 6)
    np.testing.assert_array_equal(arrays["mask"], ~before["mask"])


@pytest.mark.parametrize("inner", [FedAdam, lambda **kwargs: QFedAvg(0.1, **kwargs), FedAvg])
def test_downlink_stays_float32_where_the_inner_strategy_drifts(inner: Any) -> None:
    strategy = DeepCABACStrategy(inner(**NODES), EXACT)
    grid = InProcessGrid([make_app() for _ in range(N_NODES)])
    central: list[set[str]] = []

    def evaluate(server_round: int, arrays: ArrayRecord) -> MetricRecord:
        central.append({array.dtype for array in arrays.values()})
        return MetricRecord({"round": server_round})

    result = strategy.start(grid, initial_arrays(), num_rounds=2, evaluate_fn=evaluate)
    assert central == [{"float32"}] * 3
    assert {array.dtype for array in result.arrays.values()} == {"float32"}
    sent = [exchange.message.content["arrays"] for exchange in grid.exchanges]
    assert {array.dtype for record in sent for array in record.values()} == {"float32"}
    raw = {record.totals().downlink_raw_bytes for record in strategy.communication.rounds}
    assert len(raw) == 1


def test_strategy_that_returns_the_arrays_of_a_reply_gives_them_out_decoded() -> None:
    class TakesTheFirst(FedAvg):
        def aggregate_train(self, _round: int, replies: Any) -> Any:
            first = next(iter(replies))
            return first.content["arrays"], first.content["metrics"]

    strategy = DeepCABACStrategy(TakesTheFirst(**NODES), EXACT)
    grid = InProcessGrid([make_app() for _ in range(N_NODES)])
    result = strategy.start(grid, initial_arrays(), num_rounds=3)
    assert {type(array) for array in result.arrays.values()} == {Array}
    assert arrays_of(result.arrays)["fc.bias"].dtype == np.float32
    assert strategy.communication.totals.failures == 0


def test_krum_reads_replies_twice_and_gets_the_same() -> None:
    strategy = DeepCABACStrategy(Krum(num_malicious_nodes=1, **NODES), EXACT)
    arrays = run(strategy)
    expected = train_mixed(arrays_of(mixed_arrays()), np.random.default_rng(0))
    for name, tensor in arrays.items():
        np.testing.assert_allclose(tensor, expected[name], err_msg=name)


def test_restore_leaves_records_alone_that_need_nothing() -> None:
    memory, arrays = DtypeMemory(), mixed_arrays()
    memory.remember(arrays)
    assert memory.restore(arrays) is arrays


def test_restore_rounds_averaged_integers_and_keeps_its_input() -> None:
    memory = DtypeMemory()
    memory.remember(record_of({"n": np.array(7, np.int64), "b": np.array([True, False])}))
    averaged = record_of({"n": np.array(6.999999999999999), "b": np.array([0.75, 0.25])})
    restored = arrays_of(memory.restore(averaged))
    assert restored["n"] == 7
    assert restored["n"].dtype == np.int64
    np.testing.assert_array_equal(restored["b"], [True, False])
    assert averaged["n"].dtype == "float64"


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "uint32", "int64", "uint64"])
def test_restore_holds_integers_at_their_bounds(dtype: str) -> None:
    memory, bounds = DtypeMemory(), np.iinfo(dtype)
    memory.remember(record_of({"n": np.zeros(6, dtype)}))
    # float64 rounds the bounds of 64 bits up, beyond what their dtype holds.
    floats = np.array([bounds.min, bounds.max, -1e30, 1e30, 2.5, 99.49])
    restored = arrays_of(memory.restore(record_of({"n": floats})))["n"]
    assert restored.dtype == dtype
    assert restored.tolist() == [bounds.min, bounds.max, bounds.min, bounds.max, 2, 99]
    wide = np.array([0, 0, 0, 0, 7, 7], np.int64)
    assert arrays_of(memory.restore(record_of({"n": wide})))["n"].tolist() == wide.tolist()


def test_restore_holds_floats_at_their_largest_and_leaves_infinities() -> None:
    memory = DtypeMemory()
    memory.remember(record_of({"h": np.zeros(4, np.float16), "s": np.array(0, np.float32)}))
    wide = {"h": np.array([1e5, -7e4, np.inf, np.nan]), "s": np.array(-1e300)}
    restored = arrays_of(memory.restore(record_of(wide)))
    np.testing.assert_array_equal(restored["h"], [65504, -65504, np.inf, np.nan])
    assert restored["s"] == np.finfo(np.float32).min
    assert restored["s"].shape == ()


@pytest.mark.parametrize("dtype", ["int64", "uint8", "bool"])
def test_restore_keeps_nan_where_integers_should_be(dtype: str) -> None:
    memory = DtypeMemory()
    memory.remember(record_of({"n": np.zeros(2, dtype)}))
    diverged = record_of({"n": np.array([np.nan, 1.0])})
    assert memory.restore(diverged) is diverged


def test_restore_puts_arrays_into_native_byte_order() -> None:
    memory, foreign = DtypeMemory(), record_of({"w": np.arange(3, dtype=">f4")})
    memory.remember(foreign)
    [restored] = arrays_of(memory.restore(foreign)).values()
    assert restored.dtype.isnative
    np.testing.assert_array_equal(restored, [0, 1, 2])


def test_restore_keeps_unknown_names_and_foreign_arrays() -> None:
    memory = DtypeMemory()
    memory.remember(record_of({"w": np.zeros(3, np.float32)}))
    record = record_of({"new": np.zeros(3, np.float64)})
    record["w"] = Array("float64", (3,), "safetensors", b"0" * 24)
    restored = memory.restore(record)
    assert restored["new"].dtype == "float64"
    assert restored["w"].data == b"0" * 24


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_update_and_reference_add_up_to_the_local_weights(dtype: str) -> None:
    rng = np.random.default_rng(3)
    reference, local = (rng.normal(0, 1, 100).astype(dtype) for _ in range(2))
    spec = TensorSpec("w", (100,), dtype)
    update = subtract_reference(spec, local, reference)
    assert update.dtype == np.dtype(dtype)
    weights = add_reference(spec, update, reference)
    assert weights.dtype == np.dtype(dtype)
    np.testing.assert_allclose(weights, local, rtol=0, atol=8 * np.finfo(dtype).eps)


def test_half_precision_is_computed_in_single_precision() -> None:
    spec = TensorSpec("w", (1,), "float16")
    # In float16 arithmetic the sum would overflow before it is rounded.
    weights = add_reference(spec, np.array([60000], np.float16), np.array([-60000], np.float16))
    assert weights == 0
    update = subtract_reference(spec, np.array([60000], np.float16), np.array([-60000], np.float16))
    assert np.isinf(update)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_quantisation_makes_no_finite_weight_infinite(dtype: str) -> None:
    largest = np.finfo(dtype).max
    reference = np.array([largest, -largest, np.inf, -np.inf, 1], dtype)
    update = np.array([largest / 4, -largest / 4, 1, 1, 1], dtype)
    weights = add_reference(TensorSpec("w", (5,), dtype), update, reference)
    assert weights.dtype == dtype
    np.testing.assert_array_equal(weights, [largest, -largest, np.inf, -np.inf, 2])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_infinities_that_move_stay_errors(dtype: str) -> None:
    reference = np.array([np.inf, -np.inf, np.inf, 0, np.nan], dtype)
    local = np.array([np.inf, -np.inf, -np.inf, np.inf, np.nan], dtype)
    update = subtract_reference(TensorSpec("w", (5,), dtype), local, reference)
    np.testing.assert_array_equal(update, np.array([0, 0, -np.inf, np.inf, np.nan], dtype))


def test_inner_strategy_is_given_cast_arrays_in_configure_train() -> None:
    seen: list[str] = []

    class Spy(FedAvg):
        def configure_train(
            self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Any
        ) -> Any:
            seen.append(arrays["fc.bias"].dtype)
            return super().configure_train(server_round, arrays, config, grid)

    strategy = DeepCABACStrategy(Spy(**NODES), EXACT)
    grid = InProcessGrid([make_app() for _ in range(N_NODES)])
    strategy.configure_train(1, initial_arrays(), ConfigRecord(), grid)
    doubled = record_of(
        {name: array.astype(np.float64) for name, array in arrays_of(initial_arrays()).items()}
    )
    strategy.configure_train(2, doubled, ConfigRecord(), grid)
    assert seen == ["float32", "float32"]


def test_model_without_elements_goes_round() -> None:
    strategy = DeepCABACStrategy(FedAvg(**NODES), EXACT)
    grid = InProcessGrid([make_app() for _ in range(N_NODES)])
    strategy.start(grid, record_of({"empty": np.zeros((0, 4), np.float32)}), num_rounds=2)
    totals = strategy.communication.totals
    assert (totals.warm, totals.failures, totals.bits_per_weight) == (N_NODES, 0, 0.0)


def test_weights_given_out_share_no_memory_with_the_update() -> None:
    for dtype in ("float32", "int64"):
        update, reference = np.ones(3, dtype), np.ones(3, dtype)
        weights = add_reference(TensorSpec("w", (3,), dtype), update, reference)
        assert not np.shares_memory(weights, update)
        assert not np.shares_memory(weights, reference)
