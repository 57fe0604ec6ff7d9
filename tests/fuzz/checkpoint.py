# SPDX-License-Identifier: Apache-2.0
"""Checkpoint files: loading takes effect as a whole or not at all, and saves to the same again.

Input: a byte, 128 for the strategy with a compressed way down, plus how the rest is meant (`HOW`).
What is edited are the checkpoints in the corpus, files named after their strategies.
"""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
import zipfile
from dataclasses import asdict
from functools import cache
from pathlib import Path

import zstandard
from flwr.serverapp.strategy import FedAdam, FedAvg

from fl_deepcabac import CodecConfig, DeepCabacError
from fl_deepcabac.flower import DeepCABACStrategy, DownlinkConfig
from fl_deepcabac.flower.checkpoint_file import encode_value
from fuzz.corpus import read_corpus
from fuzz.inputs import Draws, edit_bytes, edit_json

# The file itself; edits to one; edits to values and bytes of its manifest, to a blob, and to the
# JSON in one that is a compressed round of the ledger, with checksums and names put right.
HOW = ("as it is", "edited", "values edited", "manifest edited", "blob edited", "round edited")
WITH_DOWNLINK = 128
BASES = ("fedavg", "fedadam_downlink")
MANIFEST = "manifest.json"
FOLDER = "blobs/"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"

Members = dict[str, bytes]


def build(base: str) -> DeepCABACStrategy:
    """Return the strategy that a checkpoint is of."""
    counts = {"min_available_nodes": 2, "min_train_nodes": 2, "min_evaluate_nodes": 2}
    config = CodecConfig(relative_step=2.0)
    if base == "fedavg":
        return DeepCABACStrategy(FedAvg(**counts), config)
    inner = FedAdam(**counts, eta=0.01)
    return DeepCABACStrategy(inner, config, downlink=DownlinkConfig(profile="fast"))


def run(data: bytes) -> None:
    draws = Draws(data)
    choice = draws.number(1)
    base = BASES[choice >= WITH_DOWNLINK]
    how = HOW[choice % WITH_DOWNLINK % len(HOW)]
    whole = read_corpus("checkpoint")[base][1:]
    if how == "as it is":
        content = draws.rest()
    elif how == "edited":
        content = edit_bytes(whole, draws)
    else:
        content = _pack(_edit(dict(_unpack(whole)), how, draws))
    check(base, content, is_damaged=how == "edited")


def _edit(members: Members, how: str, draws: Draws) -> Members:
    manifest = members[MANIFEST]
    if how == "values edited":
        text = edit_json(manifest.decode(), draws)
        members[MANIFEST] = text.encode("utf-8", "surrogatepass")
    elif how == "manifest edited":
        members[MANIFEST] = edit_bytes(manifest, draws)
    else:
        is_round = how == "round edited"
        candidates = [name for name, blob in members.items() if not is_round or _is_frame(blob)]
        name = candidates[draws.below(len(candidates))]
        blob = _edit_round(members[name], draws) if is_round else edit_bytes(members[name], draws)
        renamed = FOLDER + hashlib.blake2b(blob, digest_size=32).hexdigest()
        members[renamed if name != MANIFEST else name] = blob
        before, after = name.removeprefix(FOLDER), renamed.removeprefix(FOLDER)
        members[MANIFEST] = members[MANIFEST].replace(before.encode(), after.encode())
    return members


def _is_frame(blob: bytes) -> bool:
    """Whether a member is a round of the ledger: states have a header before their frame."""
    return blob.startswith(ZSTD_MAGIC)


def _edit_round(frame: bytes, draws: Draws) -> bytes:
    text = zstandard.ZstdDecompressor().decompress(frame).decode()
    edited = edit_json(text, draws).encode("utf-8", "surrogatepass")
    return zstandard.ZstdCompressor().compress(edited)


def _unpack(content: bytes) -> Members:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _pack(members: Members) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for name, member in members.items():
            archive.writestr(zipfile.ZipInfo(name), member)
    return packed.getvalue()


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    """Return a folder that is there as long as the process."""
    return tempfile.TemporaryDirectory()


def _load(base: str, content: bytes) -> tuple[DeepCABACStrategy, bool]:
    """Return a new strategy, and whether it has loaded a file of this content."""
    path = Path(_folder().name) / "loaded"
    path.write_bytes(content)
    strategy = build(base)
    try:
        strategy.load(path)
    except DeepCabacError:
        return strategy, False
    return strategy, True


@cache
def _parts_of_new(base: str) -> str:
    return parts_of(build(base))


@cache
def _parts_of_whole(base: str) -> str:
    strategy, is_loaded = _load(base, read_corpus("checkpoint")[base][1:])
    assert is_loaded, "expected a corpus that can be loaded; fuzz.make_corpus writes it"
    return parts_of(strategy)


def _attributes_of(strategy: DeepCABACStrategy) -> list[tuple[str, object]]:
    """Return what the strategy and the inner one hold; of what is no plain value, the type."""
    return [
        (name, value if _is_plain(value) else type(value).__name__)
        for one in (strategy, strategy.inner)
        for name, value in vars(one).items()
        if not name.startswith("_codec_") and name != "inner"
    ]


def _is_plain(value: object) -> bool:
    try:
        encode_value(value, bytes.hex)
    except TypeError:
        return False
    return True


def parts_of(strategy: DeepCABACStrategy) -> str:
    """Return all that a checkpoint brings back, in JSON, where NaN equals NaN."""
    endpoint, keeper = strategy._codec_endpoint, strategy._codec_checkpoints
    values = (
        [(*item, saved.read()) for *item, saved in endpoint.states.items()],
        keeper._arrays,
        _attributes_of(strategy),
        endpoint.models.to_plain(),
        keeper.dtypes.to_plain(),
        [keeper.rounds_before, keeper._server_round],
    )
    parts = [encode_value(value, bytes.hex) for value in values]
    return json.dumps([*parts, [asdict(record) for record in endpoint.ledger.rounds]])


def check(base: str, content: bytes, *, is_damaged: bool) -> None:
    """Load a file, and demand all that is promised."""
    strategy, is_loaded = _load(base, content)
    parts = parts_of(strategy)
    if not is_loaded:
        assert parts == _parts_of_new(base)
        return
    if is_damaged:
        # A few bytes of an archive, such as dates, mean nothing.
        assert parts == _parts_of_whole(base)
    path = Path(_folder().name) / "saved"
    strategy.save(path)
    again, is_loaded = _load(base, path.read_bytes())
    assert is_loaded
    assert parts_of(again) == parts
