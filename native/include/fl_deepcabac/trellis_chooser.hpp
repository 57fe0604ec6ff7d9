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

  // Fill levels[begin, end), all zero before; whether any is not zero.
  [[nodiscard]] bool operator()(std::size_t begin, std::size_t end, const BlockFeatures& block,
                                std::span<std::int32_t> levels) {
    begin_ = begin;
    is_sparse_ = block.is_sparse;
    costs_.fill(kUnreached);
    costs_[walk_.trellis_state()] = 0.0F;
    float zero_error = 0.0F;
    bool any = false;
    for (std::size_t i = begin; i < end; ++i) {
      const LevelTarget target = targets_[i];
      zero_error += target.importance * (target.zero_error * target.zero_error);
      any = step(i, target) || any;
    }
    const bool is_coded = any && pays(end, block, zero_error) && trace(end, levels);
    if (!walk_.is_far()) {
      for (std::size_t i = begin; i < end; ++i)
        walk_.set_place(i, 0);
    }
    return is_coded;
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
    std::uint32_t odd_states;  // bit s: the best path into state s came by an odd level
  };
  using Costs = std::array<float, kTrellisStates>;

  // Extend all paths by the level at `i`; whether any level other than zero was looked at.
  bool step(std::size_t i, const LevelTarget& target) noexcept {
    const std::size_t offset = i - begin_;
    const auto best =
        static_cast<std::size_t>(std::min_element(costs_.begin(), costs_.end()) - costs_.begin());
    const LevelSight sight = sight_of(i, best);
    Decision& decision = decisions_[offset];
    const bool has_levels = target.distance >= zero_below_;
    const auto inputs = Contexts::inputs_of(walk_.level(i, sight));
    weigh(inputs, target, has_levels, decision.options);
    weigh(inputs.under(1), target, has_levels, decision.options);
    Costs next;
    std::uint32_t odd_states = 0;
    for (std::size_t state = 0; state < kTrellisStates; ++state) {
      const std::size_t even_source = kTrellisSources[0][state];
      const std::size_t odd_source = kTrellisSources[1][state];
      const float even = costs_[even_source] + decision.options[0][even_source & 1U].cost;
      const float odd = costs_[odd_source] + decision.options[1][odd_source & 1U].cost;
      next[state] = std::min(even, odd);
      odd_states |= std::uint32_t{odd < even} << state;
    }
    decision.odd_states = odd_states;
    costs_ = next;
    return has_levels;
  }

  // What the best path shows the contexts of the level at `i`.
  [[nodiscard]] LevelSight sight_of(std::size_t i, std::size_t best) noexcept {
    std::array<std::int32_t, 2> places{};
    std::size_t state = best;
    for (std::size_t back = 0; back < 2; ++back) {
      const std::size_t at = i - 1 - back;
      if (i < 1 + back) break;
      if (at < begin_) {
        places[back] = walk_.place_before(at + 1);
        continue;
      }
      const std::int32_t level = level_of(at, state);
      places[back] = place_of(level, quantizer_of(static_cast<std::uint32_t>(state)));
      if (targets_[at].is_negative) places[back] = -places[back];
    }
    if (!walk_.is_far() && i > begin_) walk_.set_place(i - 1, places[0]);
    const auto magnitude = [](std::int32_t place) {
      return static_cast<std::uint32_t>(std::min(place < 0 ? -place : place, 127));
    };
    return {.quantizer = 0,
            .left = magnitude(places[0]),
            .left_left = magnitude(places[1]),
            .left_signum = signum_class(places[0]),
            .near_up = walk_.is_far() ? 0 : walk_.up_near(i)};
  }

  // The level at `i` of the best path that is in `state` behind it; `state` becomes the one before.
  [[nodiscard]] std::int32_t level_of(std::size_t i, std::size_t& state) const noexcept {
    const Decision& decision = decisions_[i - begin_];
    const std::size_t parity = (decision.odd_states >> state) & 1U;
    state = kTrellisSources[parity][state];
    return decision.options[parity][state & 1U].level;
  }

  // The options of one quantiser: zero, and the levels on both sides of the value.
  template <class Inputs>
  void weigh(const Inputs& inputs, const LevelTarget& target, bool has_levels,
             Options& options) noexcept {
    const std::uint32_t quantizer = inputs.quantizer();
    const auto significant = contexts_.significant(inputs);
    const std::uint32_t zero_cost = is_sparse_ ? 0 : estimate_cost(significant, false);
    Option& even = options[0][quantizer];
    Option& odd = options[1][quantizer];
    even = {target.importance * (target.zero_error * target.zero_error) +
                price_ * static_cast<float>(zero_cost),
            0};
    odd = {kUnreached, 0};
    if (!has_levels) return;
    const float unshifted = targets_.unshifted(target.distance) + (quantizer != 0 ? 0.5F : 0.0F);
    const auto lower =
        std::min(static_cast<std::int32_t>(std::max(unshifted, 0.0F)), kMaxLevel - 1);
    std::uint32_t cost = (is_sparse_ ? kPathCost : estimate_cost(significant, true)) +
                         estimate_cost(contexts_.negative(inputs), target.is_negative);
    for (std::int32_t k = 1; k <= lower + 1; ++k) {
      // Beyond the last "greater than" bin levels that lie side by side cost about the same.
      std::uint32_t own = cost;
      if (k <= kGreaterBins) {
        const auto greater = contexts_.greater(inputs, k);
        own += estimate_cost(greater, false);
        cost += estimate_cost(greater, true);
      } else if (k < lower) {
        k = lower - 1;
        continue;
      }
      if (k < lower) continue;
      const float error =
          target.distance - targets_.reach(2 * k - static_cast<std::int32_t>(quantizer));
      const float total = target.importance * (error * error) + price_ * static_cast<float>(own);
      Option& option = (k & 1) != 0 ? odd : even;
      if (total < option.cost) option = {total, k};
    }
  }

  // Whether the best path costs less than a block of zeros. Leaves in `end_state_` where it ends:
  // which state is best is judged a little later, when they are on a level again.
  [[nodiscard]] bool pays(std::size_t end, const BlockFeatures& block, float zero_error) noexcept {
    const Costs costs = costs_;
    const std::size_t later = std::min(end + kLookahead, walk_.n_levels());
    for (std::size_t i = end; i < later; ++i)
      step(i, targets_[i]);
    end_state_ =
        static_cast<std::size_t>(std::min_element(costs_.begin(), costs_.end()) - costs_.begin());
    for (std::size_t i = later; i-- > end;)
      (void)level_of(i, end_state_);
    const auto flag = contexts_.block_coded(block);
    const float coded = costs[end_state_] + price_ * static_cast<float>(estimate_cost(flag, true));
    return coded < zero_error + price_ * static_cast<float>(estimate_cost(flag, false));
  }

  // Write the levels of the path that ends in `end_state_`; whether any is not zero.
  [[nodiscard]] bool trace(std::size_t end, std::span<std::int32_t> levels) const noexcept {
    bool any = false;
    std::size_t state = end_state_;
    for (std::size_t i = end; i-- > begin_;) {
      const std::int32_t level = level_of(i, state);
      levels[i] = targets_[i].is_negative ? -level : level;
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
  std::size_t end_state_ = 0;
  bool is_sparse_ = false;
  Costs costs_{};  // of the best path into each state, in squared steps
  std::array<Decision, kBlockLevels + kLookahead> decisions_{};
};

}  // namespace fl_deepcabac
