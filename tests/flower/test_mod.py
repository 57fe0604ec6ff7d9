# SPDX-License-Identifier: Apache-2.0
"""The client mod as a plain function on messages."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from flower.toy import EXACT, STEP, arrays_of, initial_arrays, new_context, record_of, train_message
from flwr.app import (
    Array,
    ArrayRecord,
    ConfigRecord,
    Context,
    Error,
    Message,
    MetricRecord,
    RecordDict,
)

from fl_deepcabac import (
    CodecConfig,
    ConfigError,
    ImportanceError,
    NonFiniteError,
    Schema,
    SchemaMismatchError,
    StreamState,
    decode_update,
    inspect_packet,
)
from fl_deepcabac.flower import IMPORTANCE_RECORD, deepcabac_mod
from fl_deepcabac.flower.records import (
    FRESH_TOKEN,
    MAX_ENCODE_SECONDS,
    PACKET_STYPE,
    parse_update,
    settings_of,
    write_settings,
    write_update,
)

Train = Callable[[Message, Context], Message]


def replying(content: RecordDict) -> Train:
    return lambda msg, _: Message(content, reply_to=msg)


def replying_arrays(arrays: dict[str, Any] | ArrayRecord) -> Train:
    record = arrays if isinstance(arrays, ArrayRecord) else record_of(arrays)
    return replying(RecordDict({"arrays": record, "metrics": MetricRecord({"num-examples": 1})}))


def moved(record: ArrayRecord) -> dict[str, Any]:
    """Every weight one step up."""
    return {name: (array + np.float32(STEP)) for name, array in arrays_of(record).items()}


def instructed(
    record: ArrayRecord, config: CodecConfig = EXACT, *, token: bytes = FRESH_TOKEN, **kwargs: Any
) -> Message:
    message = train_message(record, **kwargs)
    message.content = write_settings(message.content, config, token=token)
    return message


def schema_of(record: ArrayRecord) -> Schema:
    return Schema.from_arrays(arrays_of(record))


@pytest.mark.parametrize("message_type", ["train", "train.finetune"])
def test_mod_replaces_the_arrays_of_a_train_reply_by_one_packet(message_type: str) -> None:
    arrays = initial_arrays()
    msg = instructed(arrays, message_type=message_type)
    reply = deepcabac_mod(msg, new_context(), replying_arrays(moved(arrays)))

    [array] = reply.content["arrays"].values()
    assert (array.stype, array.dtype, array.shape) == (PACKET_STYPE, "uint8", (len(array.data),))
    assert dict(reply.content["metrics"]) == {"num-examples": 1}
    update = parse_update(reply.content)
    assert update is not None
    assert update.record_name == "arrays"
    assert 0 < update.encode_seconds < 60
    schema = schema_of(arrays)
    decoded = decode_update(
        update.packet, schema=schema, state=StreamState.fresh(schema, EXACT.profile)
    )
    for tensor in decoded.update.values():
        np.testing.assert_array_equal(tensor, np.float32(STEP))


def test_mod_lets_the_app_see_the_message_as_it_came() -> None:
    arrays, seen = initial_arrays(), []
    msg = instructed(arrays)

    def train(message: Message, context: Context) -> Message:
        seen.append(message)
        return replying_arrays(moved(arrays))(message, context)

    deepcabac_mod(msg, new_context(), train)
    assert seen == [msg]
    assert set(msg.content["config"]) == {"server-round", "fl-deepcabac", "fl-deepcabac-state"}


def test_mod_survives_an_app_that_empties_the_record_it_received() -> None:
    arrays = initial_arrays()
    trained = moved(arrays)

    def train(message: Message, context: Context) -> Message:
        message.content["arrays"].to_numpy_ndarrays(keep_input=False)
        return replying_arrays(trained)(message, context)

    reply = deepcabac_mod(instructed(arrays), new_context(), train)
    assert parse_update(reply.content) is not None


@pytest.mark.parametrize("message_type", ["evaluate", "query", "evaluate.train"])
def test_mod_ignores_messages_of_other_types(message_type: str) -> None:
    arrays = initial_arrays()
    context = new_context()
    msg = instructed(arrays, message_type=message_type)
    reply = deepcabac_mod(msg, context, replying_arrays(moved(arrays)))
    assert set(reply.content["arrays"]) == set(arrays)
    assert not context.state


def test_mod_ignores_train_messages_without_settings() -> None:
    arrays = initial_arrays()
    reply = deepcabac_mod(train_message(arrays), new_context(), replying_arrays(moved(arrays)))
    assert parse_update(reply.content) is None


def test_mod_passes_error_replies_on() -> None:
    context = new_context()
    reply = deepcabac_mod(
        instructed(initial_arrays()), context, lambda msg, _: Message(Error(7, "x"), reply_to=msg)
    )
    assert reply.error.code == 7
    assert not context.state


def without_bias(arrays: dict[str, Any]) -> dict[str, Any]:
    return {name: array for name, array in arrays.items() if name != "fc.bias"}


def with_other_shape(arrays: dict[str, Any]) -> dict[str, Any]:
    return {**arrays, "fc.bias": np.zeros((3, 8), np.float32)}


def with_integers(arrays: dict[str, Any]) -> dict[str, Any]:
    return {**arrays, "fc.bias": np.zeros(24, np.int64)}


def with_foreign_arrays(arrays: dict[str, Any]) -> ArrayRecord:
    record = record_of(arrays)
    record["fc.bias"] = Array("float32", (24,), "safetensors", b"0" * 96)
    return record


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (without_bias, r"difference in \['fc.bias'\]"),
        (with_other_shape, r"tensor 'fc.bias': expected float32 \(24,\)"),
        (with_integers, r"tensor 'fc.bias'.*found int64"),
        (with_foreign_arrays, "found .*safetensors"),
    ],
)
def test_mod_lets_replies_pass_that_are_no_update(
    change: Callable[[dict[str, Any]], Any], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    arrays, context = initial_arrays(), new_context()
    sent = change(moved(arrays))
    reply = deepcabac_mod(instructed(arrays), context, replying_arrays(sent))
    assert parse_update(reply.content) is None
    assert set(reply.content["arrays"]) == set(sent)
    assert not context.state
    [warning] = caplog.records
    assert warning.levelname == "WARNING"
    assert re.search(f"{reason}.*travels uncompressed", warning.getMessage())


def test_mod_lets_replies_with_two_array_records_pass(caplog: pytest.LogCaptureFixture) -> None:
    arrays = initial_arrays()
    content = RecordDict({"a": arrays, "b": arrays})
    reply = deepcabac_mod(instructed(arrays), new_context(), replying(content))
    assert set(reply.content) == {"a", "b"}
    assert "expected one ArrayRecord in the reply, found 2" in caplog.text


def test_mod_lets_messages_with_two_array_records_pass(caplog: pytest.LogCaptureFixture) -> None:
    arrays = initial_arrays()
    msg = instructed(arrays)
    msg.content["more"] = arrays
    reply = deepcabac_mod(msg, new_context(), replying_arrays(moved(arrays)))
    assert parse_update(reply.content) is None
    assert "expected one ArrayRecord in the train message, found 2" in caplog.text


def test_mod_orders_tensors_as_received() -> None:
    arrays = initial_arrays()
    backwards = dict(reversed(moved(arrays).items()))
    reply = deepcabac_mod(instructed(arrays), new_context(), replying_arrays(backwards))
    update = parse_update(reply.content)
    assert update is not None
    assert inspect_packet(update.packet).schema_digest == schema_of(arrays).digest


def test_mod_casts_floats_of_another_width_to_the_dtype_received() -> None:
    arrays = initial_arrays()
    wide = {name: array.astype(np.float64) for name, array in moved(arrays).items()}
    reply = deepcabac_mod(instructed(arrays), new_context(), replying_arrays(wide))
    update = parse_update(reply.content)
    assert update is not None
    assert inspect_packet(update.packet).schema_digest == schema_of(arrays).digest


def test_mod_raises_on_weights_that_are_not_finite_and_leaves_the_state() -> None:
    arrays, context = initial_arrays(), new_context()
    diverged = moved(arrays)
    diverged["fc.bias"][3] = np.nan
    with pytest.raises(NonFiniteError, match=r"fc\.bias") as caught:
        deepcabac_mod(instructed(arrays), context, replying_arrays(diverged))
    assert caught.value.index == (3,)
    assert not context.state


def test_mod_lets_a_newer_protocol_pass_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    arrays = initial_arrays()
    msg = instructed(arrays)
    msg.content["config"]["fl-deepcabac"] = json.dumps({"protocol": 99, "anything": True})
    reply = deepcabac_mod(msg, new_context(), replying_arrays(moved(arrays)))
    assert parse_update(reply.content) is None
    assert "another version of the protocol" in caplog.text


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("fl-deepcabac", "{"),
        ("fl-deepcabac", "[]"),
        ("fl-deepcabac", 7),
        ("fl-deepcabac", '{"protocol": 1}'),
        ("fl-deepcabac", '{"protocol": 1, "config": {"step": -1}}'),
        ("fl-deepcabac-state", b"seven.."),
        ("fl-deepcabac-state", "12345678"),
    ],
)
def test_mod_refuses_settings_it_cannot_read(key: str, value: Any) -> None:
    msg = instructed(initial_arrays())
    msg.content["config"][key] = value
    with pytest.raises(ConfigError):
        deepcabac_mod(msg, new_context(), replying_arrays({}))


def test_mod_refuses_secure_aggregation_in_the_message_and_in_the_state() -> None:
    arrays = initial_arrays()
    masked = instructed(arrays)
    masked.content["secaggplus_configs"] = ConfigRecord({"stage": "setup"})
    with pytest.raises(ConfigError, match="secure aggregation"):
        deepcabac_mod(masked, new_context(), replying_arrays({}))
    state = RecordDict({"secaggplus_state": ConfigRecord({"nid": 1})})
    with pytest.raises(ConfigError, match="secure aggregation"):
        deepcabac_mod(instructed(arrays), new_context(state=state), replying_arrays({}))


def test_mod_leaves_secure_aggregation_alone_that_does_not_ask_for_compression() -> None:
    msg = train_message(initial_arrays())
    msg.content["secaggplus_configs"] = ConfigRecord({"stage": "setup"})
    reply = deepcabac_mod(msg, new_context(), replying_arrays(initial_arrays()))
    assert parse_update(reply.content) is None


@pytest.mark.parametrize("records", [{}, {"only": ConfigRecord({"lr": 0.1})}])
def test_settings_find_their_place_in_any_content(records: dict[str, Any]) -> None:
    content = RecordDict({"arrays": initial_arrays(), **records})
    written = write_settings(content, EXACT, token=b"12345678")
    found = settings_of(written)
    assert found is not None
    assert found["fl-deepcabac-state"] == b"12345678"
    assert len(written.config_records) == 1
    assert settings_of(content) is None


@pytest.mark.parametrize("seconds", [0.0, 3e-5, 0.0123, 1.0, 4321.0, 65504.0])
def test_encode_time_is_kept_to_a_thousandth(seconds: float) -> None:
    answers = train_message(ArrayRecord()).metadata
    record = write_update(b"packet", answers=answers, encode_seconds=seconds)
    update = parse_update(RecordDict({"arrays": record}))
    assert update is not None
    assert update.packet == b"packet"
    assert update.encode_seconds == pytest.approx(seconds, rel=1e-3)


def test_encode_time_saturates() -> None:
    answers = train_message(ArrayRecord()).metadata
    record = write_update(b"packet", answers=answers, encode_seconds=1e9)
    update = parse_update(RecordDict({"arrays": record}))
    assert update is not None
    assert update.encode_seconds == MAX_ENCODE_SECONDS


def reply_to(
    importance: dict[str, Any] | None, config: CodecConfig, *mods: Any
) -> tuple[Message, Context]:
    """Return what becomes of a reply whose weights moved a little, and of what they count."""
    before, context = initial_arrays(), new_context()
    rng = np.random.default_rng(4)
    after = {
        name: (array + 0.7 * STEP * rng.normal(size=array.shape)).astype(array.dtype)
        for name, array in arrays_of(before).items()
    }

    def train(msg: Message, context: Context) -> Message:
        if importance is not None:
            context.state[IMPORTANCE_RECORD] = record_of(importance)
        metrics = MetricRecord({"num-examples": 3})
        content = RecordDict({"arrays": record_of(after), "metrics": metrics})
        return Message(content, reply_to=msg)

    call = train
    for mod in mods:
        call = partial(mod, call_next=call)
    return deepcabac_mod(instructed(before, config), context, call), context


def packet_of(reply: Message) -> bytes:
    assert not reply.has_error()
    assert set(reply.content) == {"arrays", "metrics"}
    update = parse_update(reply.content)
    assert update is not None
    return update.packet


def test_importance_of_the_app_weighs_errors_and_does_not_stay() -> None:
    config = CodecConfig(step=STEP, rd_lambda=0.3)
    counts = np.ones((24, 16))
    counts[0] = 50.0
    reply, context = reply_to({"fc.weight": counts}, config)
    assert packet_of(reply) != packet_of(reply_to(None, config)[0])
    assert IMPORTANCE_RECORD not in context.state


def test_importance_left_by_an_earlier_update_is_not_used() -> None:
    config = CodecConfig(step=STEP, rd_lambda=0.3)
    before, context = initial_arrays(), new_context()
    context.state[IMPORTANCE_RECORD] = record_of({"fc.weight": np.eye(24, 16)})
    reply = deepcabac_mod(instructed(before, config), context, replying_arrays(moved(before)))
    fresh = deepcabac_mod(instructed(before, config), new_context(), replying_arrays(moved(before)))
    assert packet_of(reply) == packet_of(fresh)


def test_importance_goes_with_mods_that_clip() -> None:
    def clips(msg: Message, context: Context, call_next: Train) -> Message:
        reply = call_next(msg, context)
        [record] = reply.content.array_records.values()
        assert set(record) == set(initial_arrays())
        return reply

    config = CodecConfig(step=STEP, rd_lambda=0.3)
    given = {"fc.weight": np.eye(24, 16)}
    assert packet_of(reply_to(given, config, clips)[0]) == packet_of(reply_to(given, config)[0])


@pytest.mark.parametrize("quantizer", ["uniform", "stochastic"])
def test_importance_that_no_quantizer_weighs_is_left_out(quantizer: Any) -> None:
    config = CodecConfig(step=STEP, quantizer=quantizer)
    with pytest.warns(UserWarning, match="expected the quantiser rdoq"):
        weighed, _ = reply_to({"fc.bias": np.ones(24)}, config)
    assert packet_of(weighed) == packet_of(reply_to(None, config)[0])


@pytest.mark.parametrize(
    ("importance", "quantizer", "error"),
    [
        ({"no such tensor": np.ones(3)}, "rdoq", SchemaMismatchError),
        ({"fc.bias": np.ones(3)}, "rdoq", SchemaMismatchError),
        ({"fc.bias": -np.ones(24)}, "rdoq", ImportanceError),
    ],
)
def test_importance_that_does_not_fit_is_an_error(
    importance: dict[str, Any], quantizer: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        reply_to(importance, CodecConfig(step=STEP, quantizer=quantizer))
