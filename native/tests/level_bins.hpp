// SPDX-License-Identifier: Apache-2.0
// Bins that are recorded instead of coded, and all bins of a level at once: to compare with spec 5.
#pragma once

#include <cstdint>
#include <vector>

#include "fl_deepcabac/level_syntax.hpp"

namespace fl_deepcabac::testing {

// In the place of a coder. It has no interval, only hands one over and back.
struct Recorder {
  struct Detached {
    Interval interval;
    std::vector<int>& bins;
  };

  std::vector<int> bins;

  [[nodiscard]] Detached detach(Interval interval = {}) noexcept { return {interval, bins}; }
  static void attach(const Interval& /*interval*/) noexcept {}
};

template <class Coder = Recorder>
struct RecordedBins {
  using Detached = RecordedBins<Recorder::Detached>;

  Coder& coder;

  template <class Estimate>
  bool code(Estimate /*estimate*/, bool bin) {
    coder.bins.push_back(bin ? 1 : 0);
    return bin;
  }
  template <class Estimate>
  bool code_either(Estimate estimate, bool bin) {
    return code(estimate, bin);
  }
  std::uint32_t code_bypass(std::uint32_t value, int n_bins) {
    for (int bit = n_bins - 1; bit >= 0; --bit)
      coder.bins.push_back(static_cast<int>((value >> bit) & 1U));
    return value;
  }
};

// One level with its first bin (spec 5.3); when decoding, `level` is ignored.
template <class Bins, class Contexts>
std::int32_t code_level(Bins& bins, Contexts& contexts, const LevelFeatures& features,
                        std::int32_t level) {
  if (!bins.code(contexts.significant(features), level != 0)) return 0;
  return code_nonzero(bins, contexts, features, level);
}

}  // namespace fl_deepcabac::testing
