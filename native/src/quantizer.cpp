// SPDX-License-Identifier: Apache-2.0
#include "fl_deepcabac/quantizer.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "fl_deepcabac/level_syntax.hpp"

namespace fl_deepcabac {

Result quantize_uniform(std::span<const float> values, float step, float dead_zone,
                        std::span<std::int32_t> levels) noexcept {
  constexpr auto kLimit = static_cast<float>(kMaxLevel);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const float distance = std::fabs(values[i]) / step;
    // Written so that NaN fails too.
    if (!(distance <= kLimit)) {
      return {std::isfinite(values[i]) ? Status::kLevelRange : Status::kNonFinite,
              static_cast<std::int64_t>(i)};
    }
    // The fraction is exact, which `distance + 1 - dead_zone` is not: beyond 2^23 it would skip odd
    // levels.
    const auto lower = static_cast<std::int32_t>(distance);
    const float fraction = distance - static_cast<float>(lower);
    const std::int32_t size = lower + (fraction >= dead_zone ? 1 : 0);
    levels[i] = values[i] < 0.0F ? -size : size;
  }
  return {};
}

}  // namespace fl_deepcabac
