// SPDX-License-Identifier: Apache-2.0
// Quantisers that look at no context: one division and one truncation, each rounded once.
#pragma once

#include <cstdint>
#include <span>

#include "fl_deepcabac/status.hpp"

namespace fl_deepcabac {

// levels[i] = sign * floor(|values[i]| / step + 1 - dead_zone); a dead zone of 0.5 takes the
// nearest level. Reports kNonFinite or kLevelRange with the index of the first offender.
[[nodiscard]] Result quantize_uniform(std::span<const float> values, float step, float dead_zone,
                                      std::span<std::int32_t> levels) noexcept;

}  // namespace fl_deepcabac
