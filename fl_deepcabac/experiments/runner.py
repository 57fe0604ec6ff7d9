# SPDX-License-Identifier: Apache-2.0
"""One federated run from settings and codec to rows: `run_federated`.

The straight line: load and share out the data, build the model, start the engine; on the server,
ask each node which part it holds, let the strategy run, and write one row per round. Invariant: two
runs with equal settings differ only in what their codecs do to the updates.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid

from fl_deepcabac.errors import DeepCabacError
from fl_deepcabac.experiments.base_weights import starting_model
from fl_deepcabac.experiments.client import (
    SETTINGS_KEY,
    build_client_app,
    load_partitioned,
    task_of,
)
from fl_deepcabac.experiments.codecs import CodecCost, UpdateCodec
from fl_deepcabac.experiments.engine import Engine, available_cores, engine_log, simulate
from fl_deepcabac.experiments.recording import RoundFacts, make_row
from fl_deepcabac.experiments.rows import RoundRow
from fl_deepcabac.experiments.settings import RunSettings
from fl_deepcabac.experiments.strategies import RepeatableStrategy, build_strategy
from fl_deepcabac.experiments.tasks import TaskData
from fl_deepcabac.experiments.traffic import MeteredGrid
from fl_deepcabac.experiments.training import judge_model
from fl_deepcabac.experiments.travelling import load_travelling, travelling_weights
from fl_deepcabac.flower.ledger import RoundRecord

__all__ = ["RunObserver", "RunResult", "SimulationError", "run_federated"]


# Characters of a failure that go into a message, from its beginning and from its end.
REASON_PART = 120

_LOGGER = logging.getLogger("fl_deepcabac")


class SimulationError(DeepCabacError, RuntimeError):
    """A run ended before its last round."""


class RunObserver(Protocol):
    """Hears how a run proceeds, from the server's thread."""

    def on_reply(self, phase: str, arrived: int, asked: int) -> None:
        """Hear that another client has replied; the phase is ``"train"`` or ``"evaluate"``."""

    def on_round(self, row: RoundRow) -> None:
        """Hear that a round is over."""


@dataclass(frozen=True)
class RunResult:
    """What a run yields.

    Parameters
    ----------
    label : str
        As in its rows.
    rows : list of RoundRow
        One per round.
    warnings : list of str
        What the package warned of.
    seconds : float
        Wall time, start of the engine included.
    weights : dict of str to ndarray
        The final global model, without what is frozen in it.
    """

    label: str
    rows: list[RoundRow] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    seconds: float = 0.0
    weights: dict[str, np.ndarray[Any, Any]] = field(default_factory=dict)


def run_federated(
    settings: RunSettings,
    codec: UpdateCodec,
    *,
    label: str | None = None,
    observer: RunObserver | None = None,
    log_path: Path | None = None,
    engine: Engine = simulate,
) -> RunResult:
    """Train a model with simulated clients whose updates travel through a codec.

    Parameters
    ----------
    settings : RunSettings
        Everything but the codec.
    codec : UpdateCodec
        How updates travel.
    label : str, optional
        Name of the run in its rows; the name of the codec by default.
    observer : RunObserver, optional
        Hears of every reply and round.
    log_path : Path, optional
        Where the engine's log goes; None leaves logging as it is.
    engine : Engine
        What runs the server's function and the clients; Flower's simulation by default.

    Returns
    -------
    RunResult

    Raises
    ------
    DataFileError
        If a file of the task is missing or broken.
    SettingsError
        If the task has no such model, or cannot be shared out in that way between so many clients.
    SimulationError
        If the engine failed, or no client's update was usable in some round.

    Notes
    -----
    The calling thread is busy until the end; `observer` is called from another. One run at a time
    per process, since Flower keeps the identity of a run in the process.
    """
    started = time.monotonic()
    data, _ = load_partitioned(settings)
    stop = threading.Event()
    server = _Server(settings, codec, label or codec.name, data, observer, stop)
    with engine_log(log_path) as warnings:
        try:
            engine(
                server.serve,
                build_client_app(codec.client_mods()),
                n_nodes=settings.clients,
                n_workers=min(
                    settings.workers or available_cores(),
                    max(settings.cohort_size, settings.jury_size),
                ),
                stop=stop,
            )
        except DeepCabacError:
            raise
        except Exception as error:
            _LOGGER.exception("the run ended early")
            cause = error.__cause__ or error
            raise SimulationError(f"expected the run to go on, found: {cause}") from error
    return RunResult(
        label=server.label,
        rows=server.rows,
        warnings=warnings,
        seconds=time.monotonic() - started,
        weights=server.weights,
    )


class _Server:
    """The server's side of one run; `serve` is its thread."""

    def __init__(
        self,
        settings: RunSettings,
        codec: UpdateCodec,
        label: str,
        data: TaskData,
        observer: RunObserver | None,
        stop: threading.Event,
    ) -> None:
        self.label = label
        self.rows: list[RoundRow] = []
        self.weights: dict[str, np.ndarray[Any, Any]] = {}
        self._settings = settings
        self._codec = codec
        self._test_samples = data.test
        self._observer = observer
        self._stop = stop
        self._model = starting_model(task_of(settings), data, settings)

    def serve(self, grid: Grid) -> None:
        """Train from the first round to the last."""
        arrays = ArrayRecord(travelling_weights(self._model))
        metered = MeteredGrid(
            grid,
            model_bytes=sum(array.numpy().nbytes for array in arrays.values()),
            stop=self._stop,
            on_reply=self._on_reply,
        )
        nodes = metered.wait_for_nodes(self._settings.clients)
        repeatable = RepeatableStrategy(
            build_strategy(self._settings),
            settings=self._settings,
            client_of_node=_ask_partitions(metered, nodes, self._config()),
        )
        strategy = self._codec.wrap(repeatable)
        round_started = time.monotonic()

        def finish_round(server_round: int, arrays: ArrayRecord) -> None:
            """Record the round that is over, if any, and open the next."""
            nonlocal round_started
            if server_round > 0:
                cost = self._codec.round_cost(strategy, server_round)
                seconds = time.monotonic() - round_started
                self._record_round(metered.ledger.rounds[-1], cost, repeatable, arrays, seconds)
            metered.begin_round(server_round + 1)
            round_started = time.monotonic()

        strategy.start(
            metered,
            arrays,
            num_rounds=self._settings.rounds,
            train_config=self._config(),
            evaluate_config=self._config(),
            evaluate_fn=finish_round,
        )

    def _record_round(
        self,
        traffic: RoundRecord,
        cost: CodecCost,
        repeatable: RepeatableStrategy,
        arrays: ArrayRecord,
        seconds: float,
    ) -> None:
        """Judge the new global model and add the row of its round."""
        _require_usable_updates(traffic, cost)
        load_travelling(self._model, arrays.to_torch_state_dict())
        self.weights = {name: array.numpy() for name, array in arrays.items()}
        facts = RoundFacts(
            traffic=traffic,
            cost=cost,
            verdict=judge_model(self._model, self._test_samples),
            train_metrics=repeatable.train_metrics,
            client_metrics=repeatable.client_metrics,
            n_weights=sum(array.size for array in self.weights.values()),
            seconds=seconds,
        )
        row = make_row(self._settings, facts, label=self.label, codec=self._codec.name)
        self.rows.append(row)
        if self._observer is not None:
            self._observer.on_round(row)

    def _config(self) -> ConfigRecord:
        """Return the settings as the clients read them."""
        return ConfigRecord({SETTINGS_KEY: self._settings.to_json()})

    def _on_reply(self, phase: str, arrived: int, asked: int) -> None:
        """Pass progress on."""
        if self._observer is not None and phase in {MessageType.TRAIN, MessageType.EVALUATE}:
            self._observer.on_reply(phase, arrived, asked)


def _require_usable_updates(traffic: RoundRecord, cost: CodecCost) -> None:
    """End the run if a round has taught the model nothing."""
    train = [transfer for transfer in traffic.transfers if transfer.phase == "train"]
    failures = [transfer.failure for transfer in train if transfer.failure is not None]
    if max(len(failures), cost.failures) >= len(train):
        first = failures[0] if failures else "packets that do not decode"
        raise SimulationError(
            f"round {traffic.server_round}: expected at least one usable update, found none of "
            f"{len(train)}; the first failure: {_brief(first)}"
        )


def _ask_partitions(grid: MeteredGrid, node_ids: list[int], config: ConfigRecord) -> dict[int, int]:
    """Ask each node which part of the data it holds; its worker loads the data on the way."""
    content = RecordDict({"config": config})
    questions = [
        Message(content, message_type=MessageType.QUERY, dst_node_id=node_id)
        for node_id in node_ids
    ]
    client_of_node = {}
    for reply in grid.send_and_receive(questions):
        if reply.has_error():
            raise SimulationError(
                f"expected every client to answer, found a failure: {_brief(reply.error.reason)}"
            )
        answer = reply.content.config_records["node"]["partition-id"]
        client_of_node[reply.metadata.src_node_id] = int(str(answer))
    return client_of_node


def _brief(reason: str | None) -> str:
    """Leave beginning and end of what is often a traceback; all of it is in the log."""
    text = " ".join((reason or "no reason given").split())
    return (
        text if len(text) <= 2 * REASON_PART else f"{text[:REASON_PART]} ... {text[-REASON_PART:]}"
    )
