// SPDX-License-Identifier: Apache-2.0
// Dependent quantisation: which of two interleaved quantisers a level belongs to (spec 5.6).
//
// Quantiser 0 has the multiples of a step, quantiser 1 zero and the odd multiples of half a step.
// A machine of 32 states, moved by the parity of each level, says which applies next, so that an
// encoder has every half step within reach at the price of whole ones. Without a trellis all
// levels belong to quantiser 0.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace fl_deepcabac {

inline constexpr std::size_t kTrellisStates = 32;
inline constexpr std::size_t kQuantizers = 2;

// A feedback shift register: bits flipped behind an odd state, and by an odd level. Best of those
// tried (docs/decisions/0010).
inline constexpr std::uint32_t kFeedback = 18;
inline constexpr std::uint32_t kParityTap = 4;

[[nodiscard]] constexpr std::uint32_t next_state(std::uint32_t state, bool is_odd) noexcept {
  return (state >> 1) ^ ((0U - (state & 1U)) & kFeedback) ^ (is_odd ? kParityTap : 0U);
}

// [parity of the level][state]
using TrellisTable = std::array<std::array<std::uint8_t, kTrellisStates>, 2>;
consteval TrellisTable make_trellis() {
  TrellisTable next{};
  for (std::uint32_t state = 0; state < kTrellisStates; ++state) {
    next[0][state] = static_cast<std::uint8_t>(next_state(state, false));
    next[1][state] = static_cast<std::uint8_t>(next_state(state, true));
  }
  return next;
}
inline constexpr TrellisTable kTrellis = make_trellis();

// Even levels lead through all states but 0, which they leave alone: so many zeros change nothing.
inline constexpr std::size_t kZerosPeriod = kTrellisStates - 1;

// [number of zeros][state]
using ZerosTable = std::array<std::array<std::uint8_t, kTrellisStates>, kZerosPeriod>;
consteval ZerosTable make_zeros_table() {
  ZerosTable behind{};
  for (std::size_t state = 0; state < kTrellisStates; ++state)
    behind[0][state] = static_cast<std::uint8_t>(state);
  for (std::size_t n_zeros = 1; n_zeros < kZerosPeriod; ++n_zeros) {
    for (std::size_t state = 0; state < kTrellisStates; ++state)
      behind[n_zeros][state] = kTrellis[0][behind[n_zeros - 1][state]];
  }
  return behind;
}
inline constexpr ZerosTable kBehindZeros = make_zeros_table();

[[nodiscard]] constexpr std::uint32_t quantizer_of(std::uint32_t state) noexcept {
  return state & 1U;
}

// Where a level lies, in half steps: 2 k, or one nearer to zero in quantiser 1.
[[nodiscard]] constexpr std::int32_t place_of(std::int32_t level,
                                              std::uint32_t quantizer) noexcept {
  const auto nearer = static_cast<std::int32_t>(quantizer);
  return 2 * level + (level > 0 ? -nearer : (level < 0 ? nearer : 0));
}

// The state machine along a run of levels without a trellis: all belong to quantiser 0.
class PlainPath {
 public:
  [[nodiscard]] static constexpr std::uint32_t quantizer() noexcept { return 0; }
  static void advance(std::int32_t /*level*/) noexcept {}
  static void advance_zero() noexcept {}
};

// The state machine along a run of levels, with or without a trellis: without, it stays in state 0.
class TrellisPath {
 public:
  explicit TrellisPath(bool is_dependent) noexcept : odd_mask_(is_dependent ? 1U : 0U) {}

  [[nodiscard]] std::uint32_t state() const noexcept { return state_; }
  [[nodiscard]] std::uint32_t quantizer() const noexcept { return quantizer_of(state_); }
  [[nodiscard]] bool is_dependent() const noexcept { return odd_mask_ != 0; }
  void advance(std::int32_t level) noexcept {
    state_ = next_state(state_, (static_cast<std::uint32_t>(level) & odd_mask_) != 0);
  }
  void advance_zero() noexcept { state_ = next_state(state_, false); }
  void advance_zeros(std::size_t n_levels) noexcept {
    state_ = kBehindZeros[n_levels % kZerosPeriod][state_];
  }

 private:
  std::uint32_t odd_mask_;  // which bits of a level count
  std::uint32_t state_ = 0;
};

}  // namespace fl_deepcabac
