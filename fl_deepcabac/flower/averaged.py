# SPDX-License-Identifier: Apache-2.0
"""How many updates a round averages, as far as the server can tell beforehand.

Noise without bias shrinks with that number, so steps may grow with it
(`CodecConfig.relative_step_per_client`). An average in which one client has most of the samples is
worth little more than that client's update, and replies that do not come average nothing: both are
taken from the round before.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from flwr.app import Message

__all__ = ["AveragedClients", "effective_number"]

# Of the clients asked, before any round has told: on the safe side of what unequal shares of the
# samples usually leave, 0.7 to 0.95.
FIRST_PART: Final = 0.5


class AveragedClients:
    """Expects of a round what came of the one before.

    Parameters
    ----------
    weight_key : str
        Under which replies name their weight in the average, in a MetricRecord.
    """

    def __init__(self, weight_key: str) -> None:
        self._weight_key = weight_key
        self._n_asked = 0
        self._part = FIRST_PART

    def expect(self, n_asked: int) -> float:
        """Return the number for a round that asks so many clients; at least 1."""
        self._n_asked = n_asked
        return max(1.0, self._part * n_asked)

    def note(self, received: Iterable[Message]) -> None:
        """Learn from what a round's replies have become; nothing where none is usable."""
        weights = [self._weight(reply) for reply in received if reply.has_content()]
        if self._n_asked and (number := effective_number(weights)):
            self._part = min(1.0, number / self._n_asked)

    def _weight(self, reply: Message) -> float:
        """Return the weight that a reply names; 1 if it names none, as where all count alike."""
        for record in reply.content.metric_records.values():
            value = record.get(self._weight_key)
            if isinstance(value, int | float):
                return float(value)
        return 1.0


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
