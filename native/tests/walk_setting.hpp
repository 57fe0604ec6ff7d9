// SPDX-License-Identifier: Apache-2.0
// Histories for the core's walk to go over, and where it begins.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "fl_deepcabac/tensor_walk.hpp"

namespace fl_deepcabac::testing {

struct History {
  std::vector<std::uint8_t> magnitude;
  std::vector<std::int8_t> signed_level;

  explicit History(std::size_t n_levels) : magnitude(n_levels, 0), signed_level(n_levels, 0) {}
  HistoryView view() { return {magnitude, signed_level}; }
};

// Where a walk begins.
struct Setting {
  std::uint32_t first_column = 0;
  std::int32_t row_scale = 0;
  bool is_dependent = false;
};

inline TensorWalk walk_of(TensorShape shape, History& history, const Setting& setting = {}) {
  return {shape, setting.first_column, history.view(), setting.row_scale,
          TrellisPath(setting.is_dependent)};
}

}  // namespace fl_deepcabac::testing
