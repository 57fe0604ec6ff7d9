# SPDX-License-Identifier: Apache-2.0
"""One SuperNode with a key of its own: registered once, started as often as need be."""

from __future__ import annotations

import time
from dataclasses import KW_ONLY, dataclass, field

from deployment.credentials import NodeFiles
from deployment.federation import Federation

# A killed SuperNode is online to the SuperLink until 2 heartbeats of 30 s are missing, and for as
# long its successor is refused and exits: whoever runs SuperNodes has to try again, so we do too.
MAX_REFUSED_SECONDS = 90.0
SECONDS_BETWEEN_ATTEMPTS = 5.0


@dataclass
class SuperNode:
    """A node of a federation, called as its key; the last character is its partition."""

    federation: Federation
    keys: NodeFiles
    _: KW_ONLY
    superlink_port: int
    port: int
    registered_id: int = field(default=0, init=False)

    @property
    def name(self) -> str:
        """Name of its processes and log."""
        return self.keys.private.name

    def register(self) -> None:
        """Tell the SuperLink the key, and note the id that it gives to it."""
        command = ("flwr", "supernode", "register", self.keys.public, "tls", "--format=json")
        self.registered_id = int(self.federation.call(*command)["node-id"])

    def start(self) -> None:
        """Start a process and wait until the SuperLink has let it in."""
        self._launch()
        self.federation.wait_until(f"{self.name} to be let in", self.ids_said)

    def start_until_let_in(self) -> None:
        """Start processes, one after the other, until one is let in."""
        limit = time.monotonic() + MAX_REFUSED_SECONDS
        n_before = len(self.ids_said())

        def is_decided() -> bool:
            return len(self.ids_said()) > n_before or self.federation.has_ended(self.name)

        while True:
            self._launch()
            self.federation.wait_until(f"{self.name} to be let in or refused", is_decided)
            if len(self.ids_said()) > n_before:
                return
            self.federation.note(f"{self.name} was refused")
            assert time.monotonic() < limit, f"{self.name} refused for {MAX_REFUSED_SECONDS:g} s"
            time.sleep(SECONDS_BETWEEN_ATTEMPTS)

    def ids_said(self) -> list[str]:
        """List the ids that its processes have logged, each when it was let in."""
        return self.federation.said(self.name, r"SuperNode ID: (\d+)")

    def _launch(self) -> None:
        self.federation.start(
            self.name,
            "flower-supernode",
            *("--root-certificates", self.federation.folder / "ca.crt"),
            *("--superlink", f"127.0.0.1:{self.superlink_port}", "--port", str(self.port)),
            *("--auth-supernode-private-key", self.keys.private),
            *("--node-config", f"partition-id={self.name[-1]} num-partitions=2"),
        )
