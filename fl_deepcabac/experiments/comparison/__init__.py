# SPDX-License-Identifier: Apache-2.0
"""Codecs compared over many runs: one page, charts and tables for a whole study.

The straight line: `sources` reads the runs, `grouping` puts together what is held equal, `measures`
averages over seeds and pairs by seed, `words` and `tables` say it, `charts` and `figures` draw it,
and `page` writes everything. Invariant: nothing is averaged, left out or paired without a word of
it on the page.
"""

__all__: list[str] = []
