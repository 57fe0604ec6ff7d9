// SPDX-License-Identifier: Apache-2.0
// The encoder's choice of levels under dependent quantisation: the path of least error + price *
// bits through the trellis, block by block (Viterbi).
//
// An encoder's matter only. Costs are those of the contexts as they stand when the block begins,
// with the neighbours of the path that is best so far: neighbours of their own for every path cost
// five times the time and gave 0.1 % (docs/decisions/0007).
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>

#include "fl_deepcabac/bit_cost.hpp"
#include "fl_deepcabac/contexts.hpp"
#include "fl_deepcabac/level_target.hpp"
#include "fl_deepcabac/rate_distortion.hpp"
#include "fl_deepcabac/tensor_walk.hpp"
#include "fl_deepcabac/trellis.hpp"

namespace fl_deepcabac {

// [parity][state]: the state before.
consteval TrellisTable make_trellis_sources() {
  TrellisTable sources{};
  for (std::size_t parity = 0; parity < 2; ++parity) {
    for (std::uint8_t state = 0; state < kTrellisStates; ++state)
      sources[parity][kTrellis[parity][state]] = state;
  }
  return sources;
}
inline constexpr TrellisTable kTrellisSources = make_trellis_sources();

// Four costs at once.
using Lanes = float __attribute__((vector_size(16)));
using LaneMask = std::int32_t __attribute__((vector_size(16)));

template <class Contexts>
class TrellisChooser {
 public:
  TrellisChooser(Contexts& contexts, TensorWalk& walk, const LevelTargets& targets,
                 float price) noexcept
      : contexts_(contexts),
        walk_(walk),
        targets_(targets),
        price_(price / (1 << kCostBits)),
        zero_below_(kNearestPlace / 2 + price / 2) {}

  static constexpr bool kPicks = false;
  static constexpr bool kKnowsLevels = true;

  // Of the block from `begin` to `end`. Fills its levels, all zero before.
  [[nodiscard]] BlockPlan operator()(std::size_t begin, std::size_t end, const BlockFeatures& block,
                                     std::span<std::int32_t> levels) {
    begin_ = begin;
    n_targets_ = targets_.fill(begin, end - begin + kLookahead, own_);
    const std::size_t n_block = end - begin;
    if (own_.candidates(n_block, zero_below_) == 0) return BlockPlan::kZero;
    walk_.prepare_block(begin, end, Contexts::kLooksAtAll);
    view_ = walk_.block_view();
    const std::size_t n_known = take_over(begin, block.is_sparse, n_block);
    costs_.of_state.fill(kUnreached);
    costs_.of_state[walk_.path().state()] = 0.0F;
    float zero_error = 0.0F;
    for (std::size_t i = 0; i < n_block; ++i) {
      zero_error += own_.zero_cost(i);
      if (i >= n_known) weigh(i);
      extend(i);
    }
    return pays(n_block, block, zero_error) && trace(levels) ? BlockPlan::kGiven : BlockPlan::kZero;
  }

 private:
  // The nearest place that is not zero, in steps.
  static constexpr float kNearestPlace = 0.5F;
  static constexpr float kUnreached = std::numeric_limits<float>::infinity();

  // The best level of one quantiser and parity, and what it adds to a path.
  struct Option {
    float cost;
    std::int32_t level;
  };
  // [parity][quantizer]; without odd levels every path goes on with zero.
  using Options = std::array<std::array<Option, kQuantizers>, 2>;
  struct Decision {
    Options options;
    // By state: whether the best path into it came by an odd level, as a mask.
    alignas(16) std::array<std::int32_t, kTrellisStates> odd;
  };
  struct alignas(16) Costs {
    std::array<float, kTrellisStates> of_state;

    [[nodiscard]] std::size_t best() const noexcept {
      std::size_t best = 0;
      float least = of_state[0];
      for (std::size_t state = 1; state < kTrellisStates; ++state) {
        best = of_state[state] < least ? state : best;
        least = std::min(of_state[state], least);
      }
      return best;
    }
  };

  // The options of the first levels stand as they were weighed when the block before looked ahead;
  // returns of how many.
  std::size_t take_over(std::size_t begin, bool is_sparse, std::size_t n_block) noexcept {
    const bool fits = ahead_begin_ == begin && is_sparse_ == is_sparse;
    is_sparse_ = is_sparse;
    if (!fits) return 0;
    const std::size_t n_known = std::min(n_ahead_, n_block);
    std::copy_n(decisions_.begin() + kBlockLevels, n_known, decisions_.begin());
    return n_known;
  }

  // Work out the options of the level at `i` of the block.
  void weigh(std::size_t i) noexcept {
    const LevelCursor<PlainPath> cursor(view_, i, sight_of(i, costs_.best()), PlainPath{});
    weigh_options(Contexts::search_inputs_of(cursor), i, decisions_[i].options);
  }

  // Extend all paths by this level.
  void extend(std::size_t i) noexcept {
    Decision& decision = decisions_[i];
    // Two states of quantiser 0 lead to each of the states 0 to 3, two of quantiser 1 to each of 4
    // to 7: one by even levels, the other, two further on in the same order, by odd ones.
    static_assert(kTrellisSources[0] == std::array<std::uint8_t, 8>{0, 2, 4, 6, 7, 5, 3, 1});
    static_assert(kTrellisSources[1] == std::array<std::uint8_t, 8>{4, 6, 0, 2, 3, 1, 7, 5});
    Lanes low;
    Lanes high;
    std::memcpy(&low, costs_.of_state.data(), sizeof low);
    std::memcpy(&high, costs_.of_state.data() + 4, sizeof high);
    const Lanes first = __builtin_shufflevector(low, high, 0, 2, 4, 6);
    const Lanes second = __builtin_shufflevector(low, high, 7, 5, 3, 1);
    extend_four(first, decision.options, 0, costs_.of_state.data(), decision.odd.data());
    extend_four(second, decision.options, 1, costs_.of_state.data() + 4, decision.odd.data() + 4);
  }

  // Costs of four new states from those of the four old ones of a quantiser.
  static void extend_four(Lanes from, const Options& options, std::size_t quantizer, float* to,
                          std::int32_t* odd) noexcept {
    const Lanes even_cost = from + options[0][quantizer].cost;
    const Lanes odd_cost =
        __builtin_shufflevector(from, from, 2, 3, 0, 1) + options[1][quantizer].cost;
    const LaneMask is_odd = odd_cost < even_cost;
    const Lanes next = is_odd ? odd_cost : even_cost;
    std::memcpy(to, &next, sizeof next);
    std::memcpy(odd, &is_odd, sizeof is_odd);
  }

  // What the best path shows the contexts of the level at `i`.
  [[nodiscard]] LevelSight sight_of(std::size_t i, std::size_t best) const noexcept {
    std::array<std::int32_t, 2> places{};
    std::size_t state = best;
    for (std::size_t back = 1; back <= 2; ++back) {
      if (begin_ + i < back) break;
      if (i < back) {
        places[back - 1] = walk_.place_before(begin_ + i - back + 1);
        continue;
      }
      const std::int32_t level = level_of(i - back, state);
      const std::int32_t place = place_of(level, quantizer_of(static_cast<std::uint32_t>(state)));
      places[back - 1] = own_.is_negative(i - back) ? -place : place;
    }
    const auto magnitude = [](std::int32_t place) {
      return static_cast<std::uint32_t>(std::min(place < 0 ? -place : place, 127));
    };
    return {.left = magnitude(places[0]),
            .left_left = magnitude(places[1]),
            .left_signum = signum_class(places[0])};
  }

  // The level at `i` of the best path that is in `state` behind it; `state` becomes the one
  // before.
  [[nodiscard]] std::int32_t level_of(std::size_t i, std::size_t& state) const noexcept {
    const Decision& decision = decisions_[i];
    const std::size_t parity = decision.odd[state] != 0 ? 1 : 0;
    state = kTrellisSources[parity][state];
    return decision.options[parity][state & 1U].level;
  }

  // The options of both quantisers: zero, and the levels on both sides of the value.
  template <class Inputs>
  void weigh_options(const Inputs& inputs, std::size_t i, Options& options) noexcept {
    const float distance = own_.distance(i);
    const bool has_levels = distance >= zero_below_;
    const auto& nonzero_inputs = Contexts::nonzero_inputs_of(inputs);
    const std::uint32_t sign_cost =
        has_levels ? estimate_cost(contexts_.negative(nonzero_inputs), own_.is_negative(i)) : 0;
    greater_known_ = 1;
    for (std::uint32_t quantizer = 0; quantizer < kQuantizers; ++quantizer) {
      const std::uint32_t significant =
          contexts_.significant(under(inputs, quantizer)).probability();
      const std::uint32_t zero_cost = is_sparse_ ? 0 : bin_cost(false, significant);
      options[0][quantizer] = {own_.zero_cost(i) + price_ * static_cast<float>(zero_cost), 0};
      options[1][quantizer] = {kUnreached, 0};
      if (!has_levels) continue;
      const std::uint32_t cost = (is_sparse_ ? kPathCost : bin_cost(true, significant)) + sign_cost;
      weigh_levels(under(nonzero_inputs, quantizer), i, cost, options);
    }
  }

  // The levels other than zero of one quantiser; `cost` of the bins before their magnitude.
  template <class Inputs>
  void weigh_levels(const Inputs& inputs, std::size_t i, std::uint32_t cost,
                    Options& options) noexcept {
    const std::uint32_t quantizer = inputs.quantizer();
    const float distance = own_.distance(i);
    const float importance = own_.importance(i);
    const float unshifted = targets_.unshifted(distance) + (quantizer != 0 ? 0.5F : 0.0F);
    const auto lower =
        std::min(static_cast<std::int32_t>(std::max(unshifted, 0.0F)), kMaxLevel - 1);
    for (std::int32_t k = 1; k <= lower + 1; ++k) {
      // Beyond the last "greater than" bin levels that lie side by side cost about the same.
      std::uint32_t own = cost;
      if (k <= kGreaterBins) {
        const std::uint32_t greater = greater_probability(inputs, k);
        own += bin_cost(false, greater);
        cost += bin_cost(true, greater);
      } else if (k < lower) {
        k = lower - 1;
        continue;
      }
      if (k < lower) continue;
      const float error = distance - targets_.reach(2 * k - static_cast<std::int32_t>(quantizer));
      const float total = importance * (error * error) + price_ * static_cast<float>(own);
      Option& option = options[static_cast<std::size_t>(k & 1)][quantizer];
      if (total < option.cost) option = {total, k};
    }
  }

  // From k = 2 on the bins "greater than k" are those of both quantisers.
  template <class Inputs>
  [[nodiscard]] std::uint32_t greater_probability(const Inputs& inputs, std::int32_t k) noexcept {
    if (k == 1) return contexts_.greater(inputs, 1).probability();
    for (; greater_known_ < k; ++greater_known_) {
      greater_[static_cast<std::size_t>(greater_known_)] =
          contexts_.greater(inputs, greater_known_ + 1).probability();
    }
    return greater_[static_cast<std::size_t>(k - 1)];
  }

  // The same inputs for another quantiser.
  template <class Inputs>
  [[nodiscard]] static Inputs under(Inputs inputs, std::uint32_t quantizer) noexcept {
    inputs.quantizer_index = quantizer;
    return inputs;
  }

  // Whether the best path costs less than a block of zeros. Leaves in `end_state_` where it ends:
  // which state is best is judged a little later, when they are on a level again.
  [[nodiscard]] bool pays(std::size_t end, const BlockFeatures& block, float zero_error) noexcept {
    const Costs before = costs_;
    for (std::size_t i = end; i < n_targets_; ++i) {
      weigh(i);
      extend(i);
    }
    ahead_begin_ = begin_ + end;
    n_ahead_ = n_targets_ - end;
    end_state_ = costs_.best();
    for (std::size_t i = n_targets_; i-- > end;)
      (void)level_of(i, end_state_);
    const auto flag = contexts_.block_coded(block);
    const float coded =
        before.of_state[end_state_] + price_ * static_cast<float>(estimate_cost(flag, true));
    return coded < zero_error + price_ * static_cast<float>(estimate_cost(flag, false));
  }

  // Write the levels of the path that ends in `end_state_`; whether any is not zero.
  [[nodiscard]] bool trace(std::span<std::int32_t> levels) const noexcept {
    bool any = false;
    std::size_t state = end_state_;
    for (std::size_t i = levels.size(); i-- > 0;) {
      const std::int32_t level = level_of(i, state);
      levels[i] = own_.is_negative(i) ? -level : level;
      any = any || level != 0;
    }
    return any;
  }

  Contexts& contexts_;
  TensorWalk& walk_;
  const LevelTargets& targets_;
  float price_;       // squared steps per 2^-8 bit
  float zero_below_;  // distances below this are zeros on every path
  std::size_t begin_ = 0;
  std::size_t n_targets_ = 0;  // levels of the block, and those looked ahead to
  BlockTargets own_;           // of these
  BlockView view_{};           // of the block
  std::size_t end_state_ = 0;
  bool is_sparse_ = false;
  // Where the last search looked ahead, and how far.
  std::size_t ahead_begin_ = std::numeric_limits<std::size_t>::max();
  std::size_t n_ahead_ = 0;
  Costs costs_{};  // of the best path into each state, in squared steps
  // Probabilities of "greater than k" at the level at hand, for 2 <= k <= greater_known_.
  std::array<std::uint32_t, kGreaterBins> greater_{};
  std::int32_t greater_known_ = 1;
  std::array<Decision, kBlockLevels + kLookahead> decisions_{};
};

}  // namespace fl_deepcabac
