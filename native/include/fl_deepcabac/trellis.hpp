// SPDX-License-Identifier: Apache-2.0
// Dependent quantisation: which of two interleaved quantisers a level belongs to (spec 5.6).
//
// Quantiser 0 has the multiples of a step, quantiser 1 zero and the odd multiples of half a step.
// A machine of eight states, moved by the parity of each level, says which applies next, so that an
// encoder has every half step within reach at the price of whole ones. Without a trellis all
// levels belong to quantiser 0.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace fl_deepcabac {

inline constexpr std::size_t kTrellisStates = 8;
inline constexpr std::size_t kQuantizers = 2;

// [parity of the level][state]
using TrellisTable = std::array<std::array<std::uint8_t, kTrellisStates>, 2>;
inline constexpr TrellisTable kTrellis{{{0, 7, 1, 6, 2, 5, 3, 4}, {2, 5, 3, 4, 0, 7, 1, 6}}};

[[nodiscard]] constexpr std::uint32_t quantizer_of(std::uint32_t state) noexcept {
  return state & 1U;
}

// Where a level lies, in half steps: 2 k, or one nearer to zero in quantiser 1.
[[nodiscard]] constexpr std::int32_t place_of(std::int32_t level,
                                              std::uint32_t quantizer) noexcept {
  const auto nearer = static_cast<std::int32_t>(quantizer);
  return 2 * level + (level > 0 ? -nearer : (level < 0 ? nearer : 0));
}

// A row of `kTrellis`, or of a machine that stays in state 0, as one number: eight bits a state,
// which hold eight times the next one, so that a shift by a state looks the next one up.
[[nodiscard]] consteval std::uint64_t packed_states(
    const std::array<std::uint8_t, kTrellisStates>& next) {
  std::uint64_t packed = 0;
  for (std::size_t state = 0; state < kTrellisStates; ++state)
    packed |= std::uint64_t{8} * next[state] << (8 * state);
  return packed;
}

// The state machine along a run of levels without a trellis: all belong to quantiser 0.
class PlainPath {
 public:
  [[nodiscard]] static constexpr std::uint32_t quantizer() noexcept { return 0; }
  static void advance(std::int32_t /*level*/) noexcept {}
  static void advance_zero() noexcept {}
};

// The state machine along a run of levels, with or without a trellis.
class TrellisPath {
 public:
  explicit TrellisPath(bool is_dependent) noexcept
      : even_(is_dependent ? packed_states(kTrellis[0]) : 0),
        odd_(is_dependent ? packed_states(kTrellis[1]) : 0) {}

  [[nodiscard]] std::uint32_t state() const noexcept { return shift_ / 8; }
  [[nodiscard]] std::uint32_t quantizer() const noexcept { return quantizer_of(state()); }
  [[nodiscard]] bool is_dependent() const noexcept { return even_ != 0; }
  void advance(std::int32_t level) noexcept { move((level & 1) != 0 ? odd_ : even_); }
  void advance_zero() noexcept { move(even_); }
  // A run of zeros of any length; every fourth leads back, because the cycles of even levels are of
  // lengths 1, 2 and 4.
  void advance_zeros(std::size_t n_levels) noexcept {
    for (std::size_t i = 0; i < n_levels % 4; ++i)
      advance_zero();
  }

 private:
  void move(std::uint64_t packed) noexcept {
    constexpr std::uint64_t kShifts = 8 * (kTrellisStates - 1);
    shift_ = static_cast<std::uint32_t>((packed >> shift_) & kShifts);
  }

  std::uint64_t even_;
  std::uint64_t odd_;
  std::uint32_t shift_ = 0;  // eight times the state
};

}  // namespace fl_deepcabac
