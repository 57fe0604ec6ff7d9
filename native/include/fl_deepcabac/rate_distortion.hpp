// SPDX-License-Identifier: Apache-2.0
// The encoder's choice of levels: least error + price * bits, with the costs of the contexts as
// they stand.
//
// An encoder's matter only: no decoder depends on it. Greedy, level by level, because each choice
// is in the contexts of the next; a block whose few levels do not earn their bits is zeroed as a
// whole.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "fl_deepcabac/bit_cost.hpp"
#include "fl_deepcabac/contexts.hpp"
#include "fl_deepcabac/level_syntax.hpp"
#include "fl_deepcabac/level_target.hpp"
#include "fl_deepcabac/tensor_walk.hpp"

namespace fl_deepcabac {

// Nearer to zero than to one step: no cost of this coder makes one the better choice often enough
// to look.
inline constexpr float kZeroBelow = 0.5F;
// About what finding a level in a sparse block takes: six halvings (spec 5.4).
inline constexpr std::uint32_t kPathCost = 6U << kCostBits;

template <class Estimate>
[[nodiscard]] std::uint32_t estimate_cost(const Estimate& estimate, bool bin) noexcept {
  return bin_cost(bin, estimate.probability());
}

// Cost of a level's being zero or not. In a sparse block zeros are free.
template <class Contexts, class Inputs>
[[nodiscard]] std::uint32_t significant_cost(Contexts& contexts, const Inputs& inputs,
                                             const BlockFeatures& block, bool bin) noexcept {
  if (block.is_sparse) return bin ? kPathCost : 0;
  return estimate_cost(contexts.significant(inputs), bin);
}

// Chooses the levels of one part, block by block.
template <class Contexts>
class LevelChooser {
 public:
  LevelChooser(Contexts& contexts, TensorWalk& walk, const LevelTargets& targets,
               float price) noexcept
      : contexts_(contexts), walk_(walk), targets_(targets), price_(price / (1 << kCostBits)) {}

  // Fill levels[begin, end), all zero before; whether any is not zero. The walk sees each choice at
  // once.
  [[nodiscard]] bool operator()(std::size_t begin, std::size_t end, const BlockFeatures& block,
                                std::span<std::int32_t> levels) {
    int n_nonzero = 0;
    for (std::size_t i = begin; i < end; ++i) {
      const LevelTarget target = targets_[i];
      if (target.distance < kZeroBelow) continue;
      const std::int32_t size =
          choose_magnitude(Contexts::inputs_of(walk_.level(i)), target, block);
      levels[i] = target.is_negative ? -size : size;
      walk_.set_place(i, 2 * levels[i]);
      n_nonzero += size != 0;
    }
    if (n_nonzero == 0) return false;
    if (n_nonzero > kDoubtfulLevels || saving(begin, end, block, levels) > 0.0F) return true;
    for (std::size_t i = begin; i < end; ++i) {
      levels[i] = 0;
      walk_.set_place(i, 0);
    }
    return false;
  }

 private:
  // Blocks with more levels than this are never zeroed as a whole.
  static constexpr int kDoubtfulLevels = 2;

  template <class Inputs>
  [[nodiscard]] std::int32_t choose_magnitude(const Inputs& inputs, const LevelTarget& target,
                                              const BlockFeatures& block) {
    const float unshifted = std::max(targets_.unshifted(target.distance), 0.0F);
    const auto lower = std::min(static_cast<std::int32_t>(unshifted), kMaxLevel - 1);
    // Far out one more step of magnitude costs next to nothing: take the nearest.
    if (lower >= kGreaterBins)
      return lower + (unshifted - static_cast<float>(lower) >= 0.5F ? 1 : 0);
    float best_objective = 0.0F;
    std::int32_t best = -1;  // none yet
    const auto consider = [&](std::int32_t candidate, float error, std::uint32_t cost) {
      const float objective =
          target.importance * (error * error) + price_ * static_cast<float>(cost);
      if (best < 0 || objective < best_objective) {
        best_objective = objective;
        best = candidate;
      }
    };
    if (lower <= 1)
      consider(0, target.zero_error, significant_cost(contexts_, inputs, block, false));
    std::uint32_t cost = significant_cost(contexts_, inputs, block, true) +
                         estimate_cost(contexts_.negative(inputs), target.is_negative);
    for (std::int32_t k = 1; k <= lower + 1 && k <= kGreaterBins; ++k) {
      const auto greater = contexts_.greater(inputs, k);
      if (k >= lower)
        consider(k, target.distance - targets_.reach(2 * k), cost + estimate_cost(greater, false));
      cost += estimate_cost(greater, true);
    }
    return best;
  }

  // What coding the block as chosen gains over zeroing it, in squared steps.
  [[nodiscard]] float saving(std::size_t begin, std::size_t end, const BlockFeatures& block,
                             std::span<const std::int32_t> levels) {
    const auto flag = contexts_.block_coded(block);
    std::uint32_t cost = estimate_cost(flag, true);
    float less_error = 0.0F;
    for (std::size_t i = begin; i < end; ++i) {
      cost += level_cost(Contexts::inputs_of(walk_.level(i)), levels[i], block);
      if (levels[i] == 0) continue;
      const LevelTarget target = targets_[i];
      const float error =
          target.distance - targets_.reach(2 * (levels[i] < 0 ? -levels[i] : levels[i]));
      less_error += target.importance * (target.zero_error * target.zero_error - error * error);
    }
    const std::uint32_t zero_cost = estimate_cost(flag, false);
    return less_error - price_ * (static_cast<float>(cost) - static_cast<float>(zero_cost));
  }

  template <class Inputs>
  [[nodiscard]] std::uint32_t level_cost(const Inputs& inputs, std::int32_t level,
                                         const BlockFeatures& block) {
    if (level == 0) return significant_cost(contexts_, inputs, block, false);
    std::uint32_t cost = significant_cost(contexts_, inputs, block, true) +
                         estimate_cost(contexts_.negative(inputs), level < 0);
    const std::int32_t size = level < 0 ? -level : level;
    for (std::int32_t k = 1; k <= kGreaterBins; ++k) {
      cost += estimate_cost(contexts_.greater(inputs, k), size > k);
      if (size <= k) break;
    }
    return cost;
  }

  Contexts& contexts_;
  TensorWalk& walk_;
  const LevelTargets& targets_;
  float price_;  // squared steps per 2^-8 bit
};

}  // namespace fl_deepcabac
