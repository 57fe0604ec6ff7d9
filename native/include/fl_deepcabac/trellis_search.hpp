// SPDX-License-Identifier: Apache-2.0
// The path of least cost through the trellis, for the levels of a block (Viterbi).
//
// An encoder's matter only.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "fl_deepcabac/level_list.hpp"
#include "fl_deepcabac/tensor_walk.hpp"
#include "fl_deepcabac/trellis.hpp"

namespace fl_deepcabac {

// Four costs, or what belongs to them, at once.
using Lanes = float __attribute__((vector_size(16)));
using LaneMask = std::int32_t __attribute__((vector_size(16)));

// What a level may be: the best magnitude of each parity in each quantiser, and what it adds to the
// cost of a path.
struct Options {
  // [parity][quantizer]; infinite where there is none.
  alignas(16) std::array<std::array<float, kQuantizers>, 2> costs;
  std::array<std::array<std::int32_t, kQuantizers>, 2> magnitudes;
};

class TrellisSearch {
 public:
  static constexpr std::size_t kMaxLevels = kBlockLevels + kLookahead;

  // Finds the best path from `state` through the first `n_block` levels, as seen from the last of
  // all `options`, at most kMaxLevels: which state is best behind the block shows a little later,
  // when all are on a level again. Returns what those first levels cost.
  float run(std::span<const Options> options, std::size_t n_block, std::uint32_t state) noexcept;

  // The magnitudes of these levels.
  void trace(std::span<const Options> options, std::span<std::int32_t> magnitudes) const noexcept;

 private:
  [[nodiscard]] std::size_t parity_of(std::size_t i, std::size_t state) const noexcept {
    return static_cast<std::size_t>((odd_[i][state % 4] >> (state / 4)) & 1);
  }

  // Of each level, whether the best path into a state comes by an odd one: bit n of lane j for the
  // state 4 n + j.
  std::array<LaneMask, kMaxLevels> odd_{};
  std::size_t end_state_ = 0;  // of the best path, behind the block
};

}  // namespace fl_deepcabac
