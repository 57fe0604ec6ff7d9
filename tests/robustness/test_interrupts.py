# SPDX-License-Identifier: Apache-2.0
"""A signal handler that raises, as Ctrl-C's does, ends a long call of the core within a second.

Without looks at the clock inside the core a handler would run only once the call is over. The calls
here take a second or more, so that being ended half-way shows. Signal and measurement go by the
processor time of this process, of which a busy machine's other work is no part.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

import fl_deepcabac as dc

N_WEIGHTS = 1_200_000
CONFIG = dc.CodecConfig(step=0.02, profile="max")


class Interrupted(Exception):
    """What the handler raises."""


@pytest.fixture(autouse=True)
def handler() -> Iterator[None]:
    def interrupt(*_: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGPROF, interrupt)
    yield
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.signal(signal.SIGPROF, before)


@pytest.fixture(scope="module")
def update() -> dict[str, np.ndarray]:
    values = np.random.default_rng(5).standard_normal((N_WEIGHTS // 1000, 1000))
    return {"w": values.astype(np.float32)}


def seconds_until_ended(call: Callable[[], object], *, after: float) -> float:
    """Return for how many seconds of processor time the call went on after the signal."""
    signal.setitimer(signal.ITIMER_PROF, after)
    begin = time.process_time()
    with pytest.raises(Interrupted):
        call()
    return time.process_time() - begin - after


@pytest.mark.parametrize("threads", [1, 2])
def test_an_interrupted_encode_ends_soon_and_loses_nothing(
    update: dict[str, np.ndarray], threads: int
) -> None:
    schema = dc.Schema.from_arrays(update)
    encoder = dc.UpdateEncoder(schema, replace(CONFIG, threads=threads))
    begin = time.process_time()
    encoder.encode(update)
    whole = time.process_time() - begin
    before = encoder.state_bytes()
    seconds = seconds_until_ended(lambda: encoder.encode(update), after=0.2 * whole)
    assert seconds < 0.5 * whole
    assert encoder.state_bytes() == before


def test_other_threads_do_not_mind(update: dict[str, np.ndarray]) -> None:
    # Handlers run in the main thread only: a call elsewhere goes on to its end.
    small = {"w": update["w"][:200]}
    schema = dc.Schema.from_arrays(small)
    expected = dc.UpdateEncoder(schema, CONFIG).encode(small).packet
    with ThreadPoolExecutor(1) as pool:
        elsewhere = pool.submit(lambda: dc.UpdateEncoder(schema, CONFIG).encode(small).packet)
        signal.setitimer(signal.ITIMER_PROF, 0.05)
        with pytest.raises(Interrupted):
            time.sleep(10)
        assert elsewhere.result() == expected
