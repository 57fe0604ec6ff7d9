# SPDX-License-Identifier: Apache-2.0
"""What a strategy of somebody else remembers from round to round, for a checkpoint.

Flower's strategies do not say what they remember: FedAdam keeps moments, an adaptive clipping its
norm. It is found by comparison: attributes that are no longer what they were before the first round
are memory, all others are settings, which the constructor sets. Invariant: settings are never
restored, so that a run may go on with others.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from typing import Any, Final

from flwr.serverapp.strategy import Strategy

from fl_deepcabac.flower.checkpoint_file import encode_value
from fl_deepcabac.flower.defaults import WRAPPED_NAMES, layers_of

__all__ = ["InnerMemory"]

logger = logging.getLogger("fl_deepcabac")

# Attributes of our own classes that are mixed into a strategy of the user.
OWN_PREFIX: Final = "_codec_"


class InnerMemory:
    """Takes the memory of a strategy, and of those that it wraps, and gives it back.

    Parameters
    ----------
    strategy : Strategy
    """

    def __init__(self, strategy: Strategy) -> None:
        self._strategy = strategy
        self._settings: dict[tuple[int, str], bytes | int] | None = None
        self._reasons_given: set[str] = set()

    def begin(self) -> None:
        """Take what there is for settings, the first time: training is about to begin."""
        if self._settings is None:
            self._settings = {
                (depth, name): _fingerprint(value) for depth, name, value in self._attributes()
            }

    def _attributes(self) -> Iterator[tuple[int, str, object]]:
        """Yield depth, name and value of what the strategies hold; the outermost has depth 0."""
        for depth, strategy in enumerate(layers_of(self._strategy)):
            for name, value in list(vars(strategy).items()):
                if _is_memory(name):
                    yield depth, name, value

    def take(self) -> list[dict[str, object]]:
        """Return the attributes that are no longer as they were, one dict a strategy.

        What can be written to no checkpoint is left out with a warning, given once.
        """
        memory: list[dict[str, object]] = [{} for _ in layers_of(self._strategy)]
        settings = self._settings or {}
        for depth, name, value in self._attributes():
            found = _fingerprint(value)
            if found == settings.get((depth, name)):
                continue
            if isinstance(found, int):
                self._warn(f"{name} ({type(value).__name__})")
            else:
                memory[depth][name] = value
        return memory

    def _warn(self, what: str) -> None:
        if what not in self._reasons_given:
            self._reasons_given.add(what)
            logger.warning(
                "DeepCABAC: checkpoints leave out what the strategy keeps in %s: expected plain "
                "values and arrays",
                what,
            )

    def give_back(self, memory: list[Any]) -> None:
        """Set the attributes that `take` returned.

        Raises
        ------
        ValueError
            If they are of other strategies, or none: then nothing has been set.
        """
        self.begin()
        chain = layers_of(self._strategy)
        if len(memory) != len(chain):
            raise ValueError(f"{len(memory)} strategies, one in the other, found {len(chain)}")
        for attributes in memory:
            if not isinstance(attributes, dict) or not all(map(_is_memory, attributes)):
                raise ValueError(f"attributes by name, found {attributes!r:.80}")
        for strategy, attributes in zip(chain, memory, strict=True):
            # Where `take` found them; this cannot fail halfway, as setters could.
            vars(strategy).update(attributes)


def _is_memory(name: object) -> bool:
    """Whether an attribute of this name may be memory."""
    return isinstance(name, str) and name not in WRAPPED_NAMES and not name.startswith(OWN_PREFIX)


def _fingerprint(value: object) -> bytes | int:
    """Return what changes with the value: a digest; the object's identity where there is none."""
    digest = hashlib.blake2b()

    def keep(blob: bytes) -> str:
        digest.update(blob)
        return str(len(blob))

    try:
        text = json.dumps(encode_value(value, keep))
    except TypeError:
        return id(value)
    digest.update(text.encode())
    return digest.digest()
