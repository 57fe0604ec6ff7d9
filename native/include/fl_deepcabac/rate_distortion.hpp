// SPDX-License-Identifier: Apache-2.0
// The encoder's choice of levels: least error + price * bits, with the costs of the contexts as
// they stand.
//
// An encoder's matter only: no decoder depends on it. Greedy, level by level, because each choice
// is in the contexts of the next; a block whose few levels do not earn their bits is zeroed as a
// whole.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>

#include "fl_deepcabac/bit_cost.hpp"
#include "fl_deepcabac/contexts.hpp"
#include "fl_deepcabac/level_syntax.hpp"
#include "fl_deepcabac/level_target.hpp"
#include "fl_deepcabac/tensor_walk.hpp"

namespace fl_deepcabac {

// A block whose values are all nearer to zero than to one step is not looked at: seldom enough is
// one of them worth a level other than zero, though in a block that is coded anyway it may be.
inline constexpr float kZeroBelow = 0.5F;
// About what finding a level in a sparse block takes: six halvings (spec 5.4).
inline constexpr std::uint32_t kPathCost = 6U << kCostBits;

template <class Estimate>
[[nodiscard, gnu::always_inline]] inline std::uint32_t estimate_cost(const Estimate& estimate,
                                                                     bool bin) noexcept {
  return bin_cost(bin, estimate.probability());
}

// Distances below which zero is a better choice than one, as seen without offsets, even if sign and
// magnitude cost nothing, by the probability of `significant`: most levels need no more than one
// look.
class ZeroThresholds {
 public:
  // `price` in squared steps per 2^-8 bit.
  explicit ZeroThresholds(float price) noexcept {
    for (std::uint32_t cell = 0; cell < excesses_.size(); ++cell) {
      const std::uint32_t probability = (2 * cell + 1) << (kCellShift - 1);
      const auto bits = static_cast<float>(bin_cost(true, probability)) -
                        static_cast<float>(bin_cost(false, probability));
      // Error of zero less that of one: importance * (2 distance - 1).
      excesses_[cell] = 0.5F * price * bits;
      thresholds_[cell] = std::min(0.5F + excesses_[cell], kOneIsNearest);
    }
  }
  [[nodiscard]] bool is_zero(float distance, std::uint32_t probability) const noexcept {
    return distance < thresholds_[probability >> kCellShift];
  }
  // The same where the squared error counts `importance`.
  [[nodiscard]] bool is_zero(float distance, std::uint32_t probability,
                             float importance) const noexcept {
    const float excess = excesses_[probability >> kCellShift];
    return importance > 0.0F && distance < std::min(0.5F + excess / importance, kOneIsNearest);
  }

 private:
  static constexpr int kCellShift = 8;
  static constexpr std::size_t kCells = kProbabilityOne >> kCellShift;
  // Farther out larger levels may be worth what a one is not.
  static constexpr float kOneIsNearest = 1.5F;

  std::array<float, kCells> excesses_{};  // half the price of a one over a zero
  std::array<float, kCells> thresholds_{};
};

// Chooses the levels of one part, block by block.
template <class Contexts>
class LevelChooser {
 public:
  LevelChooser(Contexts& contexts, TensorWalk& walk, const LevelTargets& targets,
               float price) noexcept
      : contexts_(contexts),
        walk_(walk),
        targets_(targets),
        price_(price / (1 << kCostBits)),
        thresholds_(price_) {}

  static constexpr bool kPicks = true;
  static constexpr bool kKnowsLevels = true;

  // Of the block from `begin` to `end`. Fills its levels, all zero before, where it is to be coded
  // and they are given.
  [[nodiscard]] BlockPlan operator()(std::size_t begin, std::size_t end, const BlockFeatures& block,
                                     std::span<std::int32_t> levels) {
    begin_ = begin;
    targets_.fill_distances(begin, end - begin, own_);
    std::uint64_t candidates = own_.candidates(end - begin, kZeroBelow);
    if (candidates == 0) return BlockPlan::kZero;
    walk_.prepare_block(begin, end, Contexts::kLooksAtAll);
    if (!block.is_sparse) {
      candidates = likely(candidates);
      if (candidates == 0) return BlockPlan::kZero;
      if (std::popcount(candidates) > kDoubtfulLevels) return BlockPlan::kLive;
    }
    return choose(candidates, block, levels) ? BlockPlan::kGiven : BlockPlan::kZero;
  }

  // The level at `i` of a block whose plan is kLive, given the contexts of `significant`.
  template <class Inputs, class Estimate>
  [[nodiscard, gnu::always_inline]] std::int32_t pick(std::size_t i, const Inputs& inputs,
                                                      const Estimate& significant) {
    const std::uint32_t probability = significant.probability();
    if (thresholds_.is_zero(own_.distance(i), probability) && own_.importances == nullptr) return 0;
    return pick_apart(i, Contexts::nonzero_inputs_of(inputs), probability);
  }

 private:
  [[nodiscard]] bool is_zero(std::size_t i, std::uint32_t probability) const noexcept {
    if (own_.importances == nullptr) return thresholds_.is_zero(own_.distance(i), probability);
    return thresholds_.is_zero(own_.distance(i), probability, own_.importances[i]);
  }
  // Not inlined: it would take the registers of the loop over levels, few of which come here.
  template <class NonzeroInputs>
  [[nodiscard, gnu::noinline]] std::int32_t pick_apart(std::size_t i, const NonzeroInputs& inputs,
                                                       std::uint32_t probability) {
    if (own_.importances != nullptr && is_zero(i, probability)) return 0;
    own_.zero_errors[i] = targets_.zero_error(begin_ + i);
    const std::int32_t size =
        choose_magnitude(inputs, i, bin_cost(false, probability), bin_cost(true, probability));
    return own_.is_negative(i) ? -size : size;
  }

  // Blocks with more levels than this are never zeroed as a whole.
  static constexpr int kDoubtfulLevels = 2;

  // Of the candidates, those that pass the thresholds if all to their left are zero; stops at one
  // more than are doubtful.
  [[nodiscard]] std::uint64_t likely(std::uint64_t candidates) noexcept {
    const BlockView view = walk_.block_view();
    std::uint64_t found = 0;
    for (; candidates != 0; candidates &= candidates - 1) {
      const auto i = static_cast<std::size_t>(std::countr_zero(candidates));
      const LevelCursor<PlainPath> cursor(view, i, i < 2 ? view.sight(i) : LevelSight{}, {});
      const auto estimate = contexts_.significant(Contexts::inputs_of(cursor));
      if (is_zero(i, estimate.probability())) continue;
      found |= std::uint64_t{1} << i;
      if (std::popcount(found) > kDoubtfulLevels) break;
    }
    return found;
  }

  // Choose among the candidates with the costs as they stand when the block begins; whether the
  // block is worth coding.
  [[nodiscard]] bool choose(std::uint64_t candidates, const BlockFeatures& block,
                            std::span<std::int32_t> levels) {
    std::uint64_t nonzero = 0;
    for (; candidates != 0; candidates &= candidates - 1) {
      const auto i = static_cast<std::size_t>(std::countr_zero(candidates));
      own_.zero_errors[i] = targets_.zero_error(begin_ + i);
      const auto cursor = walk_.cursor(begin_ + i, PlainPath{});
      const auto& inputs = Contexts::inputs_of(cursor);
      const std::int32_t size = choose_magnitude(Contexts::nonzero_inputs_of(inputs), i,
                                                 significant_cost(inputs, block, false),
                                                 significant_cost(inputs, block, true));
      if (size == 0) continue;
      levels[i] = own_.is_negative(i) ? -size : size;
      walk_.set_place(begin_ + i, 2 * levels[i]);
      nonzero |= std::uint64_t{1} << i;
    }
    if (nonzero == 0) return false;
    if (std::popcount(nonzero) > kDoubtfulLevels || saving(block, levels) > 0.0F) return true;
    for (; nonzero != 0; nonzero &= nonzero - 1) {
      const auto i = static_cast<std::size_t>(std::countr_zero(nonzero));
      levels[i] = 0;
      walk_.set_place(begin_ + i, 0);
    }
    return false;
  }

  // Cost of a level's being zero or not. In a sparse block zeros are free.
  template <class Inputs>
  [[nodiscard]] std::uint32_t significant_cost(const Inputs& inputs, const BlockFeatures& block,
                                               bool bin) noexcept {
    if (block.is_sparse) return bin ? kPathCost : 0;
    return estimate_cost(contexts_.significant(inputs), bin);
  }

  // The magnitude of least error + price * bits, where being zero and not cost so much.
  template <class NonzeroInputs>
  [[nodiscard]] std::int32_t choose_magnitude(const NonzeroInputs& inputs, std::size_t i,
                                              std::uint32_t zero_cost, std::uint32_t nonzero_cost) {
    const float distance = own_.distance(i);
    const float unshifted = std::max(targets_.unshifted(distance), 0.0F);
    const auto lower = std::min(static_cast<std::int32_t>(unshifted), kMaxLevel - 1);
    // Far out one more step of magnitude costs next to nothing: take the nearest.
    if (lower >= kGreaterBins)
      return lower + (unshifted - static_cast<float>(lower) >= 0.5F ? 1 : 0);
    const float importance = own_.importance(i);
    const auto objective = [&](float error, std::uint32_t cost) {
      return importance * (error * error) + price_ * static_cast<float>(cost);
    };
    std::int32_t best = 0;
    float best_objective = lower <= 1 ? objective(own_.zero_errors[i], zero_cost)
                                      : std::numeric_limits<float>::infinity();
    std::uint32_t cost =
        nonzero_cost + estimate_cost(contexts_.negative(inputs), own_.is_negative(i));
    if (lower == 0) {  // most are near zero: no loop
      const float error = distance - targets_.reach(2);
      return objective(error, cost + estimate_cost(contexts_.greater(inputs, 1), false)) <
                     best_objective
                 ? 1
                 : 0;
    }
    for (std::int32_t k = 1; k <= lower + 1 && k <= kGreaterBins; ++k) {
      const std::uint32_t probability = contexts_.greater(inputs, k).probability();
      if (k >= lower) {
        const float own =
            objective(distance - targets_.reach(2 * k), cost + bin_cost(false, probability));
        if (own < best_objective) {
          best_objective = own;
          best = k;
        }
      }
      cost += bin_cost(true, probability);
    }
    return best;
  }

  // What coding the block as chosen gains over zeroing it, in squared steps.
  [[nodiscard]] float saving(const BlockFeatures& block, std::span<const std::int32_t> levels) {
    const auto flag = contexts_.block_coded(block);
    std::uint32_t cost = estimate_cost(flag, true);
    float less_error = 0.0F;
    for (std::size_t i = 0; i < levels.size(); ++i) {
      if (levels[i] == 0 && block.is_sparse) continue;
      const auto cursor = walk_.cursor(begin_ + i, PlainPath{});
      const auto& inputs = Contexts::inputs_of(cursor);
      cost += significant_cost(inputs, block, levels[i] != 0);
      if (levels[i] == 0) continue;
      const std::int32_t size = levels[i] < 0 ? -levels[i] : levels[i];
      cost += nonzero_cost(Contexts::nonzero_inputs_of(inputs), levels[i] < 0, size);
      const float error = own_.distance(i) - targets_.reach(2 * size);
      less_error += own_.zero_cost(i) - own_.importance(i) * (error * error);
    }
    const std::uint32_t zero_cost = estimate_cost(flag, false);
    return less_error - price_ * (static_cast<float>(cost) - static_cast<float>(zero_cost));
  }

  // Of sign and magnitude.
  template <class Inputs>
  [[nodiscard]] std::uint32_t nonzero_cost(const Inputs& inputs, bool is_negative,
                                           std::int32_t size) {
    std::uint32_t cost = estimate_cost(contexts_.negative(inputs), is_negative);
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
  ZeroThresholds thresholds_;
  std::size_t begin_ = 0;
  BlockTargets own_;  // of the block at hand
};

}  // namespace fl_deepcabac
