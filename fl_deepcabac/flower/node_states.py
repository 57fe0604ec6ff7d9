# SPDX-License-Identifier: Apache-2.0
"""The states that the server holds, one per node, within a budget of memory.

A state that finds no room is dropped, and its node starts afresh, or is spilled to a file of its
own. Invariants: the states in memory never exceed the budget, and those that replies of this round
are decoded against count too; a state named to a node can be read until `NodeStates.release`.
"""

from __future__ import annotations

import logging
import operator
import os
import shutil
import tempfile
import uuid
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import SupportsIndex

from fl_deepcabac.errors import ConfigError, DecodeError
from fl_deepcabac.flower.saved_state import SavedState
from fl_deepcabac.schema import Schema

__all__ = ["NodeStates"]

logger = logging.getLogger("fl_deepcabac")


class NodeStates:
    """The state that the server holds for each node: the one after its last good packet.

    A state belongs to one schema. When the model changes, the states of the old one are not found
    any more, and all streams start afresh.

    Parameters
    ----------
    budget_bytes : int, optional
        The most that states may take in memory, in bytes, those about to be superseded included;
        without limit if not given. Beyond it, those used longest ago go first.
    spill_directory : str or Path, optional
        Where they go: each to a file in a subdirectory of its own run, which is removed in the end.
        Both are made when first needed. If not given, they are dropped.

    Raises
    ------
    TypeError
        If an argument has another type.
    ConfigError
        If the budget is negative, if the directory is a file, or if it is given without a budget.

    Notes
    -----
    Not for several threads at once; the states that `get` returns are (see `SavedState`). A damaged
    file and a full disk cost a warning and a fresh start; only a file that is damaged while the
    replies decoded against it are aggregated ends the run. A process that is killed leaves its
    subdirectory behind.
    """

    def __init__(
        self, budget_bytes: int | None = None, spill_directory: str | Path | None = None
    ) -> None:
        self.budget_bytes = _checked_budget(budget_bytes)
        self.spill_directory = _checked_directory(spill_directory, budget_bytes)
        # By node: digest of the schema, state.
        self._held: dict[int, tuple[bytes, SavedState]] = {}
        # Replies to come, or to be read, refer to these; some may be superseded already.
        self._named: set[SavedState] = set()
        # Every state in memory, held or named, with its node; the one used longest ago is first.
        self._in_memory: dict[SavedState, int] = {}
        self._n_bytes = 0
        self._subdirectory: Path | None = None
        self._has_warned = False

    @property
    def n_bytes(self) -> int:
        """Bytes of all states in memory; never more than the budget."""
        return self._n_bytes

    def __str__(self) -> str:
        """Say what is kept where."""
        if self.budget_bytes is None:
            return "all in memory"
        rest = "dropped" if self.spill_directory is None else f"in {self.spill_directory}"
        return f"at most {self.budget_bytes:,} bytes in memory, the rest {rest}"

    def get(self, node_id: int, schema: Schema) -> SavedState | None:
        """Return the state of a node, or None if its next packet must be fresh.

        What is returned may be named to the node: it can be read until `release`, whatever is put
        meanwhile.
        """
        digest, saved = self._held.get(node_id, (b"", None))
        if saved is None or digest != schema.digest:
            return None
        if saved in self._in_memory:
            self._in_memory[saved] = self._in_memory.pop(saved)
        elif not self._is_readable(saved, node_id):
            self._drop(saved, node_id)
            return None
        self._named.add(saved)
        return saved

    def put(self, node_id: int, schema: Schema, saved: SavedState) -> None:
        """Hold a state, of which nobody else disposes, for a node from now on."""
        self._put(node_id, schema.digest, saved)

    def items(self) -> Iterator[tuple[int, bytes, SavedState]]:
        """Yield node, digest of the schema and state; those that the budget keeps longest last."""
        spilled = [node for node, (_, saved) in self._held.items() if saved not in self._in_memory]
        kept = [
            node
            for saved, node in self._in_memory.items()
            if self._held.get(node, ("", None))[1] is saved
        ]
        for node_id in (*spilled, *kept):
            yield (node_id, *self._held[node_id])

    def refilled(self, items: Iterable[tuple[int, bytes, SavedState]]) -> NodeStates:
        """Return states of the same budget and directory that hold these items and no others."""
        states = NodeStates(self.budget_bytes, self.spill_directory)
        for node_id, schema_digest, saved in items:
            states._put(node_id, schema_digest, saved)
        return states

    def _put(self, node_id: int, schema_digest: bytes, saved: SavedState) -> None:
        _, superseded = self._held.pop(node_id, (b"", None))
        if superseded is not None and superseded not in self._named:
            self._discard(superseded)
        self._held[node_id] = schema_digest, saved
        self._in_memory[saved] = node_id
        self._n_bytes += saved.n_bytes
        self._keep_budget(newest=saved)

    def release(self) -> None:
        """Discard the superseded states: no reply will be decoded against them any more."""
        held = {saved for _, saved in self._held.values()}
        for saved in self._named - held:
            self._discard(saved)
        self._named.clear()

    def close(self) -> None:
        """Forget all states and remove their files."""
        self._held.clear()
        for saved in {*self._named, *self._in_memory}:
            self._discard(saved)
        self._named.clear()
        if self._subdirectory is not None:
            shutil.rmtree(self._subdirectory, ignore_errors=True)
            self._subdirectory = None

    def _keep_budget(self, *, newest: SavedState) -> None:
        """Spill or drop states until the rest fits, as it did before the newest came."""
        if self.budget_bytes is None:
            return
        # One too large for the whole budget must not drive out all others first.
        is_too_large = newest.n_bytes > self.budget_bytes
        can_spill = self.spill_directory is not None
        for saved in [newest] if is_too_large else list(self._in_memory):
            if self._n_bytes <= self.budget_bytes:
                return
            # Where one file cannot be written, the next will fare no better.
            can_spill = can_spill and self._spill(saved)
            if not can_spill and saved not in self._named:
                self._drop(saved, self._in_memory[saved])

    def _spill(self, saved: SavedState) -> bool:
        """Move a state from memory to a file, and say whether that went well."""
        try:
            saved.spill(self._new_file())
        except OSError as error:
            if not self._has_warned:
                self._has_warned = True
                logger.warning(
                    "DeepCABAC: cannot spill states to %s: %s; nodes whose states find no room in "
                    "memory start afresh (said once)",
                    self.spill_directory,
                    error,
                )
            return False
        self._forget_content(saved)
        return True

    def _new_file(self) -> Path:
        """Name a file that no state and no other run has had."""
        if self._subdirectory is None:
            assert self.spill_directory is not None
            self.spill_directory.mkdir(parents=True, exist_ok=True)
            self._subdirectory = Path(tempfile.mkdtemp(prefix="states-", dir=self.spill_directory))
            weakref.finalize(self, shutil.rmtree, self._subdirectory, ignore_errors=True)
        return self._subdirectory / f"{uuid.uuid4().hex}.state"

    def _is_readable(self, saved: SavedState, node_id: int) -> bool:
        """Read a spilled state before a node is told to code against it, and warn if that fails."""
        try:
            saved.read()
        except DecodeError as error:
            logger.warning("DeepCABAC: node %d starts afresh: its %s", node_id, error)
            return False
        return True

    def _drop(self, saved: SavedState, node_id: int) -> None:
        """Hold a state no more: its node starts afresh."""
        del self._held[node_id]
        if saved not in self._named:
            self._discard(saved)

    def _discard(self, saved: SavedState) -> None:
        self._forget_content(saved)
        saved.discard()

    def _forget_content(self, saved: SavedState) -> None:
        """Count a state no more among those in memory."""
        if self._in_memory.pop(saved, None) is not None:
            self._n_bytes -= saved.n_bytes


def _checked_budget(budget_bytes: int | None) -> int | None:
    """Return a budget that is one."""
    if budget_bytes is None:
        return None
    if isinstance(budget_bytes, bool) or not isinstance(budget_bytes, SupportsIndex):
        found = type(budget_bytes).__name__
        raise TypeError(f"state_budget_bytes: expected an int or None, found {found}")
    if (n_bytes := operator.index(budget_bytes)) < 0:
        expected = "at least 0 bytes, or None for no limit"
        raise ConfigError("state_budget_bytes", expected=expected, found=budget_bytes)
    return n_bytes


def _checked_directory(directory: str | Path | None, budget_bytes: int | None) -> Path | None:
    """Return a directory that states can go to, or None for none."""
    if directory is None:
        return None
    if not isinstance(directory, str | os.PathLike):
        found = type(directory).__name__
        raise TypeError(f"spill_directory: expected a path or None, found {found}")
    if budget_bytes is None:
        expected = "a state_budget_bytes beside it: without one, nothing is spilled"
        raise ConfigError("spill_directory", expected=expected, found=str(directory))
    path = Path(directory)
    if path.exists() and not path.is_dir():
        raise ConfigError("spill_directory", expected="a directory", found=str(directory))
    return path.absolute()
