// SPDX-License-Identifier: Apache-2.0
#include "fl_deepcabac/value_digest.hpp"

#include <bit>

namespace fl_deepcabac {
namespace {

// 2^64 divided by the golden ratio: odd, so no change of a single value leaves the sum as it was.
constexpr std::uint64_t kFactor = 0x9E3779B97F4A7C15;

}  // namespace

std::uint32_t value_digest(std::span<const float> values) noexcept {
  std::uint64_t sum = 0;
  std::uint64_t factor = kFactor;
  for (const float value : values) {
    sum += std::bit_cast<std::uint32_t>(value) * factor;
    factor += 2 * kFactor;
  }
  return static_cast<std::uint32_t>(sum >> 32);
}

}  // namespace fl_deepcabac
