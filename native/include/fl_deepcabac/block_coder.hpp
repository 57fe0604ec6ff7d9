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
#include "fl_deepcabac/watch.hpp"

namespace fl_deepcabac {

// A sparse block: runs that hold a level are halved until they are one level long.
template <class Bins, class Contexts>
class HalvedBlock {
 public:
  HalvedBlock(Bins& bins, Contexts& contexts, TensorWalk& walk, std::size_t begin,
              std::span<const std::int32_t> levels, std::int32_t* coded) noexcept
      : bins_(bins),
        contexts_(contexts),
        walk_(walk),
        begin_(begin),
        levels_(levels),
        coded_(coded) {
    const auto averages = walk.history().magnitude.subspan(begin, levels.size());
    for (std::size_t i = 0; i < levels.size(); ++i) {
      nonzero_ |= std::uint64_t{levels[i] != 0} << i;
      sums_[i + 1] = sums_[i] + averages[i];
    }
    for (std::size_t i = levels.size(); i < kBlockLevels; ++i)
      sums_[i + 1] = sums_[i];
  }

  // Codes the block; returns which of its levels are not zero.
  std::uint64_t code() {
    code_run(0, kBlockLevels, 0);
    walk_.skip_zeros(levels_.size() - done_);
    return nonzero_;
  }

 private:
  // The run [first, first + size) of the block, which holds a level. Six calls deep at most.
  // NOLINTNEXTLINE(misc-no-recursion)
  void code_run(std::size_t first, std::size_t size, std::uint32_t depth) {
    if (size == 1) {
      walk_.skip_zeros(first - done_);
      LevelCursor cursor = walk_.cursor(begin_ + first, walk_.path());
      const auto& inputs = Contexts::inputs_of(cursor);
      const std::int32_t level =
          code_nonzero(bins_, contexts_, Contexts::nonzero_inputs_of(inputs), levels_[first]);
      *coded_++ = level;
      cursor.pass(level);
      walk_.set_path(cursor.path());
      nonzero_ |= std::uint64_t{1} << first;
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
  std::span<const std::int32_t> levels_;  // of the block, as far as they are known
  std::int32_t* coded_;                   // where the next one that is not zero goes
  std::uint64_t nonzero_ = 0;             // bit i: the level i of the block; as far as it is known
  // sums_[i]: of the codes of the magnitude averages before position i of the block.
  std::array<std::uint32_t, kBlockLevels + 1> sums_{};
  std::size_t done_ = 0;  // positions of the block that the walk has passed
};

// A level that is not zero, by an interval that is handed over and back. Not inlined: most levels
// are zero, and this would take the registers of the loop over them.
template <class Bins, class Contexts, class Inputs>
[[gnu::noinline]] Interval code_nonzero_apart(Interval interval, Bins& bins, Contexts& contexts,
                                              const Inputs& inputs, std::int32_t& level) {
  auto coder = bins.coder.detach(interval);
  typename Bins::Detached detached{coder};
  level = code_nonzero(detached, contexts, inputs, level);
  return coder.interval;
}

// The levels of the block at `begin`, one by one; returns which are not zero. `path` as the walk's,
// or a plain one where there is no trellis. Those that are not zero go to `coded`, in order. Not
// inlined, for the registers again.
template <bool knows_levels, class Bins, class Contexts, class Path>
[[gnu::noinline]] std::uint64_t code_level_by_level(Bins& bins, Contexts& contexts,
                                                    TensorWalk& walk, Path& path,
                                                    std::span<const std::int32_t> levels,
                                                    std::int32_t* coded) {
  // The walk stores bytes, which may alias anything: only an interval whose address nobody else has
  // can stay in registers.
  auto coder = bins.coder.detach();
  typename Bins::Detached detached{coder};
  std::uint64_t nonzero = 0;
  const BlockView view = walk.block_view();
  LevelCursor<Path> cursor(view, 0, view.sight(0), path);
  for (std::size_t i = 0; i < levels.size(); ++i) {
    const auto& inputs = Contexts::inputs_of(cursor);
    std::int32_t level = knows_levels ? levels[i] : 0;
    if (!detached.code_either(contexts.significant(inputs), level != 0)) {
      cursor.pass_zero();
      continue;
    }
    coder.interval = code_nonzero_apart(coder.interval, bins, contexts,
                                        Contexts::nonzero_inputs_of(inputs), level);
    coder.interval.keep_apart();
    *coded++ = level;
    nonzero |= std::uint64_t{1} << i;
    cursor.pass(level);
  }
  path = cursor.path();
  bins.coder.attach(coder.interval);
  return nonzero;
}

// A block of an encoder that chooses each level when its turn comes, without a trellis: most are
// known to be zero by one comparison.
template <class Bins, class Contexts, class Chooser>
class LiveBlock {
 public:
  LiveBlock(Bins& bins, Contexts& contexts, Chooser& chooser) noexcept
      : bins_(bins), contexts_(contexts), chooser_(chooser) {}

  // As `code_level_by_level`, and not inlined either.
  [[gnu::noinline]] std::uint64_t code(TensorWalk& walk, std::size_t n_levels,
                                       std::int32_t* coded) {
    auto coder = bins_.coder.detach();
    typename Bins::Detached detached{coder};
    std::uint64_t nonzero = 0;
    const BlockView view = walk.block_view();
    LevelCursor<PlainPath> cursor(view, 0, view.sight(0), {});
    for (std::size_t i = 0; i < n_levels; ++i) {
      const auto& inputs = Contexts::inputs_of(cursor);
      const auto significant = contexts_.significant(inputs);
      if (chooser_.is_zero(i, significant.probability())) {
        detached.code_either(significant, false);
        cursor.pass_zero();
        continue;
      }
      coder.interval =
          code_picked(coder.interval, i, Contexts::nonzero_inputs_of(inputs), significant);
      coder.interval.keep_apart();
      if (level_ == 0) {
        cursor.pass_zero();
        continue;
      }
      *coded++ = level_;
      nonzero |= std::uint64_t{1} << i;
      cursor.pass(level_);
    }
    bins_.coder.attach(coder.interval);
    return nonzero;
  }

 private:
  // A level that may well be other than zero: chosen, then coded. Apart, as most are zero.
  template <class Inputs, class Estimate>
  [[gnu::noinline]] Interval code_picked(Interval interval, std::size_t i, const Inputs& inputs,
                                         Estimate significant) {
    auto coder = bins_.coder.detach(interval);
    typename Bins::Detached detached{coder};
    level_ = chooser_.pick(i, inputs, significant);
    if (detached.code_either(significant, level_ != 0))
      code_nonzero(detached, contexts_, inputs, level_);
    return coder.interval;
  }

  Bins& bins_;
  Contexts& contexts_;
  Chooser& chooser_;
  std::int32_t level_ = 0;  // the last one picked
};

// The levels of the coded block at `begin`; returns which are not zero, they go to `coded`.
template <class Bins, class Contexts, class Chooser>
std::uint64_t code_coded_block(Bins& bins, Contexts& contexts, TensorWalk& walk,
                               [[maybe_unused]] Chooser& chooser, [[maybe_unused]] BlockPlan plan,
                               bool is_sparse, std::size_t begin,
                               std::span<const std::int32_t> levels, std::int32_t* coded) {
  walk.prepare_block(begin, begin + levels.size(), Contexts::kLooksAtAll);
  if constexpr (Chooser::kPicks) {
    if (plan == BlockPlan::kLive)
      return LiveBlock(bins, contexts, chooser).code(walk, levels.size(), coded);
  }
  if (is_sparse) return HalvedBlock(bins, contexts, walk, begin, levels, coded).code();
  if (!walk.path().is_dependent()) {
    PlainPath plain;
    return code_level_by_level<Chooser::kKnowsLevels>(bins, contexts, walk, plain, levels, coded);
  }
  TrellisPath path = walk.path();
  const std::uint64_t nonzero =
      code_level_by_level<Chooser::kKnowsLevels>(bins, contexts, walk, path, levels, coded);
  walk.set_path(path);
  return nonzero;
}

// Levels between two looks at the watch: a millisecond or more.
inline constexpr std::size_t kLookEvery = std::size_t{1} << 16;

// The levels of one part, block by block. The chooser fills a block before it is encoded. A decoder
// stops where its codeword has long ended: a short payload is refused in a short time.
template <class Bins, class Contexts, class Chooser>
void code_blocks(Bins& bins, Contexts& contexts, TensorWalk& walk, Chooser& chooser,
                 LevelList& list, const Execution& execution = {}) {
  std::array<std::int32_t, kBlockLevels> block_levels{};
  for (std::size_t begin = 0; begin < walk.n_levels(); begin += kBlockLevels) {
    if (begin % kLookEvery == 0) execution.look();
    if constexpr (requires { bins.coder.is_beyond_end(); }) {
      if (bins.coder.is_beyond_end()) return;
    }
    const std::size_t end = std::min(begin + kBlockLevels, walk.n_levels());
    const std::span<std::int32_t> levels(block_levels.data(), end - begin);
    const BlockFeatures block = walk.block_features(begin, end);
    const BlockPlan plan = chooser(begin, end, block, levels);
    const bool is_coded = bins.code(contexts.block_coded(block), plan != BlockPlan::kZero);
    std::uint64_t nonzero = 0;
    if (is_coded) {
      nonzero = code_coded_block(bins, contexts, walk, chooser, plan, block.is_sparse, begin,
                                 levels, list.room());
    } else {
      walk.skip_zeros(end - begin);
    }
    list.add(nonzero);
    if constexpr (Chooser::kKnowsLevels) {
      if (plan == BlockPlan::kGiven) block_levels.fill(0);
    }
    walk.end_block(begin, end, is_coded);
  }
}

}  // namespace fl_deepcabac
