// SPDX-License-Identifier: Apache-2.0
// The encoder's choice of levels: least error + price * bits, with the costs of the contexts as
// they stand.
//
// An encoder's matter only: no decoder depends on it. Greedy, level by level, because each choice
// is in the contexts of the next; a block whose few levels do not earn their bits is zeroed as a
// whole.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>

#include "fl_deepcabac/bit_cost.hpp"
#include "fl_deepcabac/contexts.hpp"
#include "fl_deepcabac/tensor_walk.hpp"

namespace fl_deepcabac {

// Nearer to zero than to one step: no cost of this coder makes one the better choice often enough
// to look.
inline constexpr float kZeroBelow = 0.5F;

template <class Estimate>
[[nodiscard]] std::uint32_t estimate_cost(const Estimate& estimate, bool bin) noexcept {
  return bin_cost(bin, estimate.probability());
}

// Chooses the levels of one tensor, block by block.
template <class Contexts>
class LevelChooser {
 public:
  // `importance`: what the squared error of each value counts; empty where all count 1.
  LevelChooser(Contexts& contexts, TensorWalk& walk, std::span<const float> values,
               std::span<const float> importance, float step, float price) noexcept
      : contexts_(contexts),
        walk_(walk),
        values_(values),
        importance_(importance),
        step_(step),
        price_(price / (1 << kCostBits)) {}

  // Fill levels[begin, end), all zero before; whether any is not zero. The walk sees each choice at
  // once.
  [[nodiscard]] bool operator()(std::size_t begin, std::size_t end, const BlockFeatures& block,
                                std::span<std::int32_t> levels) {
    int n_nonzero = 0;
    for (std::size_t i = begin; i < end; ++i) {
      const float distance = std::fabs(values_[i]) / step_;
      if (distance < kZeroBelow) continue;
      const std::int32_t size = choose_magnitude(Contexts::inputs_of(walk_.level(i)), distance,
                                                 values_[i] < 0.0F, importance_of(i));
      levels[i] = values_[i] < 0.0F ? -size : size;
      walk_.set_level(i, levels[i]);
      n_nonzero += size != 0;
    }
    if (n_nonzero == 0) return false;
    if (n_nonzero > kDoubtfulLevels || saving(begin, end, block, levels) > 0.0F) return true;
    for (std::size_t i = begin; i < end; ++i) {
      levels[i] = 0;
      walk_.set_level(i, 0);
    }
    return false;
  }

 private:
  // Blocks with more levels than this are never zeroed as a whole.
  static constexpr int kDoubtfulLevels = 2;

  [[nodiscard]] float importance_of(std::size_t i) const noexcept {
    return importance_.empty() ? 1.0F : importance_[i];
  }

  template <class Inputs>
  [[nodiscard]] std::int32_t choose_magnitude(const Inputs& features, float distance,
                                              bool is_negative, float importance) {
    const auto lower = static_cast<std::int32_t>(distance);
    // Far out one more step of magnitude costs next to nothing: take the nearest.
    if (lower >= kGreaterBins)
      return lower + (distance - static_cast<float>(lower) >= 0.5F ? 1 : 0);
    float best_objective = 0.0F;
    std::int32_t best = -1;  // none yet
    const auto consider = [&](std::int32_t candidate, std::uint32_t cost) {
      const float error = distance - static_cast<float>(candidate);
      const float objective = importance * (error * error) + price_ * static_cast<float>(cost);
      if (best < 0 || objective < best_objective) {
        best_objective = objective;
        best = candidate;
      }
    };
    const auto significant = contexts_.significant(features);
    if (lower <= 1) consider(0, estimate_cost(significant, false));
    std::uint32_t cost =
        estimate_cost(significant, true) + estimate_cost(contexts_.negative(features), is_negative);
    for (std::int32_t k = 1; k <= lower + 1 && k <= kGreaterBins; ++k) {
      const auto greater = contexts_.greater(features, k);
      if (k >= lower) consider(k, cost + estimate_cost(greater, false));
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
      cost += level_cost(Contexts::inputs_of(walk_.level(i)), levels[i]);
      const float distance = values_[i] / step_;
      const float error = distance - static_cast<float>(levels[i]);
      less_error += importance_of(i) * (distance * distance - error * error);
    }
    const std::uint32_t zero_cost = estimate_cost(flag, false);
    return less_error - price_ * (static_cast<float>(cost) - static_cast<float>(zero_cost));
  }

  template <class Inputs>
  [[nodiscard]] std::uint32_t level_cost(const Inputs& features, std::int32_t level) {
    const auto significant = contexts_.significant(features);
    if (level == 0) return estimate_cost(significant, false);
    std::uint32_t cost =
        estimate_cost(significant, true) + estimate_cost(contexts_.negative(features), level < 0);
    const std::int32_t size = level < 0 ? -level : level;
    for (std::int32_t k = 1; k <= kGreaterBins; ++k) {
      cost += estimate_cost(contexts_.greater(features, k), size > k);
      if (size <= k) break;
    }
    return cost;
  }

  Contexts& contexts_;
  TensorWalk& walk_;
  std::span<const float> values_;
  std::span<const float> importance_;
  float step_;
  float price_;  // squared steps per 2^-8 bit
};

}  // namespace fl_deepcabac
