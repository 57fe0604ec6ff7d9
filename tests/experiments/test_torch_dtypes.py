# SPDX-License-Identifier: Apache-2.0
"""Torch models in full rounds, as docs/dtypes.md tells their users to send them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from flower.inprocess_grid import InProcessGrid
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAdam, FedAvg, Strategy
from torch import nn
from torch.nn import functional

from fl_deepcabac import CodecConfig
from fl_deepcabac.flower import DeepCABACStrategy, DownlinkConfig, deepcabac_mod

State = dict[str, torch.Tensor]
Recipe = Callable[[State, State, State], State]

N_NODES = 3
NODES: dict[str, Any] = {
    "min_available_nodes": N_NODES,
    "min_train_nodes": N_NODES,
    "fraction_evaluate": 0.0,
}
WAYS_DOWN = pytest.mark.parametrize("downlink", [None, DownlinkConfig()], ids=["plain", "coded"])


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Let small models not wait for threads."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


def as_it_is(_received: State, _start: State, trained: State) -> State:
    return trained


def widened(_received: State, _start: State, trained: State) -> State:
    """Send bfloat16 as float32."""
    return {k: v.float() if v.dtype == torch.bfloat16 else v for k, v in trained.items()}


def moved(received: State, start: State, trained: State) -> State:
    """Send what was received, moved by what training has moved."""
    return {
        k: received[k] + (v.float() - start[k].float()) if v.dtype == torch.bfloat16 else v
        for k, v in trained.items()
    }


@dataclass
class Nodes:
    """Nodes that train a model; what they loaded in each round."""

    build: Callable[[], nn.Module]
    recipe: Recipe = as_it_is
    learning_rate: float = 0.1
    n_batches: int = 6
    loaded: list[State] = field(default_factory=list)

    def app(self, node: int) -> ClientApp:
        app = ClientApp(mods=[deepcabac_mod])

        @app.train()
        def _train(msg: Message, _: Context) -> Message:
            model = self.build()
            received = msg.content["arrays"].to_torch_state_dict()
            model.load_state_dict(received)
            start = {key: tensor.clone() for key, tensor in model.state_dict().items()}
            self.loaded.append({**start})
            fit(model, node, self.learning_rate, self.n_batches)
            arrays = ArrayRecord(self.recipe(received, start, model.state_dict()))
            metrics = MetricRecord({"num-examples": 10 + node})
            return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=msg)

        return app

    def run(self, strategy: Strategy, state: State, *, num_rounds: int = 3) -> State:
        random.seed(1)
        grid = InProcessGrid([self.app(node) for node in range(N_NODES)])
        result = strategy.start(grid, ArrayRecord(state), num_rounds=num_rounds)
        return result.arrays.to_torch_state_dict()


def samples(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return points, and which of three fixed directions each is closest to."""
    directions = torch.randn(16, 3, generator=torch.Generator().manual_seed(99))
    inputs = torch.randn(96, 16, generator=torch.Generator().manual_seed(seed))
    return inputs, (inputs @ directions).argmax(1)


def fit(model: nn.Module, node: int, learning_rate: float, n_batches: int) -> None:
    inputs, labels = samples(node)
    dtype = next(model.parameters()).dtype
    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate)
    for i in range(n_batches):
        batch = torch.arange(16) + 16 * (i % 6)
        optimizer.zero_grad()
        outputs = model(inputs[batch].to(dtype)).float()
        functional.cross_entropy(outputs, labels[batch]).backward()
        optimizer.step()


def seeded(build: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build()


def normalised() -> nn.Module:
    return seeded(lambda: nn.Sequential(nn.Linear(16, 24), nn.BatchNorm1d(24), nn.Linear(24, 3)))


def perceptron() -> nn.Module:
    return seeded(lambda: nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 3)))


def loss_of(state: State) -> float:
    model, (inputs, labels) = perceptron(), samples(50)
    model.load_state_dict(state)
    with torch.no_grad():
        return float(functional.cross_entropy(model(inputs), labels))


@WAYS_DOWN
@pytest.mark.parametrize("inner", [FedAvg, FedAdam])
def test_batch_norm_counters_stay_counters(inner: Any, downlink: DownlinkConfig | None) -> None:
    nodes, initial = Nodes(normalised), normalised().state_dict()
    strategy = DeepCABACStrategy(inner(**NODES), downlink=downlink)
    final = nodes.run(strategy, initial)
    assert strategy.communication.totals.failures == 0
    for state in [*nodes.loaded, final]:
        assert {k: (v.dtype, v.shape) for k, v in state.items()} == {
            k: (v.dtype, v.shape) for k, v in initial.items()
        }
    counts = [int(state["1.num_batches_tracked"]) for state in [*nodes.loaded[::N_NODES], final]]
    # FedAdam moves counters by its learning rate, as if they were weights: not by a whole one.
    assert counts == ([0, 6, 12, 18] if inner is FedAvg else [0, 0, 0, 0])
    assert not torch.equal(final["1.running_mean"], initial["1.running_mean"])


def test_flower_takes_no_bfloat16() -> None:
    with pytest.raises(TypeError, match="BFloat16"):
        ArrayRecord(perceptron().bfloat16().state_dict())


def test_differences_of_bfloat16_are_exact_in_float32() -> None:
    generator = torch.Generator().manual_seed(3)
    before = torch.randn(10_000, generator=generator).bfloat16()
    after = (before.float() + 0.1 * torch.randn(10_000, generator=generator)).bfloat16()
    near = before.float().abs() > 2.0**-10
    difference = after.float() - before.float()
    exact = after.double() - before.double()
    assert torch.equal(difference[near].double(), exact[near])
    assert torch.allclose(difference.double(), exact, rtol=2.0**-24, atol=0)


@WAYS_DOWN
@pytest.mark.parametrize("recipe", [widened, moved])
def test_bfloat16_models_train_and_cost_what_float32_ones_do(
    recipe: Recipe, downlink: DownlinkConfig | None
) -> None:
    initial = {k: v.bfloat16().float() for k, v in perceptron().state_dict().items()}
    losses, n_bytes = [], []
    for build, how in ((perceptron, as_it_is), (lambda: perceptron().bfloat16(), recipe)):
        strategy = DeepCABACStrategy(FedAvg(**NODES), downlink=downlink)
        nodes = Nodes(build, how)
        final = nodes.run(strategy, initial, num_rounds=5)
        assert {v.dtype for v in final.values()} == {torch.float32}
        assert strategy.communication.totals.failures == 0
        losses.append(loss_of(final))
        n_bytes.append(strategy.communication.totals.uplink_packet_bytes)
    assert {v.dtype for v in nodes.loaded[-1].values()} == {torch.bfloat16}
    assert losses[1] == pytest.approx(losses[0], rel=0.05)
    assert losses[1] < 0.75 * loss_of(initial)
    assert n_bytes[1] == pytest.approx(n_bytes[0], rel=0.05)


@pytest.mark.parametrize(("recipe", "keeps"), [(widened, False), (moved, True)])
def test_the_server_keeps_what_bfloat16_cannot_hold_where_moves_are_sent(
    recipe: Recipe, keeps: bool
) -> None:
    # Finer than bfloat16, as averages are; and nobody moves.
    initial = perceptron().state_dict()
    nodes = Nodes(lambda: perceptron().bfloat16(), recipe, learning_rate=0.0)
    strategy = DeepCABACStrategy(FedAvg(**NODES), CodecConfig(step=1e-7, quantizer="uniform"))
    final = nodes.run(strategy, initial, num_rounds=1)
    for key, tensor in final.items():
        wanted = initial[key] if keeps else initial[key].bfloat16().float()
        assert torch.allclose(tensor, wanted, rtol=0, atol=2e-7), key
