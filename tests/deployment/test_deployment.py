# SPDX-License-Identifier: Apache-2.0
"""Real processes, TLS and keys: a SuperNode and then the ServerApp are killed, training goes on.

Three runs, of some three minutes together, which all tests below read. Between rounds 2 and 3 the
ServerApp waits while one of two SuperNodes is killed and started again with the same key: it keeps
its id and has forgotten everything else, the one case where names alone would mislead a codec. The
second run goes on from the checkpoint of the first, and its ServerApp dies; so the third goes on.
`docs/deployment.md` does the same by hand.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from deployment.credentials import write_node_files, write_server_files
from deployment.federation import Federation, OutOfTimeError, free_ports, is_listening
from deployment.supernode import SuperNode

# The second is a net under the first, which knows what it was waiting for.
LIMIT_SECONDS = 390.0
pytestmark = [pytest.mark.deployment, pytest.mark.timeout(420, method="signal")]

N_ROUNDS = 4
PAUSE_AFTER = 2
# Of the second run, and of the third.
DIE_AFTER, N_ROUNDS_IN_ALL = 5, 6
STAYS, FORGETS = "node0", "node1"
APP = Path(__file__).parent / "app"

# Flower gives an app process 30 s to start, then starts another beside it; on a machine that takes
# longer, processes pile up and no run ends. An app imports what is timed here, and with company.
MAX_IMPORT_SECONDS = 8.0
# With a load of 11 on 2 cores the run took 125 s and an import 1 s.
MAX_LOAD_PER_CORE = 8.0
MAX_SUPERLINK_SECONDS = 45.0

# `network-traffic` of `flwr list` counts Flower's objects and protobuf messages, the ledger's
# packet bytes only arrays and packets. Between them, for one message and its reply, stand trees of
# object ids, metadata, settings, metrics, and going down an .npy header of 128 bytes for each of
# 4 arrays. Measured with flwr 1.41, run after run: 1.5 kB up and 3.7 kB down.
MAX_ENVELOPE_UP = 2_500
MAX_ENVELOPE_DOWN = 5_000
# The ledger's wire bytes hold HTTP headers as well: 0.2 to 2.5 % of large payloads with a counting
# proxy, here 0.45 % of a downlink of models. Packets going up are small beside their headers, so
# that wire bytes are no more than an upper bound there.
MAX_HEADERS_OF_DOWNLINK = 0.025


@dataclass(frozen=True)
class Finished:
    """What is left of a run."""

    rows: list[dict[str, Any]]
    losses: list[float]
    listed: dict[str, Any]
    node_ids: dict[str, int]
    ids_said: dict[str, list[str]]
    statuses: list[str]
    resumed_rows: list[dict[str, Any]]
    resumed_losses: list[float]

    def codings(self, name: str) -> list[str]:
        rows = [row for row in self.rows if row["node_id"] == self.node_ids[name]]
        return [row["coding"] for row in sorted(rows, key=lambda row: int(row["server_round"]))]

    def total(self, key: str) -> int:
        return sum(int(row[key]) for row in self.rows)

    def traffic(self, key: str) -> int:
        return int(self.listed["network-traffic"][key])

    def comparison(self) -> str:
        """Put the three counts side by side."""
        lines = [f"{'bytes':9}{'packets':>12}{'flwr list':>12}{'wire':>12}"]
        for way, key in (("uplink", "inbound-bytes"), ("downlink", "outbound-bytes")):
            packets, wire = self.total(f"{way}_packet_bytes"), self.total(f"{way}_wire_bytes")
            lines.append(f"{way:9}{packets:12,}{self.traffic(key):12,}{wire:12,}")
        return "\n".join(lines)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    _skip_if_starved()
    folder = tmp_path_factory.mktemp("deployment")
    with Federation(folder, seconds=LIMIT_SECONDS) as federation:
        finished = _run_with_a_restart(federation)
    assert federation.descendants() == []
    # For `pytest -rP`, which `make test-deployment` uses.
    sys.stderr.write("\n".join([*federation.events, finished.comparison(), ""]))
    return finished


def _skip_if_starved() -> None:
    """Skip where Flower itself could not work, and say what was measured."""
    n_cores = os.cpu_count() or 1
    load = os.getloadavg()[0]
    if load > MAX_LOAD_PER_CORE * n_cores:
        pytest.skip(
            f"starved machine: load {load:.1f} on {n_cores} cores, expected at most "
            f"{MAX_LOAD_PER_CORE:g} a core"
        )
    began = time.monotonic()
    imports = "import flwr.clientapp, flwr.serverapp.strategy, fl_deepcabac.flower"
    with contextlib.suppress(subprocess.TimeoutExpired):  # then it took as long as it was given
        subprocess.run([sys.executable, "-c", imports], timeout=4 * MAX_IMPORT_SECONDS, check=True)
    if (seconds := time.monotonic() - began) > MAX_IMPORT_SECONDS:
        pytest.skip(
            f"starved machine: a process took {seconds:.1f} s to import Flower, expected at most "
            f"{MAX_IMPORT_SECONDS:g} s (load {load:.1f} on {n_cores} cores)"
        )


def _run_with_a_restart(federation: Federation) -> Finished:
    folder = federation.folder
    port, *node_ports = free_ports(3)
    _start_superlink(federation, port)
    nodes = [
        SuperNode(federation, write_node_files(folder, name), superlink_port=port, port=own_port)
        for name, own_port in zip((STAYS, FORGETS), node_ports, strict=True)
    ]
    for node in nodes:
        node.register()
        node.start()
    app = folder / "app"
    shutil.copytree(APP, app, ignore=shutil.ignore_patterns("__pycache__"))
    settings = f"pause-after-round={PAUSE_AFTER} num-server-rounds={N_ROUNDS}"
    _start_run(federation, settings)
    federation.wait_until(f"round {PAUSE_AFTER} to end", (folder / "paused").exists)

    federation.kill(FORGETS)
    nodes[-1].start_until_let_in()
    (folder / "resume").touch()

    assert federation.finish("run") == 0
    [listed] = federation.call("flwr", "list", "tls", "--format=json")["runs"]
    assert listed["status"] == "finished:completed", listed
    rows, losses = _what_is_left(folder)
    for settings in (f"die-after-round={DIE_AFTER}", ""):
        _start_run(federation, f"num-server-rounds={N_ROUNDS_IN_ALL} {settings}")
        federation.finish("run")
    runs = federation.call("flwr", "list", "tls", "--format=json")["runs"]
    resumed_rows, resumed_losses = _what_is_left(folder)
    return Finished(
        rows=rows,
        losses=losses,
        listed=listed,
        node_ids={node.name: node.registered_id for node in nodes},
        ids_said={node.name: node.ids_said() for node in nodes},
        statuses=[each["status"] for each in sorted(runs, key=lambda run: run["pending-at"])],
        resumed_rows=resumed_rows,
        resumed_losses=resumed_losses,
    )


def _start_run(federation: Federation, settings: str) -> None:
    settings = f"folder='{federation.folder}' {settings}"
    app = federation.folder / "app"
    federation.start("run", "flwr", "run", app, "tls", "--stream", "--run-config", settings)


def _what_is_left(folder: Path) -> tuple[list[dict[str, Any]], list[float]]:
    """Return the rows of the ledger and the losses that the last run has left."""
    ledger = (folder / "ledger.jsonl").read_text(encoding="utf-8")
    losses = json.loads((folder / "losses.json").read_text(encoding="utf-8"))
    return [json.loads(line) for line in ledger.splitlines()], losses


def _start_superlink(federation: Federation, port: int) -> None:
    files = write_server_files(federation.folder)
    # A JSON string is a TOML string.
    (federation.home / "config.toml").write_text(
        f'[superlink.tls]\naddress = "127.0.0.1:{port}"\n'
        f"root-certificates = {json.dumps(str(files.authority))}\n",
        encoding="utf-8",
    )
    federation.start(
        "superlink",
        "flower-superlink",
        *("--ssl-ca-certfile", files.authority),
        *("--ssl-certfile", files.certificate, "--ssl-keyfile", files.key),
        "--enable-supernode-auth",
        *("--host", "127.0.0.1", "--port", str(port)),
    )
    try:
        federation.wait_until(
            "the SuperLink to listen", lambda: is_listening(port), seconds=MAX_SUPERLINK_SECONDS
        )
    except OutOfTimeError as error:
        # It lives and does not come to it; had it ended, that would be another error.
        pytest.skip(f"starved machine: {error}")


def test_every_update_of_every_round_is_usable(run: Finished) -> None:
    found = {(row["server_round"], row["node_id"]): row["failure"] for row in run.rows}
    rounds = range(1, N_ROUNDS + 1)
    assert found == {(r, node_id): None for r in rounds for node_id in run.node_ids.values()}
    assert len(run.rows) == 2 * N_ROUNDS


def test_training_goes_on(run: Finished) -> None:
    assert len(run.losses) == N_ROUNDS + 1
    assert run.losses == sorted(run.losses, reverse=True)
    assert run.losses[-1] < 0.2 * run.losses[0]


def test_restarted_node_has_the_same_id(run: Finished) -> None:
    assert run.ids_said == {
        STAYS: [str(run.node_ids[STAYS])],
        FORGETS: [str(run.node_ids[FORGETS])] * 2,
    }


def test_node_that_forgot_starts_fresh_and_heals(run: Finished) -> None:
    assert run.codings(STAYS) == ["fresh", "warm", "warm", "warm"]
    assert run.codings(FORGETS) == ["fresh", "warm", "fresh", "warm"]


def test_totals_agree_with_flower(run: Finished) -> None:
    # From below, packets, over what Flower counts, to the estimated wire above; both ways.
    up, down = run.traffic("inbound-bytes"), run.traffic("outbound-bytes")
    n_exchanges = len(run.rows)
    assert 0 < up - run.total("uplink_packet_bytes") < MAX_ENVELOPE_UP * n_exchanges
    assert 0 < down - run.total("downlink_packet_bytes") < MAX_ENVELOPE_DOWN * n_exchanges
    assert up < run.total("uplink_wire_bytes")
    assert 0 < run.total("downlink_wire_bytes") - down < MAX_HEADERS_OF_DOWNLINK * down


def test_killed_server_goes_on_from_its_checkpoint(run: Finished) -> None:
    assert [status.startswith("finished:completed") for status in run.statuses] == [
        True,
        False,
        True,
    ]
    # One ledger of three runs; what nodes knew ended with each run, what the server knew did not.
    rows = run.resumed_rows
    assert rows[: len(run.rows)] == run.rows
    found = [(row["server_round"], row["coding"], row["failure"]) for row in rows[len(run.rows) :]]
    assert found == [(r, "fresh", None) for r in (5, 5, 6, 6)]
    # The third run began with the model of the fifth round, and dying cost none.
    assert len(run.resumed_losses) == 2
    assert run.losses[-1] > run.resumed_losses[0] > run.resumed_losses[1]
