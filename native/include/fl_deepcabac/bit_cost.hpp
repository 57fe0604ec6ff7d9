// SPDX-License-Identifier: Apache-2.0
// Integer logarithms: what a bin costs, and how far an interval has shrunk.
//
// Used for reports and for the encoder's choices, never for decoding; integers all the same, so
// that one input gives one packet on every machine.
#pragma once

#include <array>
#include <bit>
#include <cstdint>

#include "fl_deepcabac/bit_model.hpp"

namespace fl_deepcabac {

// Costs are in units of 2^-8 bit.
inline constexpr int kCostBits = 8;

// floor(2^8 * log2(value)) for value >= 1, by repeated squaring of the mantissa.
constexpr std::uint32_t log2_cost(std::uint64_t value) noexcept {
  const int exponent = static_cast<int>(std::bit_width(value)) - 1;
  // In [2^31, 2^32).
  std::uint64_t mantissa = exponent > 31 ? value >> (exponent - 31) : value << (31 - exponent);
  std::uint32_t fraction = 0;
  for (int bit = 0; bit < kCostBits; ++bit) {
    mantissa = (mantissa * mantissa) >> 31;
    const bool carry = mantissa >= (std::uint64_t{1} << 32);
    if (carry) mantissa >>= 1;
    fraction = (fraction << 1) | (carry ? 1U : 0U);
  }
  return (static_cast<std::uint32_t>(exponent) << kCostBits) | fraction;
}

inline constexpr int kCostTableBits = 12;

// kBinCost[p >> 4] is the cost of a bin of probability p / 2^16; each entry stands for the middle
// of its cell.
consteval std::array<std::uint16_t, 1U << kCostTableBits> make_bin_costs() {
  std::array<std::uint16_t, 1U << kCostTableBits> costs{};
  for (std::uint32_t cell = 0; cell < costs.size(); ++cell) {
    const std::uint32_t middle = 2 * cell + 1;  // in units of 2^-13
    costs[cell] =
        static_cast<std::uint16_t>(((kCostTableBits + 1) << kCostBits) - log2_cost(middle));
  }
  return costs;
}
inline constexpr auto kBinCost = make_bin_costs();

// Cost of `bin` where P(bin = 1) = probability / 2^16. Without a branch, which signs would mislead.
[[nodiscard]] inline std::uint32_t bin_cost(bool bin, std::uint32_t probability) noexcept {
  const std::uint32_t zero_mask = std::uint32_t{bin} - 1;
  const std::uint32_t own = (probability ^ zero_mask) + ((kProbabilityOne + 1) & zero_mask);
  return kBinCost[own >> (kProbabilityBits - kCostTableBits)];
}

}  // namespace fl_deepcabac
