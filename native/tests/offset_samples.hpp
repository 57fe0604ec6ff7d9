// SPDX-License-Identifier: Apache-2.0
// Levels and values to fit offsets to, for the tests of the fit and of its sums.
#pragma once

#include <cstdint>

#include "fl_deepcabac/offset_fit.hpp"
#include "offset_values.hpp"
#include "random.hpp"

namespace fl_deepcabac::testing {

// Values whose places, gains and shifts are known, and the levels they are reconstructed from.
struct Sample {
  Levels levels;
  Codes codes;
  Values values;
};

// Averages of every class of zeros alike.
inline Sample make_sample(Random& random, const Offsets& offsets, bool is_dependent, float noise,
                          int n_levels = 4000) {
  constexpr std::int32_t kSizes[][2] = {{13, 40}, {6, 12}, {0, 5}};
  Sample sample;
  for (int i = 0; i < n_levels; ++i) {
    sample.levels.push_back(random.chance(0.6F) ? 0 : random.between(-4, 4));
    const auto& [least, most] = kSizes[random.below(3)];
    const std::int32_t size = random.between(least, most);
    sample.codes.push_back(static_cast<std::int8_t>(random.chance(0.5F) ? -size : size));
  }
  sample.values = values_of(sample.levels, sample.codes, 0.5F, is_dependent, offsets);
  for (float& value : sample.values)
    value += 0.5F * noise * (random.unit() - 0.5F);
  return sample;
}

inline OffsetSums sums_of(const Sample& sample, bool is_dependent, const Values& importance = {}) {
  OffsetSums sums;
  sums.add(sample.values, importance, list_of(sample.levels), sample.codes, 0.5F, is_dependent);
  return sums;
}

}  // namespace fl_deepcabac::testing
