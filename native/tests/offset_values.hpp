// SPDX-License-Identifier: Apache-2.0
// Values of a part from its levels (spec 8), for the tests of reconstruction and of the fit of
// offsets.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "fl_deepcabac/reconstruction.hpp"
#include "level_lists.hpp"

namespace fl_deepcabac::testing {

using Levels = std::vector<std::int32_t>;
using Codes = std::vector<std::int8_t>;
using Values = std::vector<float>;

inline Values values_of(const Levels& levels, const Codes& codes, float step, bool is_dependent,
                        const Offsets& offsets) {
  Values values(levels.size());
  const Reconstruction reconstruction(offsets, step);
  TrellisPath path(is_dependent);
  list_of(levels).for_each_block([&](const BlockList& block, std::size_t begin) {
    const std::size_t length = std::min(kBlockLevels, levels.size() - begin);
    reconstruction.run(block, std::span(codes).subspan(begin, length), path,
                       std::span(values).subspan(begin, length));
  });
  return values;
}

// Places of levels along the path of a part.
inline Levels places_of(const Levels& levels, bool is_dependent) {
  Levels places;
  TrellisPath path(is_dependent);
  for (const std::int32_t level : levels) {
    places.push_back(place_of(level, path.quantizer()));
    path.advance(level);
  }
  return places;
}

// Of spec 8: the places directly before and behind, within the block, their sum clipped.
inline std::int32_t near_of(const Levels& places, std::size_t i) {
  const std::int32_t before = i % 64 == 0 ? 0 : places[i - 1];
  const std::int32_t behind = i % 64 == 63 || i + 1 == places.size() ? 0 : places[i + 1];
  return std::clamp(before + behind, -2, 2);
}

// What a signed code stands for, in units of 1/32 step.
inline std::int32_t average_of(std::int8_t code) {
  const std::int32_t size = code < 0 ? -code : code;
  const std::int32_t value = size < 32 ? size : (16 + size % 16) << (size / 16 - 1);
  return code < 0 ? -value : value;
}

}  // namespace fl_deepcabac::testing
