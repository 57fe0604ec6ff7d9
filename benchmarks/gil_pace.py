# SPDX-License-Identifier: Apache-2.0
"""How fast Python counts in one thread while others encode and decode: whether the GIL is free.

The count is compared with that beside the same coding in other processes, so that it does not
matter how many processors there are or what else they do. Both alternate, and the median of their
ratios counts.

    python benchmarks/gil_pace.py [--threads 4] [--seconds 2] [--repeats 7]
"""

from __future__ import annotations

import argparse
import multiprocessing
import multiprocessing.synchronize
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

import fl_deepcabac as dc

N_WEIGHTS = 400_000
CONFIG = dc.CodecConfig(step=0.5)
Stop = Callable[[], bool]


def code_until(is_stopped: Stop, seed: int) -> None:
    """Encode and decode one update after the other."""
    values = np.random.default_rng(seed).standard_normal((N_WEIGHTS // 400, 400))
    update = {"w": values.astype(np.float32)}
    schema = dc.Schema.from_arrays(update)
    encoder, decoder = dc.UpdateEncoder(schema, CONFIG), dc.UpdateDecoder(schema, CONFIG)
    while not is_stopped():
        decoder.decode(encoder.encode(update).packet)


def code_in_process(is_stopped: multiprocessing.synchronize.Event, seed: int) -> None:
    """Code in a process of its own."""
    code_until(is_stopped.is_set, seed)


@contextmanager
def coding_threads(n_threads: int) -> Iterator[None]:
    """Code in threads of this process."""
    stop = threading.Event()
    threads = [
        threading.Thread(target=code_until, args=(stop.is_set, seed)) for seed in range(n_threads)
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@contextmanager
def coding_processes(n_processes: int) -> Iterator[None]:
    """Code in as many other processes."""
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    processes = [
        context.Process(target=code_in_process, args=(stop, seed)) for seed in range(n_processes)
    ]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        stop.set()
        for process in processes:
            process.join()


def counts_a_second(seconds: float) -> float:
    """Count in Python for so long."""
    count, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < seconds:
        for _ in range(1000):
            count += 1
    return count / (time.perf_counter() - begin)


def pace(coding: Callable[[int], object], n_coders: int, seconds: float) -> float:
    """Count while others code; the seconds before, in which they start, does not count."""
    with coding(n_coders):  # type: ignore[attr-defined]
        counts_a_second(3.0)
        return counts_a_second(seconds)


def main() -> None:
    """Print both paces, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--repeats", type=int, default=7)
    asked = parser.parse_args()
    ratios = []
    print(f"millions counted a second, {asked.threads} others coding: in processes, in threads")
    for _ in range(asked.repeats):
        apart = pace(coding_processes, asked.threads, asked.seconds)
        together = pace(coding_threads, asked.threads, asked.seconds)
        ratios.append(together / apart)
        print(f"{apart / 1e6:8.2f} {together / 1e6:8.2f}   {ratios[-1]:.2f}")
    print(f"median ratio {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
