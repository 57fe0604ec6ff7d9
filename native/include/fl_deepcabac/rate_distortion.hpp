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

// What a one costs beyond a zero, by the probability of `significant`, with half a bit for sign and
// magnitude, which nearly always take more: a level that gains less is zero. Most levels need no
// more than this one look.
class OnePrices {
 public:
  // `price` in squared steps per 2^-8 bit.
  explicit OnePrices(float price) noexcept {
    for (std::uint32_t cell = 0; cell < prices_.size(); ++cell) {
      const std::uint32_t probability = (2 * cell + 1) << (kCellShift - 1);
      prices_[cell] = price * (static_cast<float>(bin_cost(true, probability) + kRest) -
                               static_cast<float>(bin_cost(false, probability)));
    }
  }
  [[nodiscard, gnu::always_inline]] float operator()(std::uint32_t probability) const noexcept {
    return prices_[probability >> kCellShift];
  }

 private:
  static constexpr std::uint32_t kRest = 1U << (kCostBits - 1);  // half a bit
  static constexpr int kCellShift = 8;
  static constexpr std::size_t kCells = kProbabilityOne >> kCellShift;

  std::array<float, kCells> prices_{};
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
        prices_(price_) {}

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
      own_.fill_gains(end - begin);
      // The surest first: mostly there are enough of them.
      const std::uint64_t large =
          candidates & own_.gaining(end - begin, price_ * static_cast<float>(kLargeCost));
      std::uint64_t found = likely(large, 0);
      if (are_many(found)) return BlockPlan::kLive;
      found = likely(candidates & ~large, found);
      if (found == 0) return BlockPlan::kZero;
      if (are_many(found)) return BlockPlan::kLive;
      candidates = found;
    }
    return choose(candidates, block, levels) ? BlockPlan::kGiven : BlockPlan::kZero;
  }

  // Of a block whose plan is kLive: whether the level at `i` is zero at first sight, by the
  // probability of `significant`.
  [[nodiscard, gnu::always_inline]] bool is_zero(std::size_t i,
                                                 std::uint32_t probability) const noexcept {
    return own_.gains[i] < prices_(probability);
  }
  // The level at `i` of such a block, given the context of `significant`, where it is not zero at
  // first sight.
  template <class NonzeroInputs, class Estimate>
  [[nodiscard, gnu::always_inline]] std::int32_t pick(std::size_t i, const NonzeroInputs& inputs,
                                                      const Estimate& significant) {
    const std::uint32_t probability = significant.probability();
    const std::int32_t size =
        choose_magnitude(inputs, i,
                         static_cast<std::int32_t>(bin_cost(true, probability)) -
                             static_cast<std::int32_t>(bin_cost(false, probability)));
    return own_.is_negative(i) ? -size : size;
  }

 private:
  // Blocks with more levels than two are never zeroed as a whole. Not by counting, which is a call.
  [[nodiscard]] static bool are_many(std::uint64_t levels) noexcept {
    levels &= levels - 1;
    return (levels & (levels - 1)) != 0;
  }
  // A one that gains what so many bits cost is nearly always likely.
  static constexpr std::uint32_t kLargeCost = 5U << kCostBits;

  // For a block to be coded a level has to gain what half a bit more costs: together with the half
  // bit of OnePrices about what its sign takes.
  static constexpr std::uint32_t kDoubt = 1U << (kCostBits - 1);

  // `found` and those of the candidates that are not zero at first sight if all to their left are
  // zero; stops at one more than are doubtful.
  [[nodiscard]] std::uint64_t likely(std::uint64_t candidates, std::uint64_t found) noexcept {
    const BlockView view = walk_.block_view();
    const float doubt = price_ * static_cast<float>(kDoubt);
    for (; candidates != 0; candidates &= candidates - 1) {
      const auto i = static_cast<std::size_t>(std::countr_zero(candidates));
      const LevelCursor<PlainPath> cursor(view, i, i < 2 ? view.sight(i) : LevelSight{}, {});
      const auto estimate = contexts_.significant(Contexts::inputs_of(cursor));
      if (own_.gains[i] < prices_(estimate.probability()) + doubt) continue;
      found |= std::uint64_t{1} << i;
      if (are_many(found)) break;
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
      const std::int32_t size =
          choose_magnitude(Contexts::nonzero_inputs_of(inputs), i,
                           static_cast<std::int32_t>(significant_cost(inputs, block, true)) -
                               static_cast<std::int32_t>(significant_cost(inputs, block, false)));
      if (size == 0) continue;
      levels[i] = own_.is_negative(i) ? -size : size;
      walk_.set_place(begin_ + i, 2 * levels[i]);
      nonzero |= std::uint64_t{1} << i;
    }
    if (nonzero == 0) return false;
    if (are_many(nonzero) || saving(block, levels) > 0.0F) return true;
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

  // The magnitude of least error + price * bits, where being other than zero costs so much more.
  template <class NonzeroInputs>
  [[nodiscard, gnu::always_inline]] std::int32_t choose_magnitude(const NonzeroInputs& inputs,
                                                                  std::size_t i,
                                                                  std::int32_t nonzero_cost) {
    const float distance = own_.distance(i);
    const std::uint32_t greater = contexts_.greater(inputs, 1).probability();
    // Most are nearest to zero or one, and two costs more unless it is the likelier.
    const float nearest_below = greater < kEvenOdds ? 1.5F : 1.0F;
    if (distance - targets_.shift_one() >= nearest_below) [[unlikely]]
      return choose_larger(inputs, i, nonzero_cost);
    const float zero_error = targets_.zero_error(begin_ + i);
    const float error = distance - targets_.reach(2);
    const std::uint32_t cost =
        estimate_cost(contexts_.negative(inputs), own_.is_negative(i)) + bin_cost(false, greater);
    const float gain = own_.importance(i) * (zero_error * zero_error - error * error);
    return gain > price_ * static_cast<float>(nonzero_cost + static_cast<std::int32_t>(cost)) ? 1
                                                                                              : 0;
  }
  template <class NonzeroInputs>
  [[nodiscard, gnu::noinline]] std::int32_t choose_larger(const NonzeroInputs& inputs,
                                                          std::size_t i,
                                                          std::int32_t nonzero_cost) {
    const float distance = own_.distance(i);
    const float unshifted = std::max(targets_.unshifted(distance), 0.0F);
    const auto lower = std::min(static_cast<std::int32_t>(unshifted), kMaxLevel - 1);
    // Far out one more step of magnitude costs next to nothing: take the nearest.
    if (lower >= kGreaterBins)
      return lower + (unshifted - static_cast<float>(lower) >= 0.5F ? 1 : 0);
    const std::int32_t size = std::max(lower, 1);
    const std::uint32_t here = contexts_.greater(inputs, size).probability();
    const std::uint32_t beyond = contexts_.greater(inputs, size + 1).probability();
    const float importance = own_.importance(i);
    const auto objective = [&](std::int32_t place, std::uint32_t cost) {
      const float error = distance - targets_.reach(place);
      return importance * (error * error) + price_ * static_cast<float>(cost);
    };
    const float stay = objective(2 * size, bin_cost(false, here));
    const float go_on = objective(2 * size + 2, bin_cost(true, here) + bin_cost(false, beyond));
    const std::int32_t best = size + (go_on < stay ? 1 : 0);
    if (lower > 1) return best;
    const auto sign_cost =
        static_cast<std::int32_t>(estimate_cost(contexts_.negative(inputs), own_.is_negative(i)));
    const float zero_error = targets_.zero_error(begin_ + i);
    return std::min(stay, go_on) + price_ * static_cast<float>(nonzero_cost + sign_cost) <
                   importance * (zero_error * zero_error)
               ? best
               : 0;
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
  OnePrices prices_;
  std::size_t begin_ = 0;
  BlockTargets own_;  // of the block at hand
};

}  // namespace fl_deepcabac
