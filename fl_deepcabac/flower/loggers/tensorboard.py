# SPDX-License-Identifier: Apache-2.0
"""TensorBoard, through the event writer that it shares with PyTorch.

``tensorboardX`` would be smaller, but loads torch wherever that is installed.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from fl_deepcabac.flower.extras import needs_extra

__all__ = ["TensorBoardLogger"]


class TensorBoardLogger:
    """Writes an event file that ``tensorboard --logdir LOG_DIR`` shows.

    Parameters
    ----------
    log_dir : str or Path
        Made if missing. Each logger writes a file of its own.

    Raises
    ------
    ModuleNotFoundError
        Without the extra ``tensorboard``.
    OSError
        If it cannot be written.
    """

    def __init__(self, log_dir: str | Path) -> None:
        with needs_extra("tensorboard"):
            from tensorboard.summary.writer.event_file_writer import (  # noqa: PLC0415 (an extra)
                EventFileWriter,
            )
        self._writer = EventFileWriter(str(log_dir))

    def log_round(self, server_round: int, values: Mapping[str, float]) -> None:
        """Write one event, at once: a run that is killed has logged its rounds."""
        from tensorboard.compat.proto.event_pb2 import Event  # noqa: PLC0415 (an extra)
        from tensorboard.compat.proto.summary_pb2 import Summary  # noqa: PLC0415

        scalars = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._writer.add_event(
            Event(wall_time=time.time(), step=server_round, summary=Summary(value=scalars))
        )
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        self._writer.close()
