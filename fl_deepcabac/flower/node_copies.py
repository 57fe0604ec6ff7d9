# SPDX-License-Identifier: Apache-2.0
"""Which node holds which model, as far as the server can know.

Invariant: a node holds the model noted here or a later one, or says that it does not.
"""

from __future__ import annotations

from typing import Any

__all__ = ["NodeCopies"]


class NodeCopies:
    """Which model each node is known to hold: the one of the last message that it answered.

    A node whose reply got lost holds that one or a later one, and can follow a chain from either.
    One that says that it has no copy, or that the SuperLink says is gone, is not trusted to hold
    anything.
    """

    def __init__(self) -> None:
        self._run_id = 0
        self._digests: dict[int, bytes] = {}

    def to_plain(self) -> dict[str, Any]:
        """Return run and digests by node, for a checkpoint."""
        return {"run_id": self._run_id, "digests": self._digests}

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> NodeCopies:
        """Return the copies that `to_plain` described."""
        copies = cls()
        copies._run_id, copies._digests = plain["run_id"], dict(plain["digests"])
        return copies

    def enter_run(self, run_id: int) -> None:
        """Forget the copies of any other run: Flower hands nodes a new state in a new one."""
        if run_id != self._run_id:
            self._run_id = run_id
            self._digests.clear()

    def get(self, node_id: int) -> bytes | None:
        """Return the digest of a node's copy; None if nobody knows of any."""
        return self._digests.get(node_id)

    def confirm(self, node_id: int, digest: bytes) -> None:
        """Note that a node holds a model."""
        self._digests[node_id] = digest

    def forget(self, node_id: int) -> None:
        """Note that a node may hold nothing."""
        self._digests.pop(node_id, None)
