// SPDX-License-Identifier: Apache-2.0
// Probabilities as log odds and back, by integer tables (spec 7.6).
//
// Tables are integers, defined by integer recurrences, so all machines agree.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "fl_deepcabac/bit_cost.hpp"
#include "fl_deepcabac/bit_model.hpp"

namespace fl_deepcabac {

// Log odds are in units of 2^-8 (natural logarithm), within +-kMaxLogOdds.
inline constexpr int kLogOddsBits = 8;
inline constexpr std::int32_t kMaxLogOdds = 2047;
inline constexpr int kStretchTableBits = 12;

// kStretch[c]: log odds of probability (2 c + 1) / 2^13, from the integer logarithm of spec 7.6.
consteval std::array<std::int16_t, 1U << kStretchTableBits> make_stretch_table() {
  constexpr std::uint64_t kLn2 = 45426;  // floor(2^16 * ln 2)
  std::array<std::int16_t, 1U << kStretchTableBits> table{};
  for (std::uint32_t cell = 0; cell < table.size() / 2; ++cell) {
    const std::uint64_t own = log2_cost(2 * cell + 1);
    const std::uint64_t other = log2_cost((2U << kStretchTableBits) - 2 * cell - 1);
    const auto distance = static_cast<std::int32_t>(((other - own) * kLn2) >> 16);
    table[cell] = static_cast<std::int16_t>(-std::min(distance, kMaxLogOdds));
    table[table.size() - 1 - cell] = static_cast<std::int16_t>(-table[cell]);
  }
  return table;
}
inline constexpr auto kStretch = make_stretch_table();

// kSquash[x + kMaxLogOdds]: probability of log odds x in units of 2^-16, from powers of e^(-1/256).
consteval std::array<std::uint16_t, 2 * kMaxLogOdds + 1> make_squash_table() {
  constexpr std::uint64_t kRatio = 4278222805;  // floor(2^32 * e^(-1/256))
  constexpr int kOneBits = 31;
  std::array<std::uint16_t, 2 * kMaxLogOdds + 1> table{};
  std::uint64_t power = std::uint64_t{1} << kOneBits;
  for (std::int32_t x = 0; x <= kMaxLogOdds; ++x) {
    const std::uint64_t probability =
        (std::uint64_t{kProbabilityOne} << kOneBits) / ((std::uint64_t{1} << kOneBits) + power);
    const auto bounded = static_cast<std::uint32_t>(
        std::min<std::uint64_t>(probability, kProbabilityOne - kProbabilityFloor));
    table[std::size_t{kMaxLogOdds} + static_cast<std::size_t>(x)] =
        static_cast<std::uint16_t>(bounded);
    table[std::size_t{kMaxLogOdds} - static_cast<std::size_t>(x)] =
        static_cast<std::uint16_t>(kProbabilityOne - bounded);
    power = (power * kRatio) >> 32;
  }
  return table;
}
inline constexpr auto kSquash = make_squash_table();

// Probability in units of 2^-16 of any log odds.
[[nodiscard]] constexpr std::uint32_t squash(std::int64_t log_odds) noexcept {
  const auto bounded = std::clamp<std::int64_t>(log_odds, -kMaxLogOdds, kMaxLogOdds);
  return kSquash[static_cast<std::size_t>(bounded + kMaxLogOdds)];
}

}  // namespace fl_deepcabac
