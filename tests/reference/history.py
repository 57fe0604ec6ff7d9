# SPDX-License-Identifier: Apache-2.0
"""History: what the earlier packets of a stream said about one weight (spec 7.4 and 7.5).

Each weight has two running averages, of its places' magnitude and of its places, each half of which
is the last place. They are kept as one byte each, on a scale whose steps grow with the value.
"""

MAGNITUDE_LIMIT = 255
SIGNED_LIMIT = 127
PLACE_CLIP = 1 << 21  # half steps


def code_of(value: int, limit: int) -> int:
    """Return the code of a value >= 0 in units of 1/32 step."""
    if value < 32:
        return value
    q = value.bit_length() - 5
    return min(16 * q + (value >> q), limit)


def value_of(code: int) -> int:
    """Return the value that a code >= 0 stands for."""
    if code < 32:
        return code
    return (16 + (code & 15)) << ((code >> 4) - 1)


def signed_code_of(value: int) -> int:
    """Return the code of a value of either sign."""
    code = code_of(abs(value), SIGNED_LIMIT)
    return -code if value < 0 else code


def signed_value_of(code: int) -> int:
    """Return the value that a code of either sign stands for."""
    return -value_of(-code) if code < 0 else value_of(code)


def next_magnitude(code: int, place: int) -> int:
    """Return the code of the magnitude average after one more place, given in half steps."""
    magnitude = min(abs(place), PLACE_CLIP)
    return code_of((value_of(code) + 16 * magnitude) // 2, MAGNITUDE_LIMIT)


def next_signed(code: int, place: int) -> int:
    """Return the code of the signed average after one more place."""
    total = signed_value_of(code) + 16 * min(max(place, -PLACE_CLIP), PLACE_CLIP)
    half = abs(total) // 2
    return signed_code_of(-half if total < 0 else half)


def rescaling_ratio(old_step: int, new_step: int) -> int:
    """Return old step / new step in units of 2^-16, from the bits of two float32 (7.5)."""
    old_mantissa = 1 << 23 | old_step & 0x7FFFFF
    new_mantissa = 1 << 23 | new_step & 0x7FFFFF
    x = 16 + (old_step >> 23) - (new_step >> 23)
    if x > 33:
        return 1 << 32
    if x < -1:
        return 0
    scaled = old_mantissa << x if x >= 0 else old_mantissa >> 1
    return min(scaled // new_mantissa, 1 << 32)


def rescaled(code: int, ratio: int, limit: int) -> int:
    """Return the code of the same value in units of the new step; the sign stays."""
    value = min(value_of(abs(code)) * ratio + (1 << 15) >> 16, 1 << 30)
    return -code_of(value, limit) if code < 0 else code_of(value, limit)
