# SPDX-License-Identifier: Apache-2.0
"""Whatever is cut off at the end is called truncated, and nothing else."""

from __future__ import annotations

import pytest
from golden.goldens import NAMES, read_golden

import fl_deepcabac as dc


@pytest.mark.parametrize("name", NAMES)
def test_every_prefix_of_a_packet_is_truncated(name: str) -> None:
    stream = read_golden(name)
    for number, golden in enumerate(stream.packets):
        decoder = stream.decoder_before(number)
        digest = decoder.state_digest
        for n_bytes in range(len(golden.packet)):
            with pytest.raises(dc.TruncatedPacketError) as caught:
                decoder.decode(golden.packet[:n_bytes])
            assert caught.type is dc.TruncatedPacketError
            assert caught.value.available == n_bytes
            assert caught.value.needed == (len(golden.packet) if n_bytes >= 36 else 36)
        assert decoder.state_digest == digest
        decoder.decode(golden.packet)


@pytest.mark.parametrize("name", NAMES)
def test_every_prefix_of_a_packet_is_truncated_for_inspect(name: str) -> None:
    packet = read_golden(name).packets[-1].packet
    for n_bytes in range(len(packet)):
        with pytest.raises(dc.TruncatedPacketError):
            dc.inspect_packet(packet[:n_bytes])


@pytest.mark.parametrize("name", NAMES)
def test_every_prefix_of_a_saved_state_is_truncated(name: str) -> None:
    stream = read_golden(name)
    decoder = stream.decoder_before(1)
    digest = decoder.state_digest
    saved = stream.packets[-1].state_after
    for n_bytes in range(len(saved)):
        with pytest.raises(dc.TruncatedPacketError) as caught:
            decoder.load_state(saved[:n_bytes])
        assert caught.value.available == n_bytes
        assert caught.value.needed == (len(saved) if n_bytes >= 41 else 41)
    assert decoder.state_digest == digest
