# SPDX-License-Identifier: Apache-2.0
"""What docs/dtypes.md promises, in full rounds: a model of every kind of tensor at once."""

from __future__ import annotations

import gc
import logging
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import pytest
from flower.downlink_run import bytes_of
from flower.four_nodes import N_NODES, fedavg
from flower.inprocess_grid import InProcessGrid
from flower.toy import EXACT, MODS, STEP, Arrays, arrays_of, make_app, record_of
from flwr.app import Array, ConfigRecord
from flwr.serverapp.strategy import FedAdam, FedAvg, QFedAvg, Strategy

from fl_deepcabac import CodecConfig
from fl_deepcabac.flower import DeepCABACStrategy, DownlinkConfig

N_ROUNDS = 3
NODES: dict[str, Any] = {
    "min_available_nodes": N_NODES,
    "min_train_nodes": N_NODES,
    "fraction_evaluate": 0.0,
}
STRATEGIES: dict[str, Callable[[], Strategy]] = {
    "FedAvg": lambda: FedAvg(**NODES),
    "FedAdam": lambda: FedAdam(eta=0.01, **NODES),
    "QFedAvg": lambda: QFedAvg(0.1, **NODES),
}
WAYS_DOWN = {
    "plain": None,
    "grid": DownlinkConfig(),
    "exact keyframes": DownlinkConfig(exact_keyframes=True),
}
INTEGERS = [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
INITIAL_COUNT = 100


@pytest.fixture(autouse=True)
def _little_garbage() -> Iterator[None]:
    """Let QFedAvg, which collects garbage after each array, look through what is new only."""
    gc.freeze()
    yield
    gc.unfreeze()


def floats() -> Arrays:
    """Return float tensors of every width, layout and byte order."""
    rng = np.random.default_rng(1)
    half = rng.integers(-64, 65, (6, 8)).astype(np.float16) * np.float16(STEP)
    single = rng.normal(0, 0.5, (6, 8)).astype(np.float32)
    return {
        "half": half,
        "single": single,
        "double": rng.normal(0, 0.5, (5, 8)),
        "fortran": np.asfortranarray(single[::-1]),
        "strided": np.repeat(single, 2, axis=1)[::-1, ::2],
        "big endian": rng.normal(0, 0.5, 20).astype(">f4"),
        "big endian half": half.astype(">f2"),
        "negative zeros": np.full(12, -0.0, np.float32),
        "scalar": np.array(0.1, np.float32),
        "double scalar": np.array(1 / 3),
        "no floats": np.zeros((0, 4), np.float32),
    }


def integers() -> Arrays:
    return {
        **{name: np.full((2, 3), INITIAL_COUNT, name) for name in INTEGERS},
        "big endian integers": np.full(4, INITIAL_COUNT, ">i4"),
        "flags": np.array([True, False, True]),
        "flag": np.array(True),
        "num_batches_tracked": np.array(INITIAL_COUNT),
        "no integers": np.zeros((3, 0), np.int32),
    }


def model_for(strategy: str) -> Arrays:
    """Return all kinds; QFedAvg multiplies in place, which NumPy refuses for integers."""
    return floats() if strategy == "QFedAvg" else {**floats(), **integers()}


def move(weights: Arrays, rng: np.random.Generator) -> Arrays:
    """Move floats by whole steps of EXACT that only node and round decide; count up, and flip."""
    moved = {}
    for name, tensor in weights.items():
        change: Any = 1
        if tensor.dtype.kind == "f":
            change = rng.integers(-2, 3, tensor.shape) * tensor.dtype.type(STEP)
        new = ~tensor if tensor.dtype.kind == "b" else tensor + change
        moved[name] = np.asarray(new, tensor.dtype)
    return moved


@dataclass
class Seen:
    """What nodes got, by round, and what came of it."""

    received: dict[int, list[Arrays]] = field(default_factory=dict)
    final: Arrays = field(default_factory=dict)
    strategy: Any = None


def run(
    strategy: Strategy,
    model: Arrays,
    *,
    train: Callable[[Arrays, np.random.Generator], Arrays] = move,
    mods: Any = MODS,
    num_rounds: int = N_ROUNDS,
) -> Seen:
    seen = Seen(strategy=strategy)

    def app() -> Any:
        n_trained = [0]

        def trained(weights: Arrays, rng: np.random.Generator) -> Arrays:
            n_trained[0] += 1
            copies = {name: tensor.copy() for name, tensor in weights.items()}
            seen.received.setdefault(n_trained[0], []).append(copies)
            return train(weights, rng)

        return make_app(mods=mods, train=trained)

    # The order of replies, and so the rounding of sums, hangs on the order of messages.
    random.seed(1)
    grid = InProcessGrid([app() for _ in range(N_NODES)])
    seen.final = arrays_of(strategy.start(grid, record_of(model), num_rounds=num_rounds).arrays)
    return seen


@cache
def coded_run(name: str, way: str) -> Seen:
    strategy = DeepCABACStrategy(STRATEGIES[name](), EXACT, downlink=WAYS_DOWN[way])
    return run(strategy, model_for(name))


def casting(strategy: Strategy, model: Arrays) -> Strategy:
    """Let a plain strategy return the dtypes that it began with, as its user would cast them."""
    aggregate = strategy.aggregate_train

    def cast(*args: Any) -> Any:
        arrays, metrics = aggregate(*args)
        cast_arrays = {}
        for name, tensor in arrays_of(arrays).items():
            dtype = model[name].dtype.newbyteorder("=")
            whole = np.rint(tensor) if dtype.kind in "iub" else tensor
            cast_arrays[name] = np.asarray(whole, dtype)
        return record_of(cast_arrays), metrics

    strategy.aggregate_train = cast  # type: ignore[method-assign]
    return strategy


def assert_kinds_of(model: Arrays, found: Arrays) -> None:
    assert list(found) == list(model)
    for name, tensor in found.items():
        assert tensor.dtype == model[name].dtype.newbyteorder("="), name
        assert tensor.shape == model[name].shape, name


@pytest.mark.parametrize("name", STRATEGIES)
def test_nodes_receive_what_the_plain_strategy_would_send_in_the_first_dtypes(name: str) -> None:
    model = model_for(name)
    plain = run(casting(STRATEGIES[name](), model), model, mods=())
    coded = coded_run(name, "plain")
    assert coded.strategy.communication.totals.warm == N_NODES * (N_ROUNDS - 1)
    for server_round in range(1, N_ROUNDS + 1):
        for found in coded.received[server_round]:
            assert_kinds_of(model, found)
            for key, expected in plain.received[server_round][0].items():
                np.testing.assert_array_equal(found[key], expected, err_msg=key)
    for found in coded.received[1]:
        assert bytes_of(found) == {
            key: np.asarray(tensor, tensor.dtype.newbyteorder("=")).tobytes()
            for key, tensor in model.items()
        }


@pytest.mark.parametrize("way", ["grid", "exact keyframes"])
@pytest.mark.parametrize("name", STRATEGIES)
def test_a_compressed_way_down_gives_every_kind_in_its_dtype(name: str, way: str) -> None:
    model = model_for(name)
    plain, coded = coded_run(name, "plain"), coded_run(name, way)
    assert coded.strategy.communication.totals.failures == 0
    for server_round, per_node in coded.received.items():
        expected = plain.received[server_round][0]
        for found in per_node:
            assert_kinds_of(model, found)
            assert bytes_of(found) == bytes_of(per_node[0])
            for key, tensor in found.items():
                if tensor.dtype.kind != "f" or tensor.ndim == 0:
                    # QFedAvg divides by a norm over all tensors.
                    tolerance = 1e-6 if name == "QFedAvg" else 0.0
                    np.testing.assert_allclose(tensor, expected[key], rtol=tolerance, err_msg=key)
    for key, tensor in coded.received[1][0].items():
        wanted = np.asarray(model[key], tensor.dtype)
        if way == "exact keyframes":
            assert tensor.tobytes() == wanted.tobytes(), key
        elif tensor.size and tensor.dtype.kind == "f":
            # Half a step, which is rounded to a power of two.
            bound = np.sqrt(np.mean(np.square(wanted, dtype=float))) / 32 * (2 / 3)
            assert np.abs(tensor - wanted).max() <= bound, key
    # What a difference leaves out is in the global model, so that runs end up at the same place.
    for key, tensor in coded.final.items():
        tolerance = 2e-3 if tensor.dtype == np.float16 else 1e-5
        np.testing.assert_allclose(tensor, plain.final[key], rtol=0, atol=tolerance, err_msg=key)


@pytest.mark.parametrize("name", ["half", "single", "double", "big endian", "negative zeros"])
def test_uniform_steps_keep_every_float_within_half_a_step(name: str) -> None:
    step, before = 2.0**-7, floats()[name]

    def moved(rng: np.random.Generator) -> Any:
        return (before + rng.normal(0, 4 * step, before.shape)).astype(before.dtype)

    codec = CodecConfig(step=step, quantizer="uniform", error_feedback=False)
    strategy = DeepCABACStrategy(FedAvg(**NODES), codec)
    seen = run(strategy, {name: before}, train=lambda _, rng: {name: moved(rng)}, num_rounds=1)
    found, counts = seen.final[name], range(10, 10 + N_NODES)
    trained = [moved(np.random.default_rng([node, 1])) for node in range(N_NODES)]
    wanted = sum(n * own.astype(float) for n, own in zip(counts, trained, strict=True))
    # FedAvg adds up in the dtype of the weights: a rounding for each node.
    bound = step / 2 + N_NODES * float(np.finfo(found.dtype).eps)
    assert 0.1 * step < np.abs(found - wanted / sum(counts)).max() <= bound


@pytest.mark.parametrize("way", WAYS_DOWN)
def test_float16_weights_do_not_move_by_less_than_half_their_last_place(way: str) -> None:
    def train_by(change: float) -> Callable[[Arrays, np.random.Generator], Arrays]:
        return lambda weights, _: {
            key: tensor.astype(np.float32) + np.float32(change) for key, tensor in weights.items()
        }

    model: Arrays = {"half": np.ones(64, np.float16), "single": np.ones(64, np.float32)}
    idle, moved = (
        run(
            DeepCABACStrategy(FedAvg(**NODES), CodecConfig(step=1e-6), downlink=WAYS_DOWN[way]),
            model,
            train=train_by(change),
        ).final
        for change in (0.0, 1e-4)
    )
    assert moved["half"].tobytes() == idle["half"].tobytes()
    np.testing.assert_allclose(moved["single"] - idle["single"], 3e-4, rtol=0, atol=1e-5)


@pytest.mark.parametrize("way", WAYS_DOWN)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_infinities_that_stay_are_no_obstacle(dtype: str, way: str) -> None:
    mask = np.triu(np.full((4, 4), -np.inf), 1).astype(dtype)
    model = {"mask": mask, "w": np.linspace(-1, 1, 40, dtype=dtype)}

    def train(weights: Arrays, _: np.random.Generator) -> Arrays:
        return {"mask": weights["mask"], "w": weights["w"] + weights["w"].dtype.type(STEP)}

    seen = run(DeepCABACStrategy(fedavg(), EXACT, downlink=WAYS_DOWN[way]), model, train=train)
    assert seen.strategy.communication.totals.warm == N_NODES * (N_ROUNDS - 1)
    for found in [seen.final, *seen.received[N_ROUNDS]]:
        np.testing.assert_array_equal(found["mask"], mask)


@pytest.mark.parametrize("way", WAYS_DOWN)
def test_a_model_of_exact_tensors_goes_round_uncompressed(
    way: str, caplog: pytest.LogCaptureFixture
) -> None:
    seen = run(DeepCABACStrategy(fedavg(), downlink=WAYS_DOWN[way]), integers())
    assert_kinds_of(integers(), seen.final)
    assert (seen.final["uint64"] == INITIAL_COUNT + N_ROUNDS).all()
    assert seen.strategy.communication.totals.fresh == 0
    assert caplog.text.count("expected floating-point weights with an axis, found none") == 1


@pytest.mark.parametrize("wrap", [lambda inner: inner, DeepCABACStrategy])
@pytest.mark.parametrize("name", ["num_batches_tracked", "flags"])
def test_qfedavg_takes_no_integers_wrapped_or_not(
    name: str, wrap: Callable[[Strategy], Strategy]
) -> None:
    model = {"w": floats()["single"], name: integers()[name]}
    with pytest.raises(TypeError, match=r"Cannot cast ufunc|boolean subtract"):
        run(wrap(QFedAvg(0.1, **NODES)), model, num_rounds=1)


@pytest.mark.parametrize("dtype", ["V2", "bfloat16"])
@pytest.mark.parametrize("way", WAYS_DOWN)
def test_bfloat16_saved_by_numpy_is_told_what_to_do(
    dtype: str, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    # As ml_dtypes' arrays arrive: NumPy saves them as void, and Flower notes their own name.
    saved = Array(np.zeros(4, "V2"))
    arrays = record_of({"w": np.ones(4, np.float32)})
    arrays["brain"] = Array(dtype, saved.shape, saved.stype, saved.data)
    strategy = DeepCABACStrategy(fedavg(), downlink=WAYS_DOWN[way])
    grid = InProcessGrid([make_app() for _ in range(N_NODES)])
    with caplog.at_level(logging.WARNING):
        strategy.configure_train(1, arrays, ConfigRecord(), grid)
    assert "tensor 'brain': expected one of the dtypes" in caplog.text
    assert "bfloat16 and float8 travel as float32 (docs/dtypes.md)" in caplog.text
