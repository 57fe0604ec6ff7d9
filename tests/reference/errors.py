# SPDX-License-Identifier: Apache-2.0
"""The one exception of the twin: a packet or a saved state that section 11 rejects."""


class Rejected(Exception):
    """The bytes are refused: `verdict` is the word of the table in section 11, `rule` its row."""

    def __init__(self, verdict: str, rule: int) -> None:
        super().__init__(f"{verdict} (rule {rule})")
        self.verdict = verdict
        self.rule = rule
