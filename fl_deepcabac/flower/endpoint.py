# SPDX-License-Identifier: Apache-2.0
"""The server's end of the conversation with the nodes; no strategy in it.

`instruct` adds settings and token to the messages of the inner strategy, `receive_train` turns the
replies into ordinary ones. Invariant: a reply that leaves here is either usable, with weights in
the names, order, shapes and dtypes that its node received, or it is that node's error reply; and
the state held for a node advances only by a packet that decoded.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from flwr.app import Array, Error, Message, MetricRecord, RecordDict

from fl_deepcabac.config import CodecConfig
from fl_deepcabac.errors import CorruptPacketError, DeepCabacError, SchemaMismatchError
from fl_deepcabac.flower.lazy import PacketReader, ReadingDesk
from fl_deepcabac.flower.ledger import CommunicationLedger, Payload, Phase, RoundRecord, Transfer
from fl_deepcabac.flower.model_sender import ModelSender
from fl_deepcabac.flower.node_states import NodeStates
from fl_deepcabac.flower.records import (
    NUMPY_STYPE,
    refuse_secure_aggregation,
    replace_record,
    write_settings,
)
from fl_deepcabac.flower.replies import (
    Acceptance,
    Instruction,
    SentModel,
    Verdict,
    check_replies,
)
from fl_deepcabac.flower.saved_state import token_of
from fl_deepcabac.flower.step_control import StepControl
from fl_deepcabac.flower.weights import schema_of
from fl_deepcabac.schema import Schema
from fl_deepcabac.update_norm import check_max_update_norm

__all__ = ["UNUSABLE_REPLY", "ServerEndpoint"]

logger = logging.getLogger("fl_deepcabac")

# Error code of a reply that could not be decoded; Flower's own codes are small.
UNUSABLE_REPLY: Final = 0xDCAB


class ServerEndpoint:
    """What the server knows about its nodes, and what has passed between them.

    Parameters
    ----------
    config : CodecConfig
    is_active : bool
        False leaves all messages as they are and only counts them.
    states : NodeStates, optional
        Where states are held; without a budget if not given.
    models : ModelSender, optional
        How models travel down; as they are if not given.
    max_update_norm : float, optional
        The largest Euclidean norm of an update; no limit if not given.
    weight_key : str
        Under which replies name their weight in the average.
    """

    def __init__(
        self,
        config: CodecConfig,
        *,
        is_active: bool,
        states: NodeStates | None = None,
        models: ModelSender | None = None,
        max_update_norm: float | None = None,
        weight_key: str = "num-examples",
    ) -> None:
        self.config = config
        self.steps = StepControl(config, weight_key=weight_key)
        self.acceptance = Acceptance(config.profile, check_max_update_norm(max_update_norm))
        self.is_active = is_active
        self.ledger = CommunicationLedger()
        self.states = NodeStates() if states is None else states
        self.models = ModelSender(None) if models is None else models
        # Those waiting for replies; a loop of its own may have both phases under way.
        self._instructions: dict[Phase, list[Instruction]] = {"train": [], "evaluate": []}
        self._reasons_given: set[str] = set()

    def instruct(
        self, server_round: int, messages: Iterable[Message], phase: Phase
    ) -> list[Message]:
        """Count messages on their way down, and ask the receivers of train messages to compress.

        Parameters
        ----------
        server_round : int
        messages : iterable of Message
            Of the inner strategy. A train message gets a content of its own, never an edited one.
        phase : {"train", "evaluate"}

        Returns
        -------
        list of Message
            The same messages.

        Raises
        ------
        ConfigError
            If they belong to SecAgg or SecAgg+.
        """
        record = self.ledger.begin(server_round) if phase == "train" else self._record(server_round)
        messages = list(messages)
        config = self.steps.config_for(messages) if phase == "train" else self.config
        # Most strategies send one content to all nodes: it is measured once.
        known: dict[int, tuple[Schema | None, int, Payload]] = {}
        asked: set[int] = set()
        instructions = self._instructions[phase] = []
        for message in messages:
            content = message.content
            if id(content) not in known:
                schema = self._schema_to_code(content) if phase == "train" else None
                known[id(content)] = schema, _raw_bytes(content), Payload.of(content)
            schema, raw_bytes, payload = known[id(content)]
            transfer = record.open(phase, message.metadata.dst_node_id)
            model = self.models.replace_weights(message)
            if model is not None:
                payload = Payload.of(message.content)
            packet_bytes = raw_bytes if model is None else payload.n_bytes
            transfer.sent(raw_bytes=raw_bytes, packet_bytes=packet_bytes, message=payload)
            instructions.append(self._instruction(message, transfer, schema, model, asked, config))
        return messages

    def _instruction(
        self,
        message: Message,
        transfer: Transfer,
        schema: Schema | None,
        model: SentModel | None,
        asked: set[int],
        config: CodecConfig,
    ) -> Instruction:
        """Put settings and token into a message, given a schema to code by; add to nodes asked."""
        if schema is None:
            return Instruction(message, transfer, model=model)
        # Of several messages to a node only the first names a state: two packets coded against one
        # would both carry its residual.
        state = None if transfer.node_id in asked else self.states.get(transfer.node_id, schema)
        asked.add(transfer.node_id)
        message.content = write_settings(message.content, config, token=token_of(state))
        return Instruction(message, transfer, schema, state, model)

    def _schema_to_code(self, content: RecordDict) -> Schema | None:
        """Describe the weights of a train message; None, with a warning, if they stay as is."""
        if not self.is_active:
            return None
        refuse_secure_aggregation(content)
        try:
            return _schema_of_content(content)
        except SchemaMismatchError as error:
            if (reason := str(error)) not in self._reasons_given:
                self._reasons_given.add(reason)
                logger.warning("DeepCABAC: updates will travel uncompressed: %s", reason)
            return None

    @contextmanager
    def receive_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> Iterator[list[Message]]:
        """Turn the replies of a round into what an inner strategy aggregates.

        Parameters
        ----------
        server_round : int
        replies : iterable of Message

        Yields
        ------
        list of Message
            One per reply, in order. The weights of a packet are decoded when they are read, which
            is possible until the context is left.
        """
        record, desk = self._record(server_round), ReadingDesk()
        pairs = self._pair("train", replies)
        received = [
            self._accept(record, desk, reply, instruction, verdict)
            for (reply, instruction), verdict in zip(
                pairs, check_replies(pairs, self.acceptance), strict=True
            )
        ]
        _warn_if_none_usable(record, received)
        self.steps.note_replies(received)
        try:
            yield received
        finally:
            desk.close()
            self.states.release()

    def receive_evaluate(self, replies: Iterable[Message]) -> list[Message]:
        """Count the replies to evaluate messages; they pass through as they are."""
        pairs = self._pair("evaluate", replies)
        for reply, instruction in pairs:
            if instruction is not None:
                _count_reply(instruction.transfer, reply)
        return [reply for reply, _ in pairs]

    def _pair(
        self, phase: Phase, replies: Iterable[Message]
    ) -> list[tuple[Message, Instruction | None]]:
        """Find the instruction of each reply; None for unknown ones and for a second reply.

        The id is all there is to go by: errors that the SuperLink itself reports name no node.
        """
        waiting = {
            instruction.message.metadata.message_id: instruction
            for instruction in self._instructions[phase]
        }
        self._instructions[phase] = []
        pairs = [
            (reply, waiting.pop(reply.metadata.reply_to_message_id, None)) for reply in replies
        ]
        for reply, instruction in pairs:
            if instruction is not None:
                self.models.note_reply(reply, instruction)
        return pairs

    def _accept(
        self,
        record: RoundRecord,
        desk: ReadingDesk,
        reply: Message,
        instruction: Instruction | None,
        verdict: Verdict,
    ) -> Message:
        """Enter one reply in the books and return what the inner strategy shall see of it."""
        if instruction is None:
            if not isinstance(verdict, DeepCabacError):
                return reply
            instruction = _stand_in(record, reply)
        transfer = instruction.transfer
        payload = _count_reply(transfer, reply)
        if verdict is None:
            verdict = _count_as_it_is(transfer, reply)
            if verdict is None:
                return reply
        if isinstance(verdict, DeepCabacError):
            reason = f"{type(verdict).__name__}: {verdict}"
            logger.warning("DeepCABAC: reply of node %d is unusable: %s", transfer.node_id, reason)
            transfer.failed(reason, packet_bytes=payload.n_bytes)
            return Message(Error(UNUSABLE_REPLY, reason), reply_to=instruction.message)
        self.states.put(transfer.node_id, verdict.schema, verdict.state_after)
        transfer.decoded(
            is_fresh=verdict.state_before is None,
            packet_bytes=len(verdict.packet),
            raw_bytes=verdict.schema.raw_bytes,
            n_weights=verdict.schema.n_elements,
            encode_seconds=verdict.encode_seconds,
            decode_seconds=verdict.decode_seconds,
        )
        record.add_tensor_bytes({row.name: row.n_bytes for row in verdict.report.tensors})
        reader = PacketReader(
            verdict, reference=instruction.reference, desk=desk, transfer=transfer
        )
        reply.content = replace_record(reply.content, verdict.record_name, reader.to_record())
        return reply

    def with_totals(self, server_round: int, metrics: MetricRecord | None) -> MetricRecord | None:
        """Return aggregated metrics with what the train messages of the round have cost.

        Keys start with ``deepcabac-``; `fl_deepcabac.flower.ledger.Totals` says what they mean.
        """
        if metrics is None:
            return None
        totals = self._record(server_round).totals("train").to_dict()
        ours = {f"deepcabac-{name.replace('_', '-')}": value for name, value in totals.items()}
        return MetricRecord({**metrics, **ours})

    def _record(self, server_round: int) -> RoundRecord:
        """Return the record of the round in progress."""
        if self.ledger.rounds and self.ledger.rounds[-1].server_round == server_round:
            return self.ledger.rounds[-1]
        return self.ledger.begin(server_round)


def _schema_of_content(content: RecordDict) -> Schema:
    """Describe the weights of a train message, or raise with the reason why none can be coded."""
    records = list(content.array_records.values())
    if len(records) != 1:
        raise SchemaMismatchError(f"expected one ArrayRecord, found {len(records)}")
    stypes = {array.stype for array in records[0].values()}
    if stypes - {NUMPY_STYPE}:
        raise SchemaMismatchError(f"expected arrays of {NUMPY_STYPE}, found {sorted(stypes)}")
    schema = schema_of(records[0])
    if not schema.level_tensors:
        raise SchemaMismatchError("expected floating-point weights with an axis, found none")
    return schema


def _count_reply(transfer: Transfer, reply: Message) -> Payload:
    """Enter that a reply came, and the error it may carry."""
    payload = Payload.of(reply.content) if reply.has_content() else Payload()
    transfer.replied(payload)
    if reply.has_error():
        transfer.failed(reply.error.reason or f"error {reply.error.code}")
    return payload


def _count_as_it_is(transfer: Transfer, reply: Message) -> CorruptPacketError | None:
    """Enter a reply without a packet; return what is wrong with it where NumPy cannot read it."""
    if reply.has_content():
        try:
            transfer.uncompressed(raw_bytes=_raw_bytes(reply.content))
        except CorruptPacketError as error:
            return error
    return None


def _stand_in(record: RoundRecord, reply: Message) -> Instruction:
    """Return an instruction for a packet that answers none, so that its error names the node."""
    node_id, message_type = reply.metadata.src_node_id, reply.metadata.message_type
    message = Message(RecordDict(), dst_node_id=node_id, message_type=message_type)
    return Instruction(message, record.open("train", node_id))


def _warn_if_none_usable(record: RoundRecord, received: list[Message]) -> None:
    """Say loudly that a round has taught the model nothing."""
    if record.transfers and all(reply.has_error() for reply in received):
        reasons = sorted({row.failure for row in record.transfers if row.failure is not None})
        logger.warning(
            "DeepCABAC: round %d: none of %d train messages led to a usable reply; reasons: %s",
            record.server_round,
            len(record.transfers),
            "; ".join(reasons),
        )


def _raw_bytes(content: RecordDict) -> int:
    """Return the bytes of all arrays, elements times bytes per element.

    Raises
    ------
    CorruptPacketError
        If NumPy cannot read one of its own.
    """
    return sum(
        _n_bytes(name, array) if array.stype == NUMPY_STYPE else len(array.data)
        for record in content.array_records.values()
        for name, array in record.items()
    )


def _n_bytes(name: str, array: Array) -> int:
    try:
        tensor = array.numpy()
        # Archives of NumPy are read too, and are no arrays.
        return int(tensor.nbytes)
    except Exception as error:  # NumPy says nowhere what it raises over damaged bytes
        raise CorruptPacketError(
            f"array {name!r}", 0, expected="an array that NumPy can read", found=error
        ) from error
