// SPDX-License-Identifier: Apache-2.0
// Which contexts have seen a bin: they are young at first, but not all of the same age.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "fl_deepcabac/bit_model.hpp"

namespace fl_deepcabac::testing {

template <class Contexts>
std::vector<std::uint32_t> counts_of(const Contexts& contexts) {
  std::vector<std::uint32_t> counts;
  Contexts::visit_models(contexts, [&](const BitModel& model) { counts.push_back(model.count()); });
  return counts;
}

// Models that are older than those of a new set.
template <class Contexts>
std::size_t count_moved_models(const Contexts& contexts) {
  const std::vector<std::uint32_t> fresh = counts_of(*std::make_unique<Contexts>());
  const std::vector<std::uint32_t> counts = counts_of(contexts);
  std::size_t n_moved = 0;
  for (std::size_t i = 0; i < counts.size(); ++i)
    n_moved += counts[i] != fresh[i] ? 1U : 0U;
  return n_moved;
}

}  // namespace fl_deepcabac::testing
