# SPDX-License-Identifier: Apache-2.0
"""One stream state at rest on the server: bytes in memory, or in a file.

The bytes are those of `StreamState.to_bytes`, which has compressed them already. Invariant: what is
read is what was saved, or reading raises.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path

from fl_deepcabac.config import Profile
from fl_deepcabac.errors import CorruptPacketError, TruncatedPacketError
from fl_deepcabac.flower.records import FRESH_TOKEN
from fl_deepcabac.schema import Schema
from fl_deepcabac.stream import StreamState

__all__ = ["SavedState", "restore_state", "token_of"]


class SavedState:
    """A stream state at rest: in memory, or in a file that is read anew each time.

    In use, a state takes 2 bytes a weight; saved, where most levels are zero, a small part of that.

    Parameters
    ----------
    digest : bytes
        8 bytes.
    content : bytes

    Notes
    -----
    `read` may be called by several threads, also while another one spills the state.
    """

    def __init__(self, digest: bytes, content: bytes) -> None:
        self.digest = digest
        self.n_bytes = len(content)
        self._content: bytes | None = content
        self._file: Path | None = None
        # Of the content, once it is in a file.
        self._checksum = b""

    @classmethod
    def of(cls, state: StreamState) -> SavedState:
        """Save a state."""
        return cls(state.digest, state.to_bytes())

    def read(self) -> bytes:
        """Return the content.

        Raises
        ------
        TruncatedPacketError, CorruptPacketError
            If the file does not hold what was spilled.
        RuntimeError
            If the state was discarded: nobody should have kept it.
        """
        # In this order, because `spill` names the file before it lets go of the content.
        if (content := self._content) is not None:
            return content
        if (file := self._file) is None:
            raise RuntimeError("expected a state that is held, found one that was discarded")
        try:
            content = file.read_bytes()
        except OSError as error:
            raise CorruptPacketError(
                "spilled state", 0, expected=f"{self.n_bytes} bytes in a file", found=str(error)
            ) from None
        if len(content) < self.n_bytes:
            raise TruncatedPacketError("spilled state", needed=self.n_bytes, available=len(content))
        if (found := _checksum(content)) != self._checksum:
            raise CorruptPacketError(
                "spilled state", 0, expected=f"BLAKE2b {self._checksum.hex()}", found=found.hex()
            )
        return content

    def spill(self, file: Path) -> None:
        """Move the content to a file that does not exist yet; raise OSError and stay if it cannot.

        The file has its name only once it is complete. It is not forced to the disk, because no
        other process will ever read it.
        """
        content = self.read()
        unfinished = file.with_suffix(".part")
        try:
            unfinished.write_bytes(content)
            unfinished.replace(file)
        except OSError:
            with suppress(OSError):
                unfinished.unlink()
            raise
        self._checksum = _checksum(content)
        self._file = file
        self._content = None

    def discard(self) -> None:
        """Let go of the content, in memory or in the file."""
        self._content = None
        if self._file is not None:
            with suppress(OSError):
                self._file.unlink()
            self._file = None


def _checksum(content: bytes) -> bytes:
    """Return what tells one content from another; the digest of a state follows its packets."""
    return hashlib.blake2b(content, digest_size=16).digest()


def restore_state(saved: SavedState | None, schema: Schema, profile: Profile) -> StreamState:
    """Return the state that was saved; a fresh one for None."""
    if saved is None:
        return StreamState.fresh(schema, profile)
    return StreamState.from_bytes(saved.read(), schema, profile)


def token_of(saved: SavedState | None) -> bytes:
    """Name a state for the wire."""
    return FRESH_TOKEN if saved is None else saved.digest
