// SPDX-License-Identifier: Apache-2.0
// How an update is divided among codewords (spec 4.3).
//
// Sizes alone decide, so both ends divide alike whatever the number of threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "fl_deepcabac/stream_state.hpp"

namespace fl_deepcabac {

// A run of levels of one tensor, coded without a look at other parts.
struct Part {
  std::size_t tensor;
  std::size_t begin;  // flat index of its first level
  std::size_t n_levels;
  std::uint32_t first_column;  // of its first level, rows joined (tensor_walk.hpp)
};

// The parts of one codeword, in order.
using Chunk = std::vector<Part>;

// At least one chunk, and one more for every 2^18 levels, up to 64; parts without levels are left
// out.
[[nodiscard]] std::vector<Chunk> divide(std::span<const TensorShape> shapes);

}  // namespace fl_deepcabac
