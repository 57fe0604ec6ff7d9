// SPDX-License-Identifier: Apache-2.0
// Where the contexts of levels begin (spec 7.3).
//
// Straight lines in the classes a context is chosen by, as log odds, read off what contexts of six
// recorded streams had learned (docs/decisions/0009). They count as `kStartCount` bins, so that a
// tensor that is different has soon forgotten them; first packets and small models need them.
#pragma once

#include <algorithm>
#include <cstdint>

#include "fl_deepcabac/bit_model.hpp"
#include "fl_deepcabac/logistic.hpp"

namespace fl_deepcabac {

inline constexpr std::uint32_t kStartCount = 4;

// A context that begins at these log odds, in units of 2^-8.
[[nodiscard]] inline BitModel start_at(std::int32_t log_odds) noexcept {
  const std::uint32_t estimate = squash(log_odds) << (kEstimateBits - kProbabilityBits);
  return {estimate, estimate, kStartCount};
}

inline constexpr std::int32_t kMostStart = 900;

[[nodiscard]] constexpr std::int32_t start_of_block_coded(std::int32_t left, std::int32_t up,
                                                          std::int32_t activity) noexcept {
  return 500 * left + 150 * up + 110 * activity - 640;
}
[[nodiscard]] constexpr std::int32_t start_of_left_half(std::int32_t balance) noexcept {
  return 150 * balance - 90;
}
[[nodiscard]] constexpr std::int32_t start_of_right_half(std::int32_t depth,
                                                         std::int32_t active) noexcept {
  return std::max(60 - 150 * depth - 140 * active, -600);
}
[[nodiscard]] constexpr std::int32_t start_of_significant(std::int32_t quantizer,
                                                          std::int32_t history,
                                                          std::int32_t spatial) noexcept {
  return std::min(128 * spatial + 77 * history + 128 * quantizer - 1536, kMostStart);
}
[[nodiscard]] constexpr std::int32_t start_of_negative(std::int32_t sign,
                                                       std::int32_t left) noexcept {
  return 140 * (4 - sign) + 200 * (1 - left);
}
// `k` from 1 on; the first one has contexts of its own in quantiser 1.
[[nodiscard]] constexpr std::int32_t start_of_greater(std::int32_t k, std::int32_t quantizer,
                                                      std::int32_t magnitude) noexcept {
  if (k == 1) return std::clamp(230 * (magnitude - 8), -kMostStart, kMostStart) + 128 * quantizer;
  return std::clamp(154 * (magnitude - 9), std::min(128 * k - 768, 150), kMostStart);
}

}  // namespace fl_deepcabac
