# SPDX-License-Identifier: Apache-2.0
"""What the allocation of steps is worth: accuracy of federated averaging at equal uplink bytes.

Every rule gets the same budget, so that only the way it is shared out between tensors differs. One
process and no Flower: clients train one after the other, code their updates with error feedback,
and the server averages what it decodes, weighted by samples. Runs with the same seed start from the
same weights, parts and batches; the spread over seeds is a standard deviation.

    python benchmarks/allocation.py [--seeds 0 1 2] [--rates 0.03 0.06 0.12] [--rules size uniform]

Rules: ``uniform`` and ``size`` as in `CodecConfig.allocation`; ``sensitivity``, which shares out by
the squared gradients of each client's last batches; ``size:EXPONENT:FLOOR`` for other shares
``max((n / n_max) ** EXPONENT, FLOOR)``. One run on Fashion-MNIST takes about two minutes.
"""

from __future__ import annotations

import argparse
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import product
from statistics import mean, stdev

import numpy as np
import torch
from numpy.typing import NDArray

import fl_deepcabac as dc
from fl_deepcabac.experiments.partition import partition_samples
from fl_deepcabac.experiments.tasks import Samples, Task, TaskData, TrainingPlan, get_task
from fl_deepcabac.experiments.training import initial_model, judge_model, train_model
from fl_deepcabac.feedback import Residual, carry_residual, find_residual

UNCOMPRESSED = "uncompressed"
N_JUDGED_ROUNDS = 3  # the last ones; accuracy under label skew jumps from round to round
LAST_BATCHES = 8
Weights = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Setting:
    """What all runs have in common."""

    task: Task
    data: TaskData
    plan: TrainingPlan
    n_clients: int
    n_rounds: int
    alpha: float


@dataclass
class Client:
    """One client's samples, its end of the stream, and what its packets have left out so far."""

    samples: Samples
    encoder: dc.UpdateEncoder | None
    residual: Residual = field(default_factory=dict)

    def send(self, update: Weights, sensitivity: dict[str, float] | None) -> tuple[Weights, int]:
        """Return the update as the server will see it, and the bytes it took."""
        if self.encoder is None:
            return update, sum(array.nbytes for array in update.values())
        encoded = self.encoder.encode(update, residual=self.residual, sensitivity=sensitivity)
        schema = self.encoder.schema
        carried = carry_residual(update, self.residual, schema)
        self.residual = find_residual(carried, encoded.decoded, schema)
        return encoded.decoded, len(encoded.packet)


@dataclass(frozen=True)
class Outcome:
    """Test accuracies (per cent) and losses of the last rounds, and the bytes of all of them."""

    accuracies: list[float]
    losses: list[float]
    uplink_bytes: int


def make_config(rule: str, rate: float, schema: dc.Schema) -> dc.CodecConfig | None:
    """Return the settings of a rule at a rate in bits per weight."""
    if rule == UNCOMPRESSED:
        return None
    kind, *numbers = rule.split(":")
    if not numbers:
        allocation = "uniform" if kind == "uniform" else "size"
        return dc.CodecConfig(target_bits_per_weight=rate, allocation=allocation)
    exponent, floor = map(float, numbers)
    largest = max(spec.n_elements for spec in schema.level_tensors)
    shares = {
        spec.name: max((spec.n_elements / largest) ** exponent, floor)
        for spec in schema.level_tensors
    }
    return dc.CodecConfig(target_bits_per_weight=rate, allocation="uniform", step_overrides=shares)


@contextmanager
def squared_gradients(model: torch.nn.Module) -> Iterator[dict[str, deque[float]]]:
    """Collect the mean squared gradient of each tensor while the model trains."""
    seen = {name: deque[float](maxlen=LAST_BATCHES) for name, _ in model.named_parameters()}
    hooks = [
        weights.register_post_accumulate_grad_hook(
            lambda weights, squares=seen[name]: squares.append(weights.grad.square().mean().item())
        )
        for name, weights in model.named_parameters()
    ]
    yield seen
    for hook in hooks:
        hook.remove()


def train_client(
    model: torch.nn.Module, start: Weights, client: Client, plan: TrainingPlan, seed: int
) -> tuple[Weights, dict[str, float]]:
    """Return a client's update and the sensitivity that it measured on the way."""
    load_weights(model, start)
    with squared_gradients(model) as seen:
        train_model(model, client.samples, plan=plan, seed=seed)
    update = {name: array.numpy() - start[name] for name, array in model.state_dict().items()}
    # A tensor whose gradients are all zero has learnt nothing, and leaves nothing to share out.
    sensitivity = {name: mean(squares) for name, squares in seen.items() if any(squares)}
    return update, sensitivity


def load_weights(model: torch.nn.Module, weights: Weights) -> None:
    """Copy the weights into the model."""
    model.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})


def run(setting: Setting, rule: str, rate: float, seed: int) -> Outcome:
    """Train once."""
    model = initial_model(setting.task.build_model, seed=seed)
    model = model.to(memory_format=torch.channels_last)  # a third faster on one thread
    weights = {name: array.numpy().copy() for name, array in model.state_dict().items()}
    schema = dc.Schema.from_arrays(weights)
    config = make_config(rule, rate, schema)
    labels = setting.data.train.labels.numpy()
    parts = partition_samples(labels, n_clients=setting.n_clients, alpha=setting.alpha, seed=seed)
    clients = [
        Client(setting.data.train.take(part), config and dc.UpdateEncoder(schema, config))
        for part in parts
    ]
    outcome = Outcome([], [], 0)
    for number in range(setting.n_rounds):
        total = {name: np.zeros_like(array, np.float64) for name, array in weights.items()}
        for place, client in enumerate(clients):
            order = seed * 1_000_003 + number * 1_009 + place
            update, sensitivity = train_client(model, weights, client, setting.plan, order)
            arrived, n_bytes = client.send(update, sensitivity if rule == "sensitivity" else None)
            outcome = replace(outcome, uplink_bytes=outcome.uplink_bytes + n_bytes)
            for name, array in arrived.items():
                total[name] += array * (len(client.samples) / len(labels))
        weights = {name: (weights[name] + total[name]).astype(np.float32) for name in weights}
        if number >= setting.n_rounds - N_JUDGED_ROUNDS:
            load_weights(model, weights)
            verdict = judge_model(model, setting.data.test)
            outcome.accuracies.append(100 * verdict.accuracy)
            outcome.losses.append(verdict.loss)
    return outcome


def print_summary(
    rule: str, rate: float, runs: dict[int, Outcome], plain: dict[int, float]
) -> None:
    """Print mean and spread over the seeds of one rule at one rate."""
    last = {seed: mean(outcome.accuracies) for seed, outcome in runs.items()}
    columns = {
        "final": [outcome.accuracies[-1] for outcome in runs.values()],
        "last three": list(last.values()),
        "loss": [mean(outcome.losses) for outcome in runs.values()],
        "above uniform": [last[seed] - plain[seed] for seed in last if seed in plain],
    }
    n_bytes = mean(outcome.uplink_bytes for outcome in runs.values())
    print(f"{rate:6.3f} {rule:<16}{n_bytes / 1e6:9.3f} MB", end="")
    for name, values in columns.items():
        if values:
            spread = f" +- {stdev(values):.3f}" if len(values) > 1 else ""
            print(f"  {name} {mean(values):.3f}{spread}", end="")
    print(flush=True)


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--task", default="fashion-mnist", choices=["fashion-mnist", "digits"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rounds", type=int, default=24)
    parser.add_argument("--rates", type=float, nargs="+", default=[0.03, 0.06, 0.12])
    parser.add_argument("--rules", nargs="+", default=["uniform", "size", "sensitivity"])
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--steps", type=int, default=24, help="batches of 32 a client and round")
    parser.add_argument("--alpha", type=float, default=0.5, help="Dirichlet label skew")
    return parser.parse_args()


def main() -> None:
    """Print one line a run, then one a rate and rule."""
    arguments = parse_arguments()
    torch.set_num_threads(1)
    task = get_task(arguments.task)
    plan = replace(task.plan, max_steps=arguments.steps, batch_size=32)
    setting = Setting(
        task, task.load_data(None), plan, arguments.clients, arguments.rounds, arguments.alpha
    )
    rules = [(0.0, UNCOMPRESSED), *product(arguments.rates, arguments.rules)]
    found: dict[tuple[float, str], dict[int, Outcome]] = {key: {} for key in rules}
    for seed, (rate, rule) in product(arguments.seeds, rules):
        outcome = run(setting, rule, rate, seed)
        found[rate, rule][seed] = outcome
        print(f"seed {seed}", end=" ")
        print_summary(rule, rate, {seed: outcome}, {})
    print()
    for (rate, rule), runs in found.items():
        uniform = found.get((rate, "uniform"), {}) if rule != "uniform" else {}
        plain = {seed: mean(outcome.accuracies) for seed, outcome in uniform.items()}
        print_summary(rule, rate, runs, plain)


if __name__ == "__main__":
    main()
