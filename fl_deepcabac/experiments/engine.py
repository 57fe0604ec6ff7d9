# SPDX-License-Identifier: Apache-2.0
"""Flower's simulation engine, run quietly and to an end.

`simulate` is one call of ``flwr.simulation.run_simulation`` with Ray: the server app runs in a
thread of this process, the clients in worker processes. Invariant: nothing the engine says is lost,
it goes to the log; and whatever ends a run, also Ctrl-C or a crash of the engine, ends the server's
thread.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Protocol

from flwr.app import Context
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.simulation import run_simulation

__all__ = ["Engine", "available_cores", "engine_log", "simulate"]

ENGINE_LOGGERS = ("flwr", "ray", "fl_deepcabac")


class Engine(Protocol):
    """What runs a server function and its clients to the end; `simulate` is one."""

    def __call__(
        self,
        serve: Callable[[Grid], None],
        client_app: ClientApp,
        *,
        n_nodes: int,
        n_workers: int,
        stop: threading.Event,
    ) -> None:
        """Run; see `simulate`."""


def available_cores() -> int:
    """Return the number of processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def simulate(
    serve: Callable[[Grid], None],
    client_app: ClientApp,
    *,
    n_nodes: int,
    n_workers: int,
    stop: threading.Event,
) -> None:
    """Run a server function and its clients in Flower's simulation engine.

    Parameters
    ----------
    serve : callable
        Takes Flower's grid and returns when the training is over. Runs in a thread; what it raises
        is raised here.
    client_app : ClientApp
        Travels to the workers by Ray's serialisation.
    n_nodes : int
        Number of simulated nodes.
    n_workers : int
        Worker processes, one core each.
    stop : Event
        Set when the engine has ended, for whatever reason: `serve` must then return or raise.

    Raises
    ------
    RuntimeError
        If the engine itself fails.
    KeyboardInterrupt
        After Ctrl-C, once the clients at work have finished.
    """
    server_app = ServerApp()

    @server_app.main()
    def main(grid: Grid, context: Context) -> None:
        del context
        serve(grid)

    try:
        with _ctrl_c_sets(stop):
            run_simulation(
                server_app,
                client_app,
                num_supernodes=n_nodes,
                backend_config={
                    "init_args": {
                        "num_cpus": n_workers,
                        "include_dashboard": False,
                        "log_to_driver": False,
                        "configure_logging": False,
                        "logging_level": logging.ERROR,
                    },
                    "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
                },
            )
    finally:
        stop.set()


@contextmanager
def _ctrl_c_sets(stop: threading.Event) -> Iterator[None]:
    """Let Ctrl-C end the run in an orderly way, and raise KeyboardInterrupt once it has ended.

    An exception in the middle of Flower's engine would leave its threads waiting for Ray forever. A
    second Ctrl-C has its usual meaning. Threads other than the main one get no signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    is_interrupted = False

    def end_the_run(signal_number: int, frame: FrameType | None) -> None:
        nonlocal is_interrupted
        del signal_number, frame
        is_interrupted = True
        stop.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, end_the_run)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if is_interrupted:
            raise KeyboardInterrupt


class _WarningCollector(logging.Handler):
    """Keeps the text of warnings and errors."""

    def __init__(self, warnings: list[str]) -> None:
        super().__init__(level=logging.WARNING)
        self._warnings = warnings

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one."""
        self._warnings.append(record.getMessage())


@contextmanager
def engine_log(path: Path | None) -> Iterator[list[str]]:
    """Send what the engine logs to a file instead of the terminal.

    Parameters
    ----------
    path : Path, optional
        Appended to. None leaves logging as it is.

    Yields
    ------
    list of str
        Warnings of this package, filled as they come: they are for the user, not for the log alone.
    """
    warnings: list[str] = []
    collector = _WarningCollector(warnings)
    handlers: list[logging.Handler] = []
    if path is not None:
        handlers.append(logging.FileHandler(path, encoding="utf-8"))
        handlers[0].setLevel(logging.INFO)
        handlers[0].setFormatter(
            logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
        )
    loggers = [logging.getLogger(name) for name in ENGINE_LOGGERS]
    before = [(logger, list(logger.handlers), logger.propagate) for logger in loggers]
    try:
        for logger in loggers if path is not None else []:
            logger.handlers[:] = handlers
            logger.propagate = False
        loggers[-1].addHandler(collector)
        yield warnings
    finally:
        for logger, old_handlers, propagate in before:
            logger.handlers[:] = old_handlers
            logger.propagate = propagate
        for handler in handlers:
            handler.close()
