# SPDX-License-Identifier: Apache-2.0
"""Processes that are forked while threads are coding.

The core keeps nothing between calls that could be left half done, no thread, no lock and no memory
of its own, so they code as ever.
"""

from __future__ import annotations

import multiprocessing
import sys
import threading
from multiprocessing.connection import Connection

import numpy as np
import pytest

import fl_deepcabac as dc

pytestmark = pytest.mark.skipif(
    not hasattr(multiprocessing, "get_context") or sys.platform == "win32", reason="needs fork"
)
# Two chunks, so that the core uses threads of its own too.
SHAPE = (1100, 500)
CONFIG = dc.CodecConfig(step=0.5, threads=2)
N_CHILDREN = 4


def packets_of(seed: int) -> list[bytes]:
    """Return two packets of a stream, most of whose weights do not move."""
    rng = np.random.default_rng(seed)
    schema = dc.Schema.from_arrays({"w": np.zeros(SHAPE, np.float32)})
    encoder, decoder = dc.UpdateEncoder(schema, CONFIG), dc.UpdateDecoder(schema, CONFIG)
    packets = []
    for _ in range(2):
        update = np.zeros(SHAPE, np.float32)
        update[::50] = rng.standard_normal(update[::50].shape)
        packets.append(encoder.encode({"w": update}).packet)
        decoder.decode(packets[-1])
    assert decoder.state_digest == encoder.state_digest
    return packets


def code_in_child(connection: Connection, seed: int) -> None:
    connection.send(packets_of(seed))


@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_children_forked_while_threads_code_give_the_same_packets() -> None:
    context = multiprocessing.get_context("fork")
    stop = threading.Event()

    def code_on() -> None:
        while not stop.is_set():
            packets_of(99)

    threads = [threading.Thread(target=code_on) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for seed in range(N_CHILDREN):
            ours, theirs = context.Pipe()
            child = context.Process(target=code_in_child, args=(theirs, seed))
            child.start()
            assert ours.poll(60), "the child hangs"
            assert ours.recv() == packets_of(seed)
            child.join(60)
            assert child.exitcode == 0
    finally:
        stop.set()
        for thread in threads:
            thread.join()
