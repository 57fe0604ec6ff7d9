# SPDX-License-Identifier: Apache-2.0
"""The ways by which a node gets to the broadcast model; the server's side.

From a model it holds by the differences since; from nothing by a keyframe, or by the file that the
run started from and all differences since. Invariants: no way is longer than a keyframe, and the
chain begins with the file's model for as long as there is a file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fl_deepcabac.flower.broadcast_records import (
    Difference,
    FileAndChain,
    envelope_of_chain,
    envelope_of_file,
)

__all__ = ["Ways"]


class Ways:
    """What leads to the broadcast model of now.

    Parameters
    ----------
    encode_keyframe : callable
        Returns the keyframe of the broadcast model, as an envelope.

    Attributes
    ----------
    is_keyframe_sent : bool
        Whether a node may have got to this model by its keyframe, and so know nothing of the
        stream of differences.
    """

    def __init__(self, encode_keyframe: Callable[[], bytes]) -> None:
        self.is_keyframe_sent = False
        self._encode_keyframe = encode_keyframe
        self._chain: list[Difference] = []
        self._file: bytes | None = None
        self._keyframe: bytes | None = None  # of this model, once it was made
        self._keyframe_bytes = 0  # of the last one made
        self._envelopes: dict[bytes, bytes] = {}

    def begin(self, file: bytes | None) -> None:
        """Forget all ways: there is a first model, perhaps that of a file."""
        self._chain, self._file = [], file
        self._arrive()

    def follow(self, base: bytes, packet: bytes, digest: bytes) -> bool:
        """Let a difference lead on from the model of now, which is `base`.

        Parameters
        ----------
        base, digest : bytes
            The models before and after it.
        packet : bytes

        Returns
        -------
        bool
            Whether the stream of differences goes on. Where it leads back to an earlier model it
            does not: nodes that stayed there, or stop there, know nothing of what came since.
        """
        bases = [link.base for link in self._chain]
        is_new = digest not in bases
        if is_new:
            self._chain.append(Difference(base, packet))
        else:
            del self._chain[bases.index(digest) :]
        self._arrive()
        self._trim()
        return is_new

    def _arrive(self) -> None:
        self._keyframe, self.is_keyframe_sent = None, False
        self._envelopes = {}

    def _trim(self) -> None:
        """Forget the oldest differences where they are too many to be sent."""
        if self._file is not None:
            n_bytes = len(self._from_file() or b"")
            # Without its first difference the file is of no use: worth an exact look.
            if n_bytes <= self._keyframe_bytes or n_bytes <= len(self._make_keyframe()):
                return
            self._file = None
        n_bytes = len(envelope_of_chain(self._chain))
        while len(self._chain) > 1 and n_bytes > self._keyframe_bytes:
            n_bytes -= len(envelope_of_chain(self._chain[:1])) - 1
            del self._chain[0]

    def shortest(self, held: bytes | None) -> bytes:
        """Return the envelope for a node that holds a model, or none, or one unknown.

        Parameters
        ----------
        held : bytes or None
            Digest of the model, another one than that of now.
        """
        key = held or b""
        if key not in self._envelopes:
            self._envelopes[key] = self._shorter(self._from_model(held) or self._from_file())
        return self._envelopes[key]

    def _shorter(self, way: bytes | None) -> bytes:
        """Return a way, or a keyframe where there is none, or where that is shorter.

        The last keyframe's size stands in for that of one that nobody needed yet.
        """
        if way is not None and len(way) <= self._keyframe_bytes:
            return way
        keyframe = self._make_keyframe()
        if way is not None and len(way) <= len(keyframe):
            return way
        self.is_keyframe_sent = True
        return keyframe

    def _from_model(self, held: bytes | None) -> bytes | None:
        """Return the differences since a model; None if they are not known any more."""
        bases = [link.base for link in self._chain]
        return envelope_of_chain(self._chain[bases.index(held) :]) if held in bases else None

    def _from_file(self) -> bytes | None:
        """Return the file and the differences since; None where there is no file."""
        if self._file is None:
            return None
        return envelope_of_file(FileAndChain(self._file, tuple(self._chain)))

    def _make_keyframe(self) -> bytes:
        if self._keyframe is None:
            self._keyframe = self._encode_keyframe()
            self._keyframe_bytes = len(self._keyframe)
        return self._keyframe

    def to_plain(self) -> dict[str, Any]:
        """Return all of this, for a checkpoint."""
        return {
            "chain": [[link.base, link.packet] for link in self._chain],
            # One that was made and not sent can be made again.
            "keyframe": self._keyframe if self.is_keyframe_sent else None,
            "keyframe_bytes": self._keyframe_bytes,
            "file": self._file,
        }

    def restore(self, plain: dict[str, Any]) -> None:
        """Go on from what `to_plain` returned.

        Raises
        ------
        KeyError, TypeError, ValueError
            If it is no such description.
        """
        self._chain = [Difference(base, packet) for base, packet in plain["chain"]]
        self._keyframe = plain["keyframe"]
        self.is_keyframe_sent = self._keyframe is not None
        self._keyframe_bytes = plain["keyframe_bytes"]
        # Earlier checkpoints know of no file.
        self._file = plain.get("file")
