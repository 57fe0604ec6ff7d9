// SPDX-License-Identifier: Apache-2.0
// The adaptive probability of one binary decision (spec 6.2).
//
// Two estimates of P(bin = 1), a quick one and a steady one, are averaged. Both move by 1/(count
// + 1.5) while they are young, then by a constant. Integer arithmetic only: encoder and decoder
// agree on every machine.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

namespace fl_deepcabac {

inline constexpr int kProbabilityBits = 16;
inline constexpr std::uint32_t kProbabilityOne = 1U << kProbabilityBits;
// 12 / 65536 costs 0.00026 bit for the likelier bin, so that very sparse updates cost what their
// entropy says.
inline constexpr std::uint32_t kProbabilityFloor = 12;

// Estimates keep 24 fractional bits: at the slow rate a 16-bit one would stall at 1/256.
inline constexpr int kEstimateBits = 24;
inline constexpr std::uint32_t kEstimateHalf = 1U << (kEstimateBits - 1);
inline constexpr int kFastWindow = 20;
inline constexpr int kSlowWindow = 220;
inline constexpr int kRateBits = 16;

// From this count on rates no longer change.
inline constexpr std::uint32_t kSettled = 255;

// kRates.x[count] = floor(2^16 / min(count + 1.5, window)).
struct RateTables {
  std::array<std::uint32_t, kSettled + 1> fast{};
  std::array<std::uint32_t, kSettled + 1> slow{};
};

consteval RateTables make_rate_tables() {
  RateTables tables;
  for (std::uint32_t count = 0; count <= kSettled; ++count) {
    const std::uint32_t young = (2U << kRateBits) / (2 * count + 3);
    tables.fast[count] = std::max(young, (1U << kRateBits) / kFastWindow);
    tables.slow[count] = std::max(young, (1U << kRateBits) / kSlowWindow);
  }
  return tables;
}
inline constexpr RateTables kRates = make_rate_tables();

struct BitModel {
  std::uint32_t fast = kEstimateHalf;  // P(bin = 1) in units of 2^-24, in [0, 2^24)
  std::uint32_t slow = kEstimateHalf;  // same unit and range
  std::uint32_t count = 0;             // bins seen; cut to kSettled before each packet

  // P(bin = 1) in units of 2^-16, within [kProbabilityFloor, 2^16 - kProbabilityFloor].
  [[nodiscard]] std::uint32_t probability() const noexcept {
    const std::uint32_t mean = (fast + slow) >> (1 + kEstimateBits - kProbabilityBits);
    return std::clamp(mean, kProbabilityFloor, kProbabilityOne - kProbabilityFloor);
  }

  [[gnu::always_inline]] void update(bool bin) noexcept { move(bin, kRates.fast[age()]); }
  // For bins whose odds hardly drift: both estimates are steady ones.
  void update_steadily(bool bin) noexcept { move(bin, kRates.slow[age()]); }

 private:
  [[nodiscard]] std::uint32_t age() const noexcept { return std::min(count, kSettled); }
  [[gnu::always_inline]] void move(bool bin, std::uint32_t fast_rate) noexcept {
    const std::int64_t target = bin ? (1 << kEstimateBits) - 1 : 0;
    slow = moved(slow, target, kRates.slow[age()]);
    fast = moved(fast, target, fast_rate);
    ++count;
  }
  static std::uint32_t moved(std::uint32_t estimate, std::int64_t target,
                             std::uint32_t rate) noexcept {
    const std::int64_t distance = target - static_cast<std::int64_t>(estimate);
    return static_cast<std::uint32_t>(static_cast<std::int64_t>(estimate) +
                                      ((distance * rate) >> kRateBits));
  }
};

}  // namespace fl_deepcabac
