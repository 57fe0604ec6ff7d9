// SPDX-License-Identifier: Apache-2.0
#include "fl_deepcabac/trellis_search.hpp"

#include <limits>
#include <utility>

namespace fl_deepcabac {
namespace {

// [parity][state]: the state before.
consteval TrellisTable make_sources() {
  TrellisTable sources{};
  for (std::size_t parity = 0; parity < 2; ++parity) {
    for (std::uint8_t state = 0; state < kTrellisStates; ++state)
      sources[parity][kTrellis[parity][state]] = state;
  }
  return sources;
}
constexpr TrellisTable kSources = make_sources();

constexpr std::size_t kGroups = kTrellisStates / 4;
// Half of the states are those of one quantiser; half of all groups.
constexpr std::size_t kHalf = kTrellisStates / 2;
using HalfGroups = std::make_index_sequence<kGroups / 2>;

// Costs of the best path into each state, four a vector.
using PathCosts = std::array<Lanes, kGroups>;
// Of the states of one quantiser, in order.
using HalfCosts = std::array<Lanes, kGroups / 2>;

// Lane j: that of index (4 group + j) ^ flips among all.
template <std::size_t flips, std::size_t group>
[[nodiscard]] Lanes flipped(const HalfCosts& all) noexcept {
  const Lanes from = all[group ^ (flips / 4)];
  if constexpr (flips % 4 == 1) return __builtin_shufflevector(from, from, 1, 0, 3, 2);
  if constexpr (flips % 4 == 2) return __builtin_shufflevector(from, from, 2, 3, 0, 1);
  if constexpr (flips % 4 == 3) return __builtin_shufflevector(from, from, 3, 2, 1, 0);
  return from;
}

// State s leads to s >> 1 where its quantiser is 0, else to that with `kFeedback` flipped, which
// takes it to the upper half, and odd levels flip `kParityTap`. So the new states to which those of
// a quantiser lead have their sources in the order of their own indices, some bits flipped.
template <std::size_t quantizer, std::size_t... group>
void extend_half(const HalfCosts& from, Lanes even_cost, Lanes odd_cost, PathCosts& to,
                 LaneMask& odd, std::index_sequence<group...> /*groups*/) noexcept {
  static_assert(kFeedback >= kHalf && kFeedback < kTrellisStates && kParityTap < kHalf);
  constexpr std::size_t kFlips = quantizer == 0 ? 0 : kFeedback - kHalf;
  const auto extend_group = [&]<std::size_t own> {
    constexpr std::size_t kTo = quantizer * (kGroups / 2) + own;
    const Lanes by_even = flipped<kFlips, own>(from) + even_cost;
    const Lanes by_odd = flipped<kFlips ^ kParityTap, own>(from) + odd_cost;
    const LaneMask is_odd = by_odd < by_even;
    to[kTo] = is_odd ? by_odd : by_even;
    odd |= is_odd & (1 << kTo);
  };
  (extend_group.template operator()<group>(), ...);
}

// Extends all paths by a level.
template <std::size_t... group>
[[nodiscard]] LaneMask extend(const Options& options, PathCosts& costs,
                              std::index_sequence<group...> groups) noexcept {
  const auto& own = options.costs;
  const HalfCosts first{
      __builtin_shufflevector(costs[2 * group], costs[2 * group + 1], 0, 2, 4, 6)...};
  const HalfCosts second{
      __builtin_shufflevector(costs[2 * group], costs[2 * group + 1], 1, 3, 5, 7)...};
  LaneMask odd{};
  extend_half<0>(first, Lanes{} + own[0][0], Lanes{} + own[1][0], costs, odd, groups);
  extend_half<1>(second, Lanes{} + own[0][1], Lanes{} + own[1][1], costs, odd, groups);
  return odd;
}

[[nodiscard]] float cost_of(const PathCosts& costs, std::size_t state) noexcept {
  return costs[state / 4][state % 4];
}

[[nodiscard]] std::size_t best_state(const PathCosts& costs) noexcept {
  std::size_t best = 0;
  for (std::size_t state = 1; state < kTrellisStates; ++state)
    best = cost_of(costs, state) < cost_of(costs, best) ? state : best;
  return best;
}

}  // namespace

float TrellisSearch::run(std::span<const Options> options, std::size_t n_block,
                         std::uint32_t state) noexcept {
  PathCosts costs;
  costs.fill(Lanes{} + std::numeric_limits<float>::infinity());
  costs[state / 4][state % 4] = 0.0F;
  for (std::size_t i = 0; i < n_block; ++i)
    odd_[i] = extend(options[i], costs, HalfGroups{});
  const PathCosts behind_block = costs;
  for (std::size_t i = n_block; i < options.size(); ++i)
    odd_[i] = extend(options[i], costs, HalfGroups{});
  end_state_ = best_state(costs);
  for (std::size_t i = options.size(); i-- > n_block;)
    end_state_ = kSources[parity_of(i, end_state_)][end_state_];
  return cost_of(behind_block, end_state_);
}

void TrellisSearch::trace(std::span<const Options> options,
                          std::span<std::int32_t> magnitudes) const noexcept {
  std::size_t state = end_state_;
  for (std::size_t i = magnitudes.size(); i-- > 0;) {
    const std::size_t parity = parity_of(i, state);
    state = kSources[parity][state];
    magnitudes[i] = options[i].magnitudes[parity][quantizer_of(static_cast<std::uint32_t>(state))];
  }
}

}  // namespace fl_deepcabac
