# SPDX-License-Identifier: Apache-2.0
"""Peak memory of the server process: FedAvg over many nodes, with and without a state budget.

Each case is a process of its own, so that its peak is its own. Nodes are simulated by another
process, which codes a handful of distinct streams and gives their packets to many nodes each; every
packet arrives as bytes of its own, as it would from Flower, whose transport is not measured. Linux
only: the peak is VmHWM of /proc/self/status, from the start of the run on.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import subprocess
import sys
import tempfile
import time
import uuid
import zlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg
from flwr.supercore.task_identity import TaskIdentity
from synthetic import make_stream

import fl_deepcabac as dc
from fl_deepcabac.codec import encode_update
from fl_deepcabac.flower import DeepCABACStrategy, replies
from fl_deepcabac.flower.records import FRESH_TOKEN, parse_settings, settings_of, write_update
from fl_deepcabac.flower.saved_state import SavedState
from fl_deepcabac.stream import StreamState

MODEL = "5M"
N_STREAMS = 4
CASES = ("no limit", "dropped", "spilled")
MB = 1e6


def simulate_nodes(connection: Connection, n_rounds: int, config_json: str) -> None:
    """Answer requests of stream, round and token with packets until the other end closes."""
    config = dc.CodecConfig.from_json(config_json)
    streams = [make_stream(MODEL, n_rounds, seed=1 + i) for i in range(N_STREAMS)]
    schema = dc.Schema.from_arrays(streams[0][0])
    states = {FRESH_TOKEN: StreamState.fresh(schema, config.profile).to_bytes()}

    @cache
    def code(stream: int, server_round: int, token: bytes) -> bytes:
        state = StreamState.from_bytes(states[token], schema, config.profile)
        update = streams[stream][server_round - 1]
        encoded = encode_update(update, schema=schema, config=config, state=state)
        states[encoded.state.digest] = encoded.state.to_bytes()
        return encoded.packet

    while request := connection.recv_bytes():
        stream, server_round, token = json.loads(request)
        connection.send_bytes(code(stream, server_round, bytes.fromhex(token)))


class PacketGrid:
    """What a strategy asks of a Grid; the nodes live in another process.

    Parameters
    ----------
    n_nodes : int
    connection : Connection
        To `simulate_nodes`.
    """

    def __init__(self, n_nodes: int, connection: Connection) -> None:
        self._node_ids = list(range(1, 1 + n_nodes))
        self._connection = connection

    def get_node_ids(self) -> Iterable[int]:
        """Return the ids of all nodes."""
        return self._node_ids

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Return one reply per message."""
        del timeout
        return [self._answer(message) for message in messages]

    def _answer(self, message: Message) -> Message:
        message.metadata.__dict__["_message_id"] = str(uuid.uuid4())
        record = settings_of(message.content)
        assert record is not None
        settings = parse_settings(record)
        assert settings is not None
        stream = message.metadata.dst_node_id % N_STREAMS
        request = [stream, record["server-round"], settings[1].hex()]
        self._connection.send_bytes(json.dumps(request).encode())
        packet = self._connection.recv_bytes()
        update = write_update(packet, answers=message.metadata, encode_seconds=0.0)
        metrics = MetricRecord({"num-examples": 1})
        return Message(RecordDict({"arrays": update, "metrics": metrics}), reply_to=message)


def be_a_server() -> None:
    """Be the ServerApp of a run: Message() asks Flower's private TaskIdentity who is sending."""
    for name in ("_run_id", "_node_id", "_task_id"):
        setattr(TaskIdentity, name, 1)


def process_bytes(field: str) -> int:
    """Return a memory figure of this process, ``VmRSS`` or ``VmHWM``."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{field}:"):
            return 1024 * int(line.split()[1])
    raise RuntimeError(f"expected {field} in /proc/self/status, found none")


def make_strategy(case: str, n_nodes: int, budget: int, directory: str) -> DeepCABACStrategy:
    """Return the strategy of one case."""
    settings: dict[str, Any] = {}
    if case != "no limit":
        settings["state_budget_bytes"] = budget
    if case == "spilled":
        settings["spill_directory"] = directory
    nodes = {"min_train_nodes": n_nodes, "min_available_nodes": n_nodes}
    inner = FedAvg(fraction_evaluate=0.0, **nodes)
    return DeepCABACStrategy(inner, dc.CodecConfig(), **settings)


def run_case(case: str, *, n_nodes: int, n_rounds: int, budget: int) -> dict[str, Any]:
    """Run one case in this process and return its figures."""
    be_a_server()
    logging.getLogger("flwr").setLevel(logging.ERROR)
    config = dc.CodecConfig()
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    nodes = spawn.Process(target=simulate_nodes, args=(theirs, n_rounds, config.to_json()))
    nodes.start()
    model = {name: array * 10 for name, array in make_stream(MODEL, 1)[0].items()}
    arrays = ArrayRecord({name: Array(array) for name, array in model.items()})
    model_bytes = sum(array.nbytes for array in model.values())
    del model
    with tempfile.TemporaryDirectory() as directory:
        strategy = make_strategy(case, n_nodes, budget, directory)
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forgets the peak so far
        before, begin = process_bytes("VmRSS"), time.perf_counter()
        strategy.start(PacketGrid(n_nodes, ours), arrays, num_rounds=n_rounds)
        seconds = time.perf_counter() - begin
        on_disk = sum(f.stat().st_size for f in Path(directory).rglob("*") if f.is_file())
    ours.send_bytes(b"")
    nodes.join()
    ledger = strategy.communication
    assert ledger.totals.failures == 0
    return {
        "case": case,
        "before": before,
        "peak": process_bytes("VmHWM"),
        "model": model_bytes,
        "states": strategy._codec_endpoint.states.n_bytes,
        "on_disk": on_disk,
        "packets": max(record.totals().uplink_packet_bytes for record in ledger.rounds),
        "warm": [record.totals().warm for record in ledger.rounds],
        "seconds_a_round": seconds / n_rounds,
    }


def gains(*calls: Callable[[int], None]) -> list[float]:
    """Return how much faster each call is on two threads than on one, by the best of three each.

    The calls take turns, so that what else the machine does meets all of them.
    """
    best = {(call, n_threads): float("inf") for call in calls for n_threads in (1, 2)}
    for call, n_threads in list(best) * 3:
        begin = time.perf_counter()
        call(n_threads)
        best[call, n_threads] = min(best[call, n_threads], time.perf_counter() - begin)
    return [best[call, 1] / best[call, 2] for call in calls]


def measure_threads(n_replies: int = 16) -> list[float]:
    """Return what a second thread gains in checking replies, and in checksums beside it.

    A checksum is known to release the GIL: it tells how much of a second core there is to be had.
    """
    be_a_server()
    [update] = make_stream(MODEL, 1)
    schema, config = dc.Schema.from_arrays(update), dc.CodecConfig()
    state = StreamState.fresh(schema, config.profile)
    first = encode_update(update, schema=schema, config=config, state=state)
    second = encode_update(update, schema=schema, config=config, state=first.state)
    message = Message(RecordDict(), dst_node_id=1, message_type="train")
    record = write_update(second.packet, answers=message.metadata, encode_seconds=0.0)
    content = RecordDict({"arrays": record})
    instruction = replies.Instruction(message, Any, schema, SavedState.of(first.state))
    pairs = [(Message(content, reply_to=message), instruction)] * n_replies

    def check(n_threads: int) -> None:
        replies.MAX_CHECKS_AT_ONCE = n_threads
        for verdict in replies.check_replies(pairs, config.profile):
            assert isinstance(verdict, replies.CheckedPacket)

    def checksum(n_threads: int) -> None:
        with ThreadPoolExecutor(n_threads) as pool:
            list(pool.map(zlib.crc32, [bytes(30_000_000)] * 400))

    return gains(check, checksum)


def print_row(figures: dict[str, Any]) -> None:
    """Print one case as a row of a table; memory in MB."""
    columns = [
        figures["case"],
        f"{figures['peak'] / MB:.0f}",
        f"{(figures['peak'] - figures['before']) / MB:.0f}",
        f"{figures['states'] / MB:.0f}",
        f"{figures['on_disk'] / MB:.0f}",
        f"{figures['packets'] / MB:.0f}",
        ", ".join(map(str, figures["warm"])),
        f"{figures['seconds_a_round']:.0f}",
    ]
    print("| " + " | ".join(columns) + " |", flush=True)


def main() -> None:
    """Measure all cases, or one in this process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--budget", type=int, default=200_000_000, help="bytes")
    parser.add_argument("--case", choices=CASES, help="measure this one here, print JSON")
    arguments = parser.parse_args()
    settings = {
        "n_nodes": arguments.nodes,
        "n_rounds": arguments.rounds,
        "budget": arguments.budget,
    }
    if arguments.case:
        print(json.dumps(run_case(arguments.case, **settings)))
        return
    print(
        f"{arguments.nodes} nodes, {arguments.rounds} rounds, budget {arguments.budget / MB:.0f};"
        " MB are 10^6 bytes"
    )
    print(
        "| states | peak | added by the run | states in memory | on disk | packets of a round "
        "| warm, round by round | s a round |"
    )
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for case in CASES:
        command = [sys.executable, __file__, *sys.argv[1:], "--case", case]
        answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        figures = json.loads(answer.stdout)
        print_row(figures)
    print(f"one model: {figures['model'] / MB:.0f}")
    checks, checksums = measure_threads()
    print(f"replies checked on two threads: {checks:.2f} times as fast; checksums: {checksums:.2f}")


if __name__ == "__main__":
    main()
