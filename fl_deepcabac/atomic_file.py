# SPDX-License-Identifier: Apache-2.0
"""Files that are there whole or not at all.

A file is written under another name beside its place and then given its own. Invariant: whatever
ends the process, and at any moment, its place holds what it held before or all of the new content.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

__all__ = ["remove_unfinished", "replace_atomically", "write_atomically"]

UNFINISHED_SUFFIX = ".part"


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file at once; see `replace_atomically`.

    Parameters
    ----------
    path : Path
    content : bytes

    Raises
    ------
    OSError
        As `replace_atomically`.
    """
    with replace_atomically(path) as file:
        file.write(content)


@contextlib.contextmanager
def replace_atomically(path: Path, *, durable: bool = False) -> Iterator[BinaryIO]:
    """Write a file under a temporary name beside its place, then give it its name.

    Parameters
    ----------
    path : Path
        Replaced if it exists, when the context is left without an exception; links are followed,
        and stay.
    durable : bool
        Whether the new content shall be on the disk before the old one is gone, so that a crash of
        the whole machine leaves one of them too.

    Yields
    ------
    file
        Open for writing, and for seeking.

    Raises
    ------
    OSError
        If it cannot be written, or is there and no regular file; what was there before is then
        untouched.
    """
    place = Path(os.path.realpath(path))
    if place.is_dir():
        raise IsADirectoryError(
            errno.EISDIR, "expected the name of a file, found a folder", str(path)
        )
    if place.exists() and not place.is_file():
        raise OSError(
            errno.EINVAL, "expected a regular file, found a device, pipe or socket", str(path)
        )
    temporary = place.with_name(
        f"{_unfinished_prefix(place)}{secrets.token_hex(4)}{UNFINISHED_SUFFIX}"
    )
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        temporary.replace(place)
        if durable:
            _sync_folder(place.parent)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        # Where it could not be made it cannot be removed either: show the first error.
        with contextlib.suppress(OSError):
            temporary.unlink()


def remove_unfinished(path: Path) -> None:
    """Remove what processes that were killed have left of a file; call it while nobody writes."""
    place = Path(os.path.realpath(path))
    prefix = _unfinished_prefix(place)
    with contextlib.suppress(OSError):
        for entry in list(place.parent.iterdir()):
            if entry.name.startswith(prefix) and entry.suffix == UNFINISHED_SUFFIX:
                entry.unlink()


def _unfinished_prefix(place: Path) -> str:
    return f".{place.name}."


def _sync_folder(folder: Path) -> None:
    """Make a new name in a folder durable, where folders can be opened for that."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
