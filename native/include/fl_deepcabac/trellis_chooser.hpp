// SPDX-License-Identifier: Apache-2.0
// The encoder's choice of levels under dependent quantisation: the path of least error + price *
// bits through the trellis, block by block.
//
// An encoder's matter only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "fl_deepcabac/bit_cost.hpp"
#include "fl_deepcabac/contexts.hpp"
#include "fl_deepcabac/level_options.hpp"
#include "fl_deepcabac/level_target.hpp"
#include "fl_deepcabac/rate_distortion.hpp"
#include "fl_deepcabac/tensor_walk.hpp"
#include "fl_deepcabac/trellis_search.hpp"

namespace fl_deepcabac {

template <class Contexts>
class TrellisChooser {
 public:
  TrellisChooser(Contexts& contexts, TensorWalk& walk, const LevelTargets& targets,
                 float price) noexcept
      : contexts_(contexts),
        walk_(walk),
        targets_(targets),
        price_(price / (1 << kCostBits)),
        zero_below_(kNearestPlace / 2 + price / 2),
        weigher_(contexts, targets, price_, zero_below_) {}

  static constexpr bool kPicks = false;
  static constexpr bool kKnowsLevels = true;

  // Of the block from `begin` to `end`. Fills its levels, all zero before.
  [[nodiscard]] BlockPlan operator()(std::size_t begin, std::size_t end, const BlockFeatures& block,
                                     std::span<std::int32_t> levels) {
    const std::size_t n_block = end - begin;
    const std::size_t n_levels = targets_.fill(begin, n_block + kLookahead, own_);
    if (own_.candidates(n_block, zero_below_) == 0) return BlockPlan::kZero;
    walk_.prepare_block(begin, end, Contexts::kLooksAtAll);
    const auto options =
        weigher_.weigh(walk_.block_view(), block.is_sparse, own_, n_block, n_levels);
    const float cost = search_.run(options, n_block, walk_.path().state());
    if (!pays(cost, n_block, block)) return BlockPlan::kZero;
    search_.trace(options, levels);
    std::int32_t any = 0;
    for (std::size_t i = 0; i < n_block; ++i) {
      any |= levels[i];
      levels[i] = own_.is_negative(i) ? -levels[i] : levels[i];
    }
    return any != 0 ? BlockPlan::kGiven : BlockPlan::kZero;
  }

 private:
  // The nearest place that is not zero, in steps.
  static constexpr float kNearestPlace = 0.5F;

  // Whether the best path, of this cost, is better than a block of zeros.
  [[nodiscard]] bool pays(float cost, std::size_t n_block, const BlockFeatures& block) noexcept {
    float zero_error = 0.0F;
    for (std::size_t i = 0; i < n_block; ++i)
      zero_error += own_.zero_cost(i);
    const auto flag = contexts_.block_coded(block);
    return cost + price_ * static_cast<float>(estimate_cost(flag, true)) <
           zero_error + price_ * static_cast<float>(estimate_cost(flag, false));
  }

  Contexts& contexts_;
  TensorWalk& walk_;
  const LevelTargets& targets_;
  float price_;       // squared steps per 2^-8 bit
  float zero_below_;  // distances below this are zeros on every path
  BlockTargets own_;  // of the block, and of the levels looked ahead to
  OptionWeigher<Contexts> weigher_;
  TrellisSearch search_;
};

}  // namespace fl_deepcabac
