// SPDX-License-Identifier: Apache-2.0
// What a level stands for (spec 8), in the plain decoder.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "plain_numbers.hpp"
#include "plain_state.hpp"

namespace fl_deepcabac::testing {

// f of spec 8, in units of 2^-8 step, of a level at the place `l` with `v`, its signed average, and
// the sum of the places beside it.
inline std::int64_t plain_f(std::int64_t l, std::int64_t v, std::int64_t beside,
                            const PlainOffsets& offsets) {
  const auto [zero_gain, gain, shift_one, shift_more, zero_gain_middle, zero_gain_low, near_gain] =
      offsets;
  if (l == 0) {
    const std::int64_t size = std::abs(v);
    const std::int64_t g =
        size < 6 ? 4 * zero_gain_low : (size < 13 ? zero_gain_middle : zero_gain);
    return (g * v) / 8 + near_gain * std::clamp<std::int64_t>(beside, -2, 2);
  }
  const std::int64_t shift = std::abs(l) <= 2 ? shift_one : shift_more;
  return 128 * l + sign_of(l) * 2 * shift + (gain * v) / 8;
}

// Both products are rounded to float32 once, to nearest even; the first is exact (spec 9).
inline float plain_value(std::int64_t f, std::int64_t step_bits) {
  const float step = std::bit_cast<float>(static_cast<std::uint32_t>(step_bits));
  const float unit = step * 0x1p-8F;
  return static_cast<float>(f) * unit;
}

}  // namespace fl_deepcabac::testing
