// SPDX-License-Identifier: Apache-2.0
// The blocks of one part, in order (spec 5.3 and 5.4).
//
// Written once for both directions: `Bins` encodes or decodes, and the chooser fills a block before
// it is encoded or does nothing.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "fl_deepcabac/contexts.hpp"
#include "fl_deepcabac/level_syntax.hpp"
#include "fl_deepcabac/tensor_walk.hpp"

namespace fl_deepcabac {

// A sparse block: runs that hold a level are halved until they are one level long.
template <class Bins, class Contexts>
class HalvedBlock {
 public:
  HalvedBlock(Bins& bins, Contexts& contexts, TensorWalk& walk, std::size_t begin,
              std::span<std::int32_t> levels) noexcept
      : bins_(bins), contexts_(contexts), walk_(walk), begin_(begin), levels_(levels) {
    const auto averages = walk.history().magnitude.subspan(begin, levels.size());
    for (std::size_t i = 0; i < levels.size(); ++i) {
      nonzero_ |= std::uint64_t{levels[i] != 0} << i;
      sums_[i + 1] = sums_[i] + averages[i];
    }
    for (std::size_t i = levels.size(); i < kBlockLevels; ++i)
      sums_[i + 1] = sums_[i];
  }

  void code() {
    code_run(0, kBlockLevels, 0);
    walk_.skip_zeros(levels_.size() - done_);
  }

 private:
  // The run [first, first + size) of the block, which holds a level. Six calls deep at most.
  // NOLINTNEXTLINE(misc-no-recursion)
  void code_run(std::size_t first, std::size_t size, std::uint32_t depth) {
    if (size == 1) {
      walk_.skip_zeros(first - done_);
      const std::size_t i = begin_ + first;
      levels_[first] =
          code_nonzero(bins_, contexts_, Contexts::inputs_of(walk_.level(i)), levels_[first]);
      walk_.set_level(i, levels_[first]);
      done_ = first + 1;
      return;
    }
    const std::size_t half = size / 2;
    const std::size_t middle = first + half;
    bool right = false;
    bool left = true;
    if (middle < levels_.size()) {
      const std::uint32_t left_sum = sums_[middle] - sums_[first];
      const std::uint32_t right_sum = sums_[middle + half] - sums_[middle];
      const HalfFeatures features{
          .depth = depth,
          .balance = left_sum > right_sum ? 2U : (left_sum < right_sum ? 0U : 1U),
          .right_active = right_sum != 0};
      left = bins_.code(contexts_.left_half(features), any(first, half));
      right = !left || bins_.code(contexts_.right_half(features), any(middle, half));
    }
    if (left) code_run(first, half, depth + 1);
    if (right) code_run(middle, half, depth + 1);
  }
  [[nodiscard]] bool any(std::size_t first, std::size_t size) const noexcept {
    return ((nonzero_ >> first) & ((std::uint64_t{1} << size) - 1)) != 0;
  }

  Bins& bins_;
  Contexts& contexts_;
  TensorWalk& walk_;
  std::size_t begin_;
  std::span<std::int32_t> levels_;  // of the block
  std::uint64_t nonzero_ = 0;       // bit i: the level i of the block; known when encoding
  // sums_[i]: of the codes of the magnitude averages before position i of the block.
  std::array<std::uint32_t, kBlockLevels + 1> sums_{};
  std::size_t done_ = 0;  // positions of the block that the walk has passed
};

// The levels of a coded block, from `begin` to the end of `levels`.
template <class Bins, class Contexts>
void code_coded_block(Bins& bins, Contexts& contexts, TensorWalk& walk, bool is_sparse,
                      std::size_t begin, std::span<std::int32_t> levels) {
  // The walk stores bytes, which may alias anything: only a coder whose address nobody else has can
  // stay in registers.
  auto coder = std::move(bins.coder);
  Bins local{coder};
  if (is_sparse) {
    HalvedBlock(local, contexts, walk, begin, levels.subspan(begin)).code();
  } else {
    for (std::size_t i = begin; i < levels.size(); ++i) {
      levels[i] = code_level(local, contexts, Contexts::inputs_of(walk.level(i)), levels[i]);
      walk.set_level(i, levels[i]);
    }
  }
  bins.coder = std::move(coder);
}

// The levels of one part, block by block. `levels` in and out.
template <class Bins, class Contexts, class Chooser>
void code_blocks(Bins& bins, Contexts& contexts, TensorWalk& walk, Chooser&& chooser,
                 std::span<std::int32_t> levels) {
  for (std::size_t begin = 0; begin < levels.size(); begin += kBlockLevels) {
    const std::size_t end = std::min(begin + kBlockLevels, levels.size());
    walk.begin_block(begin, end, Contexts::kLooksAtAll);
    const BlockFeatures block = walk.block_features(begin, end);
    const bool is_coded =
        bins.code(contexts.block_coded(block), chooser(begin, end, block, levels));
    if (is_coded) {
      code_coded_block(bins, contexts, walk, block.is_sparse, begin, levels.subspan(0, end));
    } else {
      walk.skip_zeros(end - begin);
    }
    walk.end_block(begin, end, is_coded);
  }
}

}  // namespace fl_deepcabac
