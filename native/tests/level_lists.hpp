// SPDX-License-Identifier: Apache-2.0
// Levels with their zeros to a list without them and back, for the tests of what works on lists.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "fl_deepcabac/level_list.hpp"

namespace fl_deepcabac::testing {

inline LevelList list_of(std::span<const std::int32_t> levels) {
  LevelList list;
  for (std::size_t begin = 0; begin < levels.size(); begin += kBlockLevels) {
    const auto block = levels.subspan(begin, std::min(kBlockLevels, levels.size() - begin));
    std::uint64_t nonzero = 0;
    std::int32_t* room = list.room();
    for (std::size_t i = 0; i < block.size(); ++i) {
      if (block[i] == 0) continue;
      nonzero |= std::uint64_t{1} << i;
      *room++ = block[i];
    }
    list.add(nonzero);
  }
  return list;
}

inline std::vector<std::int32_t> levels_of(const LevelList& list, std::size_t n_levels) {
  std::vector<std::int32_t> levels(n_levels, 0);
  list.for_each_block([&](const BlockList& block, std::size_t begin) {
    const std::int32_t* level = block.levels;
    for (std::size_t i = 0; i < kBlockLevels; ++i) {
      if (((block.nonzero >> i) & 1U) != 0) levels.at(begin + i) = *level++;
    }
  });
  return levels;
}

}  // namespace fl_deepcabac::testing
