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
inline constexpr TrellisTable kNoTrellis{};

[[nodiscard]] constexpr std::uint32_t quantizer_of(std::uint32_t state) noexcept {
  return state & 1U;
}

// Where a level lies, in half steps: 2 k, or one nearer to zero in quantiser 1.
[[nodiscard]] constexpr std::int32_t place_of(std::int32_t level,
                                              std::uint32_t quantizer) noexcept {
  const auto nearer = static_cast<std::int32_t>(quantizer);
  return 2 * level + (level > 0 ? -nearer : (level < 0 ? nearer : 0));
}

// The state machine along a run of levels.
class TrellisPath {
 public:
  explicit TrellisPath(bool is_dependent) noexcept
      : table_(is_dependent ? &kTrellis : &kNoTrellis) {}

  [[nodiscard]] std::uint32_t state() const noexcept { return state_; }
  [[nodiscard]] std::uint32_t quantizer() const noexcept { return quantizer_of(state_); }
  [[nodiscard]] bool is_dependent() const noexcept { return table_ == &kTrellis; }
  void advance(std::int32_t level) noexcept {
    state_ = (*table_)[static_cast<std::uint32_t>(level) & 1U][state_];
  }
  // A run of zeros of any length; every fourth leads back, because the cycles of even levels are of
  // lengths 1, 2 and 4.
  void advance_zeros(std::size_t n_levels) noexcept {
    for (std::size_t i = 0; i < n_levels % 4; ++i)
      advance(0);
  }

 private:
  const TrellisTable* table_;
  std::uint32_t state_ = 0;
};

}  // namespace fl_deepcabac
