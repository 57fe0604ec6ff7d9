// SPDX-License-Identifier: Apache-2.0
// Levels, layouts and an exact-size payload buffer, for the tests of the level codec.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "fl_deepcabac/level_codec.hpp"
#include "random.hpp"

namespace fl_deepcabac::testing {

using Levels = std::vector<std::int32_t>;
using Steps = std::vector<std::uint32_t>;
using Bytes = std::vector<std::uint8_t>;

inline constexpr Profile kProfiles[] = {Profile::kFast, Profile::kMax};
inline constexpr std::uint32_t kStep = 0x3C000000;

inline const std::vector<TensorShape>& mixed_shapes() {
  static const std::vector<TensorShape> shapes{{5, 30}, {1, 1}, {0, 7}, {1, 130},
                                               {33, 2}, {3, 0}, {7, 1}, {2, 64}};
  return shapes;
}

// Decodes from a buffer of exactly the right size, so that a sanitizer sees every read beyond it.
inline Result decode(StreamState& state, const Bytes& payload, CodedLevels& coded) {
  const auto exact = std::make_unique<std::uint8_t[]>(payload.size());
  if (!payload.empty()) std::memcpy(exact.get(), payload.data(), payload.size());
  return decode_levels(state, {exact.get(), payload.size()}, coded);
}

inline Levels random_levels(Random& random, std::size_t n_levels, float density,
                            std::int32_t largest) {
  Levels levels(n_levels, 0);
  for (std::int32_t& level : levels) {
    if (random.chance(density)) level = random.between(-largest, largest);
  }
  return levels;
}

}  // namespace fl_deepcabac::testing
