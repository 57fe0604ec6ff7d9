# SPDX-License-Identifier: Apache-2.0
"""The slow twin: docs/bitstream.md once more, in plain Python integers, to be read next to it.

It was written from the document alone and shares no line with the package or the native core, so
that a difference between the two is a fault in one of them or in the document. It is made to be
read: nothing is fast, and every rule stands once, beside the number of the section it comes from.

    arithmetic_coder   6.1, 6.3        one number, narrowed bin by bin
    contexts           6.2, 7.1, 7.3, 7.7, 7.8   the adaptive probabilities, by name
    mixing             7.6             several probabilities made one
    bins               5.5             the kinds of bin
    trellis            5.6             which of two quantisers a level belongs to
    history            7.4, 7.5        what earlier packets said about each weight
    reconstruction     8               what a level stands for
    stream             2, 10           what a sender and a receiver keep between packets
    neighbourhood      7.2             what lies around a level, put into classes
    level_coder        5.3, 5.4        the levels of one part
    chunks             4.2, 4.3        how an update is divided among codewords
    update_coder       5.1, 5.2, 5.7   a whole update
    packet             3, 4.1, 11      bytes on the wire
    worked_example     12              the example of the document, computed

The level syntax is written once for both directions. An encoder is told each bin and writes it; a
decoder is told a bin too, ignores it, and answers with the one it read. So a decoder runs the
encoder's text over levels that are all zero and keeps what comes back.
"""
