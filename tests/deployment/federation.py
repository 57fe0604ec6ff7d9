# SPDX-License-Identifier: Apache-2.0
"""Flower's processes on loopback: started, watched, killed, and gone when the block is left.

Invariant: only processes that this object started are ended, by their ids. Each command leads a
process group of its own; what left its group (the SuperLink's SuperExec does) is found by
FLWR_HOME, which names this object's own folder in the environment that all of them inherit.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

LOG_TAIL_CHARS = 6_000
# SuperExecs retry for some seconds when their SuperLink goes first, which it does not here.
GRACE_SECONDS = 8.0
POLL_SECONDS = 0.2


class OutOfTimeError(AssertionError):
    """Something expected has not happened in time."""


class Federation:
    """A folder, the processes that work in it, and the time they have.

    Parameters
    ----------
    folder : Path
        Empty; keys, logs and Flower's own files go in here.
    seconds : float
        From now on, for everything; starting, waiting and calling fail after that.
    """

    def __init__(self, folder: Path, *, seconds: float) -> None:
        self.folder = folder
        self.logs = folder / "logs"
        self.home = folder / "flwr"
        self.began = time.monotonic()
        self.deadline = self.began + seconds
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.events: list[str] = []
        for path in (self.logs, self.home):
            path.mkdir()
        self.environment = {
            **os.environ,
            # SuperLink and SuperNode start flower-superexec by name.
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
            "FLWR_HOME": str(self.home),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            # Otherwise each run gets a new environment, from the package index.
            "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
            "PYTHONUNBUFFERED": "1",
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()
        if error is not None:
            # Captured by pytest, which shows it with the failure, whatever kind that is.
            sys.stderr.write(self.report())

    def start(self, name: str, *command: str | Path) -> subprocess.Popen[bytes]:
        """Start a command in a group of its own; its output is appended to the log `name`."""
        self.note(f"start {name}")
        with self.log(name).open("ab") as log:
            self.running[name] = subprocess.Popen(
                [str(part) for part in command],
                env=self.environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self.running[name]

    def call(self, *command: str | Path) -> dict[str, Any]:
        """Run a command to its end and parse what it prints, one JSON object."""
        finished = subprocess.run(
            [str(part) for part in command],
            env=self.environment,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=max(1.0, self.deadline - time.monotonic()),
            check=False,
        )
        text = " ".join(str(part) for part in command)
        self.note(f"ran {text}: status {finished.returncode}")
        if finished.returncode != 0:
            raise AssertionError(f"{text}: {finished.stdout[-2000:]}{finished.stderr[-2000:]}")
        found = json.loads(finished.stdout)
        assert isinstance(found, dict), finished.stdout
        return found

    def wait_until(
        self, what: str, is_so: Callable[[], object], *, seconds: float = float("inf")
    ) -> None:
        """Wait for `is_so`, while all processes live and there is time.

        Raises
        ------
        OutOfTimeError
            If it is not so after `seconds`, or when the time of the federation is over.
        AssertionError
            If a process ended meanwhile that was started to stay.
        """
        began = time.monotonic()
        limit = min(began + seconds, self.deadline)
        while not is_so():
            for name, process in self.running.items():
                if process.poll() is not None:
                    raise AssertionError(
                        f"expected {what}, found that {name} ended with status {process.returncode}"
                    )
            if time.monotonic() > limit:
                raise OutOfTimeError(
                    f"expected {what}, waited {limit - began:.0f} s; load {os.getloadavg()[0]:.1f}"
                )
            time.sleep(POLL_SECONDS)
        self.note(what)

    def finish(self, name: str) -> int:
        """Wait until a process ends by itself; return its status."""
        process = self.running[name]
        self.wait_until(f"{name} to end", lambda: self.has_ended(name))
        return process.returncode

    def has_ended(self, name: str) -> bool:
        """Say whether a process ended by itself; if so, it is no longer expected to stay."""
        process = self.running.get(name)
        if process is not None and process.poll() is not None:
            # What it may have left behind in its group.
            _signal_group(process, signal.SIGKILL)
            del self.running[name]
        return name not in self.running

    def kill(self, name: str) -> None:
        """End a process and all that it started, as a power cut would."""
        process = self.running.pop(name)
        _signal_group(process, signal.SIGKILL)
        process.wait(GRACE_SECONDS)
        self.note(f"killed {name}")

    def end(self) -> None:
        """End everything: politely, last started first, then by force."""
        processes = list(self.running.values())
        self.running.clear()
        for process in reversed(processes):
            _signal_group(process, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(GRACE_SECONDS)
        for process in processes:
            _signal_group(process, signal.SIGKILL)
            process.wait(GRACE_SECONDS)
        limit = time.monotonic() + GRACE_SECONDS
        while (left := self.descendants()) and time.monotonic() < limit:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(POLL_SECONDS)
        self.note("ended")

    def descendants(self) -> list[int]:
        """List the processes that have this object's FLWR_HOME; Linux only, elsewhere none."""
        mark = f"FLWR_HOME={self.home}".encode()
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            # Gone meanwhile, or somebody else's.
            with contextlib.suppress(OSError):
                if mark in path.read_bytes().split(b"\0"):
                    found.append(int(path.parent.name))
        return found

    def log(self, name: str) -> Path:
        """Return where the output of `name` goes."""
        return self.logs / f"{name}.log"

    def said(self, name: str, pattern: str) -> list[str]:
        """Return what a pattern's only group matched in a log so far."""
        return re.findall(pattern, self.log(name).read_text(encoding="utf-8", errors="replace"))

    def note(self, event: str) -> None:
        """Write down when something happened."""
        self.events.append(f"{time.monotonic() - self.began:6.1f} s  {event}")

    def report(self) -> str:
        """Tell the story so far, with the end of each log."""
        parts = ["== events", *self.events]
        for path in sorted(self.logs.iterdir()):
            text = path.read_text(encoding="utf-8", errors="replace")
            parts += [f"== {path.name}", text[-LOG_TAIL_CHARS:]]
        return "\n".join(parts) + "\n"


def free_ports(n: int) -> list[int]:
    """Find ports on loopback that nobody listens on, all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def is_listening(port: int) -> bool:
    """Say whether somebody accepts connections there."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    # The group's id stays taken while any member lives, even after its leader has been waited for;
    # when it is free again there is nobody to signal, and nobody else got it in these few seconds.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
