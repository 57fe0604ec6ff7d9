# SPDX-License-Identifier: Apache-2.0
"""How many decoded models are in memory at once, and that reading in any order is safe."""

from __future__ import annotations

import copy
import tracemalloc
from typing import Any

import numpy as np
import pytest
from flower.inprocess_grid import InProcessGrid
from flower.toy import EXACT, Arrays, arrays_of, make_app, record_of
from flwr.app import Array, ArrayRecord, ConfigRecord, Message
from flwr.serverapp.strategy import Bulyan, FedAvg, FedMedian, Krum, QFedAvg, Strategy

from fl_deepcabac.flower import DeepCABACStrategy, lazy, replies
from fl_deepcabac.flower.lazy import LazyArray, ReadingDesk

N_NODES = 12
NODES: dict[str, Any] = {"min_available_nodes": N_NODES, "min_train_nodes": N_NODES}
N_BYTES = 4 * 2**20


def arrays_of_width(width: int) -> ArrayRecord:
    """Return four square tensors; of width 512, they hold `N_BYTES`."""
    return record_of({f"w{i}": np.zeros((width, width), np.float32) for i in range(4)})


def train_sparsely(weights: Arrays, rng: np.random.Generator) -> Arrays:
    trained = {name: tensor.copy() for name, tensor in weights.items()}
    for tensor in trained.values():
        tensor.flat[rng.integers(0, tensor.size, 50)] += np.float32(1 / 64)
    return trained


def replies_for(strategy: Strategy, width: int = 32) -> list[Message]:
    grid = InProcessGrid([make_app(train=train_sparsely) for _ in range(N_NODES)])
    messages = strategy.configure_train(1, arrays_of_width(width), ConfigRecord(), grid)
    return list(grid.send_and_receive(messages))


class Watched:
    """Counts decodes for reading, and decoded packets in memory."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.n_decodes = 0
        self.most_open = 0
        decode = lazy.decode_update
        opened = ReadingDesk.open

        def counting_decode(*args: Any, **kwargs: Any) -> Any:
            self.n_decodes += 1
            return decode(*args, **kwargs)

        def counting_open(desk: ReadingDesk, reader: Any) -> None:
            opened(desk, reader)
            self.most_open = max(self.most_open, desk.n_open)

        monkeypatch.setattr(lazy, "decode_update", counting_decode)
        monkeypatch.setattr(ReadingDesk, "open", counting_open)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(monkeypatch)


@pytest.mark.parametrize(
    ("inner", "most_open", "most_decodes"),
    [
        (FedAvg(**NODES), 1, N_NODES),
        # Reads tensor by tensor over all replies.
        (FedMedian(**NODES), N_NODES, N_NODES),
        # Asks each array for its values and its size.
        (QFedAvg(0.1, **NODES), 1, N_NODES),
        # Need all models at once by definition, and copy them; those selected are read again.
        (Krum(num_malicious_nodes=1, **NODES), 1, N_NODES + 1),
        (Bulyan(num_malicious_nodes=1, **NODES), 1, 2 * N_NODES),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Strategy) else "",
)
def test_reading_holds_and_decodes_as_little_as_the_strategy_allows(
    inner: Strategy, most_open: int, most_decodes: int, watched: Watched
) -> None:
    strategy = DeepCABACStrategy(inner, EXACT)
    arrays, _ = strategy.aggregate_train(1, replies_for(strategy))
    assert arrays is not None
    assert watched.most_open == most_open
    assert N_NODES <= watched.n_decodes <= most_decodes


def test_fedavg_over_twelve_replies_peaks_at_a_few_models(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(replies, "MAX_CHECKS_AT_ONCE", 1)
    strategy = DeepCABACStrategy(FedAvg(**NODES), EXACT)
    arrived = replies_for(strategy, width=512)
    tracemalloc.start()
    try:
        arrays, _ = strategy.aggregate_train(1, arrived)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert arrays is not None
    # The sum, one decoded packet, the levels it came from. Decoding all first takes 15 models.
    assert peak < 5 * N_BYTES


def receive(strategy: DeepCABACStrategy) -> Any:
    return strategy._codec_endpoint.receive_train(1, replies_for(strategy))


def test_arrays_may_be_read_in_any_order_and_again() -> None:
    strategy = DeepCABACStrategy(FedAvg(**NODES), EXACT)
    with receive(strategy) as received:
        first, second = (reply.content["arrays"] for reply in received[:2])
        expected = {name: first[name].numpy() for name in reversed(list(first))}
        for name in ("w2", "w0", "w2", "w3", "w1"):
            other = second[name].numpy()
            again = first[name].numpy()
            np.testing.assert_array_equal(again, expected[name])
            assert not np.array_equal(other, again)


def test_arrays_read_are_the_readers_own() -> None:
    strategy = DeepCABACStrategy(FedAvg(**NODES), EXACT)
    with receive(strategy) as received:
        array = received[0].content["arrays"]["w0"]
        tensor = array.numpy()
        before = tensor.copy()
        tensor *= 0
        tensor += 3
        np.testing.assert_array_equal(array.numpy(), before)


def test_lazy_array_is_an_array_in_every_respect() -> None:
    strategy = DeepCABACStrategy(FedAvg(**NODES), EXACT)
    with receive(strategy) as received:
        record = received[0].content["arrays"]
        array = record["w1"]
        assert isinstance(array, LazyArray)
        assert (array.dtype, array.shape, array.stype) == ("float32", (32, 32), "numpy.ndarray")
        plain = Array(array.numpy())
        assert array.data == plain.data
        for copied in (copy.copy(array), copy.deepcopy(array)):
            assert type(copied) is Array
            assert copied == plain
        assert record.count_bytes() == ArrayRecord(dict(record)).count_bytes()
        copies = ArrayRecord(dict(record))
    np.testing.assert_array_equal(copies["w1"].numpy(), plain.numpy())


def test_reading_after_the_round_is_an_error() -> None:
    strategy = DeepCABACStrategy(FedAvg(**NODES), EXACT)
    with receive(strategy) as received:
        array = received[0].content["arrays"]["w0"]
        array.numpy()
    with pytest.raises(RuntimeError, match="before aggregate_train returns"):
        array.numpy()


def test_round_ends_when_the_inner_strategy_raises() -> None:
    kept: list[Array] = []

    class Breaks(FedAvg):
        def aggregate_train(self, _round: int, replies: Any) -> Any:
            kept.append(next(iter(replies)).content["arrays"]["w0"])
            raise ValueError("broken")

    strategy = DeepCABACStrategy(Breaks(**NODES), EXACT)
    with pytest.raises(ValueError, match="broken"):
        strategy.aggregate_train(1, replies_for(strategy))
    with pytest.raises(RuntimeError, match="before aggregate_train returns"):
        kept[0].numpy()


def test_decoding_time_of_every_decode_is_entered() -> None:
    strategy = DeepCABACStrategy(FedAvg(**NODES), EXACT)
    with receive(strategy) as received:
        row = strategy.communication.rounds[0].transfers[0]
        [reply] = [r for r in received if r.metadata.src_node_id == row.node_id]
        checked = row.decode_seconds
        arrays_of(reply.content["arrays"])
    assert row.decode_seconds > checked > 0
