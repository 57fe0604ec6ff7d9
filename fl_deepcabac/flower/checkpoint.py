# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of the server side: what a run needs to go on after its process is gone.

In one: the global model and its dtypes, the states held for nodes, spilled ones too, the broadcast
model and who holds it, what steps depend on, what the inner strategy remembers, the ledger, and the
number of rounds.
Invariants: a file holds a whole checkpoint or the one before it; loading takes effect as a whole or
not at all.
"""

from __future__ import annotations

import logging
import operator
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import SupportsIndex

from flwr.app import ArrayRecord
from flwr.serverapp.strategy import Strategy

from fl_deepcabac.atomic_file import remove_unfinished, replace_atomically
from fl_deepcabac.errors import CheckpointError, ConfigError, DecodeError
from fl_deepcabac.flower.checkpoint_file import CheckpointReader, CheckpointWriter, Json
from fl_deepcabac.flower.endpoint import ServerEndpoint
from fl_deepcabac.flower.inner_state import InnerMemory
from fl_deepcabac.flower.saved_ledger import SavedLedger, load_ledger
from fl_deepcabac.flower.saved_state import SavedState
from fl_deepcabac.flower.weights import DtypeMemory

__all__ = ["Checkpoint", "CheckpointKeeper"]

logger = logging.getLogger("fl_deepcabac")


@dataclass(frozen=True)
class Checkpoint:
    """Where a run goes on.

    Parameters
    ----------
    arrays : ArrayRecord
        The global model, for ``strategy.start``.
    server_round : int
        Rounds that have been trained.
    """

    arrays: ArrayRecord
    server_round: int


class CheckpointKeeper:
    """Saves what a strategy knows, and brings it back.

    Parameters
    ----------
    endpoint : ServerEndpoint
    inner : Strategy
        Whose memory is saved, with that of the strategies it wraps.
    path : str or Path, optional
        Where a checkpoint is saved after rounds of training; nowhere if not given.
    every : int
        After how many rounds.

    Attributes
    ----------
    dtypes : DtypeMemory
        Of the global model.
    rounds_before : int
        Rounds of the process that this one goes on from: Flower counts from 1 again.

    Raises
    ------
    TypeError, ConfigError
        If path or number is none.
    """

    def __init__(
        self,
        endpoint: ServerEndpoint,
        inner: Strategy,
        *,
        path: str | Path | None = None,
        every: int = 1,
    ) -> None:
        self.dtypes = DtypeMemory()
        self.rounds_before = 0
        self._endpoint = endpoint
        self._memory = InnerMemory(inner)
        self._path = _checked_path(path)
        self._every = _checked_number(every, path)
        self._arrays: ArrayRecord | None = None
        self._server_round = 0
        self._ledger = SavedLedger()

    def __str__(self) -> str:
        """Say what is saved when and where."""
        if self._path is None:
            return "none"
        when = "every round" if self._every == 1 else f"every {self._every} rounds"
        return f"{when}, in {self._path}"

    def note_model(self, arrays: ArrayRecord) -> None:
        """Take note of the global model, before training and after."""
        self._memory.begin()
        self._arrays = arrays

    def note_round(self, server_round: int) -> None:
        """Take note that a round has been trained, and save if it is time to.

        A checkpoint that cannot be written costs a warning, and not the run.
        """
        self._server_round = server_round
        if self._path is None or self._arrays is None or server_round % self._every:
            return
        try:
            self.save(self._path)
        except OSError as error:
            logger.warning(
                "DeepCABAC: round %d: no checkpoint, the one before stays: %s", server_round, error
            )

    def save(self, path: str | Path) -> None:
        """Write a checkpoint; see `DeepCABACStrategyMixin.save`."""
        if self._arrays is None:
            raise RuntimeError("expected a strategy that has a model to save, found none before it")
        with replace_atomically(Path(path), durable=True) as file, CheckpointWriter(file) as writer:
            endpoint = self._endpoint
            writer.finish(
                {
                    "server_round": self._server_round,
                    "profile": endpoint.config.profile,
                    "arrays": writer.encode(self._arrays),
                    "dtypes": self.dtypes.to_plain(),
                    "states": [_write_state(writer, *item) for item in endpoint.states.items()],
                    "models": writer.encode(endpoint.models.to_plain()),
                    "steps": writer.encode(endpoint.steps.to_plain()),
                    "memory": writer.encode(self._memory.take()),
                    "ledger": writer.encode(self._ledger.save(endpoint.ledger)),
                }
            )

    def load(self, path: str | Path) -> Checkpoint:
        """Go on from a checkpoint; see `DeepCABACStrategyMixin.load`."""
        place = Path(path)
        with CheckpointReader(place) as reader:
            try:
                checkpoint = self._load(reader)
            except (CheckpointError, OSError):
                raise
            except Exception as error:  # there is no end to what another manifest could lead to
                raise reader.corrupt("sections as this version writes them", error) from error
        remove_unfinished(place)
        return checkpoint

    def _load(self, reader: CheckpointReader) -> Checkpoint:
        """Read everything, and only then let it take effect."""
        endpoint, sections = self._endpoint, reader.sections
        arrays, server_round = reader.decode(sections["arrays"]), sections["server_round"]
        if not isinstance(arrays, ArrayRecord) or type(server_round) is not int:
            raise reader.corrupt("a model and a number of rounds", type(arrays).__name__)
        dtypes = DtypeMemory.from_plain(sections["dtypes"])
        models = endpoint.models.resumed(reader.decode(sections["models"]))
        # Missing in files from before there was anything to learn.
        steps = endpoint.steps
        if "steps" in sections:
            steps = steps.resumed(reader.decode(sections["steps"]))
        ledger = load_ledger(reader.decode(sections["ledger"]))
        memory = reader.decode(sections["memory"])
        rows = sections["states"] if sections["profile"] == endpoint.config.profile else []
        states = endpoint.states.refilled(_read_states(reader, rows))
        try:
            self._memory.give_back(memory)
        except BaseException:
            states.close()
            raise
        endpoint.states.close()
        endpoint.states, endpoint.models, endpoint.ledger = states, models, ledger
        endpoint.steps = steps
        self._ledger = SavedLedger()
        self.dtypes, self._arrays = dtypes, arrays
        self._server_round = self.rounds_before = server_round
        return Checkpoint(arrays, server_round)


def _write_state(
    writer: CheckpointWriter, node_id: int, schema_digest: bytes, saved: SavedState
) -> Json:
    """Write the state of a node; None where its file is damaged: that node starts afresh."""
    try:
        content = saved.read()
    except DecodeError as error:
        logger.warning("DeepCABAC: checkpoint without the state of node %d: its %s", node_id, error)
        return None
    return [node_id, schema_digest.hex(), saved.digest.hex(), writer.keep(content)]


def _read_states(
    reader: CheckpointReader, rows: list[Json]
) -> Iterator[tuple[int, bytes, SavedState]]:
    """Yield what `_write_state` wrote, one at a time in memory."""
    for row in rows:
        if row is not None:
            node_id, schema_digest, digest, name = row
            saved = SavedState(bytes.fromhex(digest), reader.blob(name))
            yield int(node_id), bytes.fromhex(schema_digest), saved


def _checked_path(path: str | Path | None) -> Path | None:
    """Return where checkpoints go, whatever the working directory becomes."""
    if path is None:
        return None
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"checkpoint_path: expected a path or None, found {type(path).__name__}")
    place = Path(path).absolute()
    if not place.parent.is_dir():
        expected = "a file in a folder that is there"
        raise ConfigError("checkpoint_path", expected=expected, found=str(path))
    return place


def _checked_number(every: int, path: str | Path | None) -> int:
    if isinstance(every, bool) or not isinstance(every, SupportsIndex):
        raise TypeError(f"checkpoint_every: expected an int, found {type(every).__name__}")
    if (number := operator.index(every)) < 1:
        expected = "a number of rounds, at least 1"
        raise ConfigError("checkpoint_every", expected=expected, found=every)
    if number != 1 and path is None:
        expected = "a checkpoint_path beside it: without one, nothing is saved"
        raise ConfigError("checkpoint_every", expected=expected, found=every)
    return number
