// SPDX-License-Identifier: Apache-2.0
// Which float32 values a step may have (spec 9).
//
// Within these bounds every product of a step and a level is a normal float32, so reconstruction
// never overflows and never depends on how a processor treats subnormal numbers.
#pragma once

#include <cstdint>

namespace fl_deepcabac {

inline constexpr std::uint32_t kMinStepBits = (127U - 100U) << 23;  // 2^-100
inline constexpr std::uint32_t kMaxStepBits = (127U + 100U) << 23;  // 2^100

[[nodiscard]] constexpr bool is_valid_step(std::uint32_t step_bits) noexcept {
  return step_bits >= kMinStepBits && step_bits <= kMaxStepBits;
}

}  // namespace fl_deepcabac
