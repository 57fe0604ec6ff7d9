# SPDX-License-Identifier: Apache-2.0
"""How coarse the steps of a round may be, where updates are rounded by chance.

Noise without bias shrinks with the number of updates that a round averages, so steps grow with it
(`CodecConfig.relative_step_per_client`). An average in which one client has most of the samples is
worth little more than that client's update, and replies that do not come average nothing: both are
taken from the round before. Steps shrink, too, where training spends its time on undoing the noise
(docs/decisions/0019). Invariant: what is learnt here changes bytes and accuracy, never whether a
packet can be decoded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np
from flwr.app import ArrayRecord, Message
from numpy.typing import NDArray

from fl_deepcabac.config import CodecConfig
from fl_deepcabac.flower.records import NUMPY_STYPE

__all__ = ["StepControl", "effective_number", "pull_back"]

# Of the clients asked, before any round has told: on the safe side of what unequal shares of the
# samples usually leave, 0.7 to 0.95.
FIRST_PART: Final = 0.5
# Training that is far from undoing noise has less of it than 0.05; where noise is about to grow
# from round to round it is above 0.13, and steps are halved down to one that never lets it.
MOST_PULL_BACK: Final = 0.1
LEAST_FACTOR: Final = 1 / 8
# Back up more slowly.
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
        self._part = FIRST_PART
        self._factor = 1.0
        self._before: NDArray[np.float32] | None = None
        self._movement: NDArray[np.float32] | None = None

    @property
    def is_watching(self) -> bool:
        """Whether steps depend on what comes of the rounds."""
        return self._config.relative_step_per_client is not None

    def config_for(self, n_asked: int) -> CodecConfig:
        """Return the settings for a round that asks so many clients to train."""
        per_client = self._config.relative_step_per_client
        if per_client is None:
            return self._config
        self._n_asked = n_asked
        config = replace(self._config, relative_step_per_client=per_client * self._factor)
        return config.for_clients(max(1.0, self._part * n_asked))

    def note_replies(self, received: Iterable[Message]) -> None:
        """Learn how many updates a round averages; nothing where none is usable."""
        weights = [self._weight(reply) for reply in received if reply.has_content()]
        if self._n_asked and (number := effective_number(weights)):
            self._part = min(1.0, number / self._n_asked)

    def note_sent(self, arrays: ArrayRecord) -> None:
        """Remember the model that a round trains from."""
        if self.is_watching:
            self._before = _sample(arrays)

    def note_aggregated(self, arrays: ArrayRecord) -> None:
        """Learn from the model that came of a round how much of the last noise it undoes."""
        before, self._before = self._before, None
        if before is None:
            return
        after = _sample(arrays)
        movement = after - before if after.shape == before.shape else None
        if movement is not None and self._movement is not None:
            is_undoing = pull_back(self._movement, movement) > MOST_PULL_BACK
            factor = self._factor * (0.5 if is_undoing else RECOVERY)
            self._factor = min(1.0, max(LEAST_FACTOR, factor))
        self._movement = movement

    def to_plain(self) -> dict[str, Any]:
        """Return what has been learnt, as `resumed` takes it."""
        return {"part": self._part, "factor": self._factor, "movement": self._movement}

    def resumed(self, learnt: Mapping[str, Any]) -> StepControl:
        """Return one with the same settings that goes on from what another has learnt.

        Raises
        ------
        KeyError, TypeError, ValueError
            If a value is missing, or not what `to_plain` returns.
        """
        other = StepControl(self._config, weight_key=self._weight_key)
        part, factor = float(learnt["part"]), float(learnt["factor"])
        if not (0.0 < part <= 1.0 and LEAST_FACTOR <= factor <= 1.0):
            raise ValueError(f"expected parts of one, found {dict(learnt)}")
        movement = learnt["movement"]
        if movement is not None and (movement.dtype != np.float32 or movement.ndim != 1):
            raise ValueError(f"expected a movement, found {movement.dtype} of {movement.shape}")
        other._part, other._factor, other._movement = part, factor, movement
        return other

    def _weight(self, reply: Message) -> float:
        """Return the weight that a reply names; 1 if it names none, as where all count alike."""
        for record in reply.content.metric_records.values():
            value = record.get(self._weight_key)
            if isinstance(value, int | float):
                return float(value)
        return 1.0


def pull_back(earlier: NDArray[np.float32], later: NDArray[np.float32]) -> float:
    """Return the part of a movement of the model that the next one takes back.

    Parameters
    ----------
    earlier, later : ndarray, float32, shape (n,)
        What two rounds, one after the other, changed of the same weights.

    Returns
    -------
    float
        ``-<earlier, later> / <earlier, earlier>``: negative where training goes on in one
        direction, 0 where the two have nothing in common, or nothing moved, 1 where all is undone.

    Examples
    --------
    >>> pull_back(np.array([2.0, 0.0], np.float32), np.array([-1.0, 5.0], np.float32))
    0.5
    """
    energy = float(np.dot(earlier, earlier))
    if not 0.0 < energy < float("inf") or earlier.shape != later.shape:
        return 0.0
    return -float(np.dot(earlier, later)) / energy


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


def _sample(arrays: ArrayRecord) -> NDArray[np.float32]:
    """Return the floats of a model, or an even part of them where there are very many."""
    tensors = [array.numpy() for array in arrays.values() if array.stype == NUMPY_STYPE]
    floats = [tensor.ravel() for tensor in tensors if tensor.dtype.kind == "f"]
    stride = 1 + sum(tensor.size for tensor in floats) // MOST_SAMPLES
    parts = [tensor[::stride].astype(np.float32) for tensor in floats]
    return np.concatenate(parts) if parts else np.empty(0, np.float32)
