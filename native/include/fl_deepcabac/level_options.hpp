// SPDX-License-Identifier: Apache-2.0
// What a search through the trellis chooses from: the options of each level, with the costs of the
// contexts as they stand when the block begins.
//
// An encoder's matter only. Contexts see the levels to the left as the cheapest of their options by
// itself: to see those of the path that is best so far cost a fifth of the time and gave nothing,
// neighbours of their own for every path five times the time and 0.1 % (docs/decisions/0010, 0007).
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>

#include "fl_deepcabac/bit_cost.hpp"
#include "fl_deepcabac/contexts.hpp"
#include "fl_deepcabac/level_target.hpp"
#include "fl_deepcabac/rate_distortion.hpp"
#include "fl_deepcabac/tensor_walk.hpp"
#include "fl_deepcabac/trellis_search.hpp"

namespace fl_deepcabac {

template <class Contexts>
class OptionWeigher {
 public:
  // `price` in squared steps per 2^-8 bit; distances below `zero_below` are zeros on every path.
  OptionWeigher(Contexts& contexts, const LevelTargets& targets, float price,
                float zero_below) noexcept
      : contexts_(contexts), targets_(targets), price_(price), zero_below_(zero_below) {}

  // Of the `n_block` levels of the prepared block and those looked ahead to, all in `own`.
  [[nodiscard]] std::span<const Options> weigh(const BlockView& view, bool is_sparse,
                                               const BlockTargets& own, std::size_t n_block,
                                               std::size_t n_levels) noexcept {
    const std::size_t begin = view.inputs->begin;
    std::size_t done = take_over(begin, is_sparse, n_block);
    if (done == 0) sight_ = view.sight(0);
    for (; done < n_levels; ++done) {
      const LevelCursor<PlainPath> cursor(view, done, sight_, PlainPath{});
      weigh_level(Contexts::search_inputs_of(cursor), own, done);
      sight_ = sight_.passed(likely_place(options_[done], own.is_negative(done)));
    }
    ahead_begin_ = begin + n_block;
    n_ahead_ = n_levels - n_block;
    return std::span(options_).first(n_levels);
  }

 private:
  static constexpr float kNone = std::numeric_limits<float>::infinity();

  // The first levels stand as they were weighed when the block before looked ahead; returns how
  // many.
  std::size_t take_over(std::size_t begin, bool is_sparse, std::size_t n_block) noexcept {
    const bool fits = ahead_begin_ == begin && is_sparse_ == is_sparse;
    is_sparse_ = is_sparse;
    if (!fits) return 0;
    const std::size_t n_known = std::min(n_ahead_, n_block);
    std::copy_n(options_.begin() + kBlockLevels, n_known, options_.begin());
    return n_known;
  }

  // Where the cheapest option lies.
  [[nodiscard]] static std::int32_t likely_place(const Options& options,
                                                 bool is_negative) noexcept {
    float least = kNone;
    std::int32_t place = 0;
    for (std::size_t parity = 0; parity < 2; ++parity) {
      for (std::uint32_t quantizer = 0; quantizer < kQuantizers; ++quantizer) {
        const bool is_less = options.costs[parity][quantizer] < least;
        least = is_less ? options.costs[parity][quantizer] : least;
        place = is_less ? place_of(options.magnitudes[parity][quantizer], quantizer) : place;
      }
    }
    return is_negative ? -place : place;
  }

  // Zero, and the levels on both sides of the value.
  template <class Inputs>
  void weigh_level(const Inputs& inputs, const BlockTargets& own, std::size_t i) noexcept {
    Options& options = options_[i];
    options.costs[1] = {kNone, kNone};
    options.magnitudes = {};
    const float zero_error = own.zero_cost(i);
    if (own.distance(i) < zero_below_) {
      for (std::uint32_t quantizer = 0; quantizer < kQuantizers; ++quantizer) {
        const auto estimate = contexts_.roughly_significant(under(inputs, quantizer));
        options.costs[0][quantizer] =
            zero_error + price_of(is_sparse_ ? 0 : estimate_cost(estimate, false));
      }
      return;
    }
    const auto& nonzero_inputs = Contexts::nonzero_inputs_of(inputs);
    const std::uint32_t sign_cost =
        estimate_cost(contexts_.roughly_negative(nonzero_inputs), own.is_negative(i));
    greater_known_ = 1;
    for (std::uint32_t quantizer = 0; quantizer < kQuantizers; ++quantizer) {
      const std::uint32_t probability =
          contexts_.significant(under(inputs, quantizer)).probability();
      options.costs[0][quantizer] =
          zero_error + price_of(is_sparse_ ? 0 : bin_cost(false, probability));
      const std::uint32_t cost = is_sparse_ ? kPathCost : bin_cost(true, probability);
      weigh_magnitudes(under(nonzero_inputs, quantizer), own, i, cost + sign_cost, options);
    }
  }

  // Of one quantiser; `cost` of the bins before.
  template <class Inputs>
  void weigh_magnitudes(const Inputs& inputs, const BlockTargets& own, std::size_t i,
                        std::uint32_t cost, Options& options) noexcept {
    const std::uint32_t quantizer = inputs.quantizer();
    const float distance = own.distance(i);
    const float importance = own.importance(i);
    const float unshifted = targets_.unshifted(distance) + (quantizer != 0 ? 0.5F : 0.0F);
    const auto lower =
        std::min(static_cast<std::int32_t>(std::max(unshifted, 0.0F)), kMaxLevel - 1);
    for (std::int32_t k = 1; k <= lower + 1; ++k) {
      // Beyond the last "greater than" bin levels that lie side by side cost about the same.
      std::uint32_t bits = cost;
      if (k <= kGreaterBins) {
        const std::uint32_t greater = greater_probability(inputs, k);
        bits += bin_cost(false, greater);
        cost += bin_cost(true, greater);
      } else if (k < lower) {
        k = lower - 1;
        continue;
      }
      if (k < lower) continue;
      const float error = distance - targets_.reach(2 * k - static_cast<std::int32_t>(quantizer));
      const float total = importance * (error * error) + price_of(bits);
      const auto parity = static_cast<std::size_t>(k & 1);
      if (total >= options.costs[parity][quantizer]) continue;
      options.costs[parity][quantizer] = total;
      options.magnitudes[parity][quantizer] = k;
    }
  }

  // From k = 2 on the bins "greater than k" are those of both quantisers.
  template <class Inputs>
  [[nodiscard]] std::uint32_t greater_probability(const Inputs& inputs, std::int32_t k) noexcept {
    if (k == 1) return contexts_.greater(inputs, 1).probability();
    for (; greater_known_ < k; ++greater_known_) {
      greater_[static_cast<std::size_t>(greater_known_)] =
          contexts_.roughly_greater(inputs, greater_known_ + 1).probability();
    }
    return greater_[static_cast<std::size_t>(k - 1)];
  }

  // The same inputs for another quantiser.
  template <class Inputs>
  [[nodiscard]] static Inputs under(Inputs inputs, std::uint32_t quantizer) noexcept {
    inputs.quantizer_index = quantizer;
    return inputs;
  }

  // In squared steps.
  [[nodiscard]] float price_of(std::uint32_t bits) const noexcept {
    return price_ * static_cast<float>(bits);
  }

  Contexts& contexts_;
  const LevelTargets& targets_;
  float price_;
  float zero_below_;
  bool is_sparse_ = false;
  LevelSight sight_{};  // of the next level
  // Where the last call looked ahead, and how far.
  std::size_t ahead_begin_ = std::numeric_limits<std::size_t>::max();
  std::size_t n_ahead_ = 0;
  // Probabilities of "greater than k" at the level at hand, for 2 <= k <= greater_known_.
  std::array<std::uint32_t, kGreaterBins> greater_{};
  std::int32_t greater_known_ = 1;
  std::array<Options, TrellisSearch::kMaxLevels> options_{};
};

}  // namespace fl_deepcabac
