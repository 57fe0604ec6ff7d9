// SPDX-License-Identifier: Apache-2.0
// The levels of a part without its zeros, which most are: what comes after coding passes over them
// quickly.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "fl_deepcabac/buffer.hpp"
#include "fl_deepcabac/trellis.hpp"

namespace fl_deepcabac {

inline constexpr std::size_t kBlockLevels = 64;

// The levels of a block that are not zero, in order; bit i of `nonzero`: level i is one of them.
struct BlockList {
  std::uint64_t nonzero;
  const std::int32_t* levels;

  // Into the block's levels, all zero before.
  void copy_to(std::span<std::int32_t> block) const noexcept {
    const std::int32_t* level = levels;
    for (std::uint64_t left = nonzero; left != 0; left &= left - 1)
      block[static_cast<std::size_t>(std::countr_zero(left))] = *level++;
  }
  // Calls visit(i, place) for each; `path`, before the block of `n_levels`, moves behind it.
  template <class Visitor>
  void for_each_place(std::size_t n_levels, TrellisPath& path, Visitor&& visit) const {
    const std::int32_t* level = levels;
    if (!path.is_dependent()) {
      for (std::uint64_t left = nonzero; left != 0; left &= left - 1)
        visit(static_cast<std::size_t>(std::countr_zero(left)), place_of(*level++, 0));
      return;
    }
    std::size_t done = 0;
    for (std::uint64_t left = nonzero; left != 0; left &= left - 1) {
      const auto i = static_cast<std::size_t>(std::countr_zero(left));
      path.advance_zeros(i - done);
      visit(i, place_of(*level, path.quantizer()));
      path.advance(*level++);
      done = i + 1;
    }
    path.advance_zeros(n_levels - done);
  }
};

class LevelList {
 public:
  // Room for the levels of the next block that are not zero, to be written in order.
  [[nodiscard]] std::int32_t* room() {
    if (levels_.size() < n_nonzero_ + kBlockLevels) levels_.resize(2 * n_nonzero_ + kLeastRoom);
    return levels_.data() + n_nonzero_;
  }
  // The next block, whose levels stand there.
  void add(std::uint64_t nonzero) {
    nonzero_.push_back(nonzero);
    n_nonzero_ += static_cast<std::size_t>(std::popcount(nonzero));
  }

  [[nodiscard]] std::size_t n_nonzero() const noexcept { return n_nonzero_; }
  // Those that are not zero, in order.
  [[nodiscard]] std::span<const std::int32_t> levels() const noexcept {
    return std::span(levels_).first(n_nonzero_);
  }

  // Calls visit(block, begin of the block in the part) in order.
  template <class Visitor>
  void for_each_block(Visitor&& visit) const {
    const std::int32_t* level = levels_.data();
    for (std::size_t block = 0; block < nonzero_.size(); ++block) {
      visit(BlockList{nonzero_[block], level}, block * kBlockLevels);
      level += std::popcount(nonzero_[block]);
    }
  }
  // The same for a part of `n_levels` that was not coded: all are zero.
  static LevelList zeros(std::size_t n_levels) {
    LevelList list;
    list.nonzero_.assign((n_levels + kBlockLevels - 1) / kBlockLevels, 0);
    return list;
  }

 private:
  static constexpr std::size_t kLeastRoom = 4 * kBlockLevels;

  std::vector<std::uint64_t> nonzero_;  // one number a block
  Buffer<std::int32_t> levels_;         // and room behind them
  std::size_t n_nonzero_ = 0;
};

}  // namespace fl_deepcabac
