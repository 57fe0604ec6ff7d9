# SPDX-License-Identifier: Apache-2.0
"""The server's end of the way down: which message stands for the broadcast model.

Invariant: the inner strategy works with the weights that nodes hold; a message that carries others,
made for one node, travels as it is.
"""

from __future__ import annotations

import logging
from typing import Any

from flwr.app import ArrayRecord, Message, RecordDict

from fl_deepcabac.errors import DeepCabacError
from fl_deepcabac.flower.broadcast import Broadcast
from fl_deepcabac.flower.broadcast_records import write_broadcast
from fl_deepcabac.flower.downlink import DownlinkConfig
from fl_deepcabac.flower.model_copy import NEEDS_KEYFRAME
from fl_deepcabac.flower.node_copies import NodeCopies
from fl_deepcabac.flower.replies import Instruction, SentModel

__all__ = ["ModelSender"]

logger = logging.getLogger("fl_deepcabac")


class ModelSender:
    """Sends the broadcast model to nodes, and remembers which of them hold it.

    Parameters
    ----------
    config : DownlinkConfig or None
        None sends all models as they are.
    """

    def __init__(self, config: DownlinkConfig | None) -> None:
        self.config = config
        self._broadcast = None if config is None else Broadcast(config)
        self._copies = NodeCopies()
        self._is_adopted = False
        self._reasons_given: set[str] = set()

    def to_plain(self) -> dict[str, Any] | None:
        """Return broadcast and copies, for a checkpoint; None where models travel as they are."""
        if self._broadcast is None:
            return None
        return {"broadcast": self._broadcast.to_plain(), "copies": self._copies.to_plain()}

    def resumed(self, plain: dict[str, Any] | None) -> ModelSender:
        """Return a sender of these settings that goes on from what `to_plain` described.

        Raises
        ------
        DeepCabacError, KeyError, TypeError, ValueError
            If it is no such description.
        """
        sender = ModelSender(self.config)
        if self.config is not None and plain is not None:
            sender._broadcast = Broadcast.from_plain(self.config, plain["broadcast"])
            sender._copies = NodeCopies.from_plain(plain["copies"])
        return sender

    def adopt(self, arrays: ArrayRecord) -> ArrayRecord:
        """Return the weights that nodes will hold, for the inner strategy to send.

        Parameters
        ----------
        arrays : ArrayRecord
            The global model.

        Returns
        -------
        ArrayRecord
            The broadcast model that follows it; `arrays` itself where models travel as they are,
            or, with a warning, where this one cannot be coded.
        """
        self._is_adopted = False
        if self._broadcast is None:
            return arrays
        try:
            self._broadcast.advance(arrays)
        except (DeepCabacError, TypeError) as error:
            if (reason := str(error)) not in self._reasons_given:
                self._reasons_given.add(reason)
                logger.warning("DeepCABAC: the model travels down uncompressed: %s", reason)
            return arrays
        self._is_adopted = True
        return self._broadcast.record

    @property
    def is_adopted(self) -> bool:
        """Whether the model adopted last travels as the broadcast model."""
        return self._is_adopted

    def with_left_out(self, arrays: ArrayRecord) -> ArrayRecord:
        """Return the global model for what was aggregated from updates of the broadcast model."""
        return arrays if self._broadcast is None else self._broadcast.with_left_out(arrays)

    def replace_weights(self, message: Message) -> SentModel | None:
        """Replace the weights of a message by what its node needs to have them.

        Returns
        -------
        SentModel or None
            None where the message does not stand for the broadcast model, and stays as it is.
        """
        broadcast = self._broadcast
        if broadcast is None or not self._stands_for(broadcast, message.content):
            return None
        [name] = message.content.array_records
        self._copies.enter_run(message.metadata.run_id)
        held = self._copies.get(message.metadata.dst_node_id)
        message.content = write_broadcast(
            message.content,
            name,
            digest=broadcast.digest,
            keeps_copy=broadcast.keeps_copies,
            envelope=broadcast.envelope_for(held),
        )
        return SentModel(broadcast.record, broadcast.digest, broadcast.keeps_copies)

    def _stands_for(self, broadcast: Broadcast, content: RecordDict) -> bool:
        """Whether a message carries the very arrays of the broadcast model."""
        records = list(content.array_records.values())
        ours = broadcast.record
        return (
            self._is_adopted
            and len(records) == 1
            and records[0].keys() == ours.keys()
            and all(records[0][name] is ours[name] for name in ours)
        )

    def note_reply(self, reply: Message, instruction: Instruction) -> None:
        """Learn from a reply whether its node holds the model that it was sent."""
        if (model := instruction.model) is None:
            return
        node_id = instruction.message.metadata.dst_node_id
        if not reply.has_error():
            if model.keeps_copy:
                self._copies.confirm(node_id, model.digest)
        elif NEEDS_KEYFRAME in (reply.error.reason or "") or (
            # The SuperLink speaks for a node that is gone.
            reply.metadata.src_node_id != node_id
        ):
            self._copies.forget(node_id)
