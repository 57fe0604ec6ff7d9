# SPDX-License-Identifier: Apache-2.0
"""How coarse the steps of a round may be, where updates are rounded by chance.

Noise without bias shrinks with the number of updates that a round averages, so steps grow with it
(`CodecConfig.relative_step_per_client`). An average in which one client has most of the samples is
worth little more than that client's update, and replies that do not come average nothing: weights
are known from earlier replies, and losses from the last rounds. Steps shrink, too, where training
spends its time on undoing the noise (docs/decisions/0019). Invariant: what is learnt here changes
bytes and accuracy, never whether a packet can be decoded.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np
from flwr.app import ArrayRecord, Message
from numpy.typing import NDArray

from fl_deepcabac.allocation import STATISTICS
from fl_deepcabac.config import CodecConfig
from fl_deepcabac.flower.records import NUMPY_STYPE

__all__ = ["StepControl", "effective_number", "pull_back"]

logger = logging.getLogger("fl_deepcabac")

# By name, the part of each tensor that is looked at.
Sample = dict[str, NDArray[np.float32]]

# Of the clients asked, before any round has told: on the safe side of what unequal shares of the
# samples usually leave, 0.7 to 0.95.
FIRST_PART: Final = 0.5
# No more are counted, because no more have been tried.
MOST_CLIENTS: Final = 20.0
# The least part of replies of so many rounds is expected of the next.
ROUNDS_REMEMBERED: Final = 3
# Where noise is about to grow from round to round, 1 / (1 + 0.8 k) of a movement is taken back, k
# being the step for each client (docs/decisions/0019).
ALARM_PART: Final = 0.5
RECOVERY: Final = 2.0**0.5
# Weights that are looked at, evenly spread: 16 MiB, and correlations within some thousandths.
MOST_SAMPLES: Final = 2**22


class StepControl:
    """Turns a step for each client into that of a round.

    Parameters
    ----------
    config : CodecConfig
        Of the user. Without `relative_step_per_client` it is used as it is, and nothing is watched.
    weight_key : str
        Under which replies name their weight in the average, in a MetricRecord.
    """

    def __init__(self, config: CodecConfig, *, weight_key: str) -> None:
        self._config = config
        self._weight_key = weight_key
        self._n_asked = 0
        self._weights: dict[int, float] = {}
        self._parts: list[float] = []
        self._factor = 1.0
        self._before: Sample = {}
        self._movement: Sample = {}

    @property
    def step_per_client(self) -> float | None:
        """What is multiplied now; None where the config gives another rate."""
        whole = self._config.relative_step_per_client
        return None if whole is None else whole * self._factor

    def config_for(self, messages: Iterable[Message]) -> CodecConfig:
        """Return the settings for a round that sends these train messages."""
        if self.step_per_client is None:
            return self._config
        messages = list(messages)
        self._n_asked = len(messages)
        config = replace(self._config, relative_step_per_client=self.step_per_client)
        return config.for_clients(self._expected(messages))

    def note_replies(self, received: Iterable[Message]) -> None:
        """Learn from what a round's replies have become how many updates the next averages."""
        if self.step_per_client is None or not self._n_asked:
            return
        usable = [reply for reply in received if reply.has_content()]
        for reply in usable:
            self._weights[reply.metadata.src_node_id] = self._weight(reply)
        if usable:
            self._parts.append(min(1.0, len(usable) / self._n_asked))
            del self._parts[:-ROUNDS_REMEMBERED]

    def note_sent(self, arrays: ArrayRecord) -> None:
        """Remember the model that a round trains from."""
        if self.step_per_client is not None:
            self._before = _sample(arrays)

    def note_aggregated(self, arrays: ArrayRecord) -> None:
        """Learn from the model that came of a round how much of the last noise it undoes."""
        before, self._before = self._before, {}
        if not before or self.step_per_client is None:
            return
        after = _sample(arrays)
        with np.errstate(all="ignore"):
            movement = {
                name: values - before[name]
                for name, values in after.items()
                if name in before and values.shape == before[name].shape
            }
            # A model that has not moved, or is no number, teaches nothing.
            if not any(0 < np.dot(moved, moved) < np.inf for moved in movement.values()):
                return
            earlier, self._movement = self._movement, movement
            if earlier:
                self._adapt(pull_back(earlier, movement))

    def _adapt(self, found: float) -> None:
        """Halve the step where noise is undone, and let it recover where it is far from that."""
        whole = self._config.relative_step_per_client
        assert whole is not None
        assert self.step_per_client is not None
        alarm = ALARM_PART / (1 + 0.8 * self.step_per_client)
        # A step of one for each client never lets noise grow.
        least = min(1.0, 1.0 / whole)
        factor = self._factor
        if found > alarm:
            self._factor = max(least, factor / 2)
        elif found < alarm / 2:
            self._factor = min(1.0, factor * RECOVERY)
        if self._factor < factor:
            logger.info(
                "DeepCABAC: training takes %.0f %% of the last movement back: the step for each "
                "client falls from %.3g to %.3g",
                100 * found,
                whole * factor,
                whole * self._factor,
            )

    def _expected(self, messages: list[Message]) -> float:
        """Return how many equal weights the averages of a round are worth, the least of them.

        Strategies that train several models in one round tell them apart by message type.
        """
        known = [self._weights[node] for node in map(_node_of, messages) if node in self._weights]
        part = min(self._parts, default=1.0)
        if not known:
            part *= FIRST_PART
        usual = float(np.mean(known)) if known else 1.0
        numbers = [
            effective_number(
                self._weights.get(_node_of(message), usual)
                for message in messages
                if message.metadata.message_type == kind
            )
            for kind in Counter(message.metadata.message_type for message in messages)
        ]
        return min(MOST_CLIENTS, max(1.0, part * min(numbers, default=1.0)))

    def to_plain(self) -> dict[str, Any]:
        """Return what has been learnt, as `resumed` takes it."""
        return {
            "weights": self._weights,
            "parts": self._parts,
            "factor": self._factor,
            "movement": self._movement,
        }

    def resumed(self, learnt: Mapping[str, Any]) -> StepControl:
        """Return one with the same settings that goes on from what another has learnt.

        Raises
        ------
        KeyError, TypeError, ValueError
            If a value is missing, or not what `to_plain` returns.
        """
        other = StepControl(self._config, weight_key=self._weight_key)
        parts, factor = [float(part) for part in learnt["parts"]], float(learnt["factor"])
        movement = dict(learnt["movement"])
        if not all(0.0 < part <= 1.0 for part in [*parts, factor]):
            raise ValueError(f"expected parts of one, found {parts} and {factor}")
        for name, moved in movement.items():
            if moved.dtype != np.float32 or moved.ndim != 1:
                raise ValueError(f"{name}: expected a movement, found {moved.dtype}, {moved.shape}")
        other._weights = {int(node): float(it) for node, it in learnt["weights"].items()}
        other._parts, other._factor, other._movement = parts, factor, movement
        return other

    def _weight(self, reply: Message) -> float:
        """Return the weight that a reply names; 1 if it names none, as where all count alike."""
        for record in reply.content.metric_records.values():
            value = record.get(self._weight_key)
            if isinstance(value, int | float):
                return float(value)
        return 1.0


def pull_back(earlier: Sample, later: Sample) -> float:
    """Return the part of a movement of the model that the next one takes back.

    Parameters
    ----------
    earlier, later : dict of str to ndarray, float32, shape (n,)
        What two rounds, one after the other, changed of the same weights, by tensor.

    Returns
    -------
    float
        ``-<earlier, later> / <earlier, earlier>`` of each tensor, averaged by size, because noise
        is relative to each tensor's own update: negative where training goes on in one direction, 0
        where the two have nothing in common, or nothing moved, 1 where all is undone.

    Examples
    --------
    >>> before = {"w": np.array([2.0, 0.0], np.float32)}
    >>> pull_back(before, {"w": np.array([-1.0, 5.0], np.float32)})
    0.5
    """
    total, n_weights = 0.0, 0
    for name, moved in earlier.items():
        energy = float(np.dot(moved, moved))
        if name in later and later[name].shape == moved.shape and 0.0 < energy < np.inf:
            common = float(np.dot(moved, later[name]))
            if np.isfinite(common):
                total -= moved.size * common / energy
                n_weights += moved.size
    return total / n_weights if n_weights else 0.0


def effective_number(weights: Iterable[float]) -> float:
    """Return how many equal weights reduce independent noise as these do.

    Parameters
    ----------
    weights : iterable of float
        Those that are not above 0, and finite, do not count.

    Returns
    -------
    float
        ``sum(w)**2 / sum(w**2)``, from 1 to their number; 0 without any.

    Examples
    --------
    >>> effective_number([3, 3, 3, 3])
    4.0
    >>> round(effective_number([97, 1, 1, 1]), 2)
    1.06
    """
    counted = [weight for weight in weights if 0.0 < weight < float("inf")]
    if not counted:
        return 0.0
    largest = max(counted)
    shares = [weight / largest for weight in counted]
    return sum(shares) ** 2 / sum(share**2 for share in shares)


def _node_of(message: Message) -> int:
    return message.metadata.dst_node_id


def _sample(arrays: ArrayRecord) -> Sample:
    """Return the floats of a model, or an even part of them where there are very many.

    Statistics are none of training's. One tensor at a time is in memory as a whole.
    """
    looked_at = {
        name: array
        for name, array in arrays.items()
        if array.stype == NUMPY_STYPE and array.dtype.startswith("float")
    }
    looked_at = {n: array for n, array in looked_at.items() if not STATISTICS.search(n)}
    n_weights = sum(int(np.prod(array.shape)) for array in looked_at.values())
    # Odd, so that it falls into step with no row.
    stride = 1 if n_weights <= MOST_SAMPLES else n_weights // MOST_SAMPLES + 1 | 1
    return {
        name: array.numpy().ravel()[::stride].astype(np.float32)
        for name, array in looked_at.items()
    }
