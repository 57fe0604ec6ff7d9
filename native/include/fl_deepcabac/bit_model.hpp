// SPDX-License-Identifier: Apache-2.0
// The adaptive probability of one binary decision (spec 6.2).
//
// Two estimates of P(bin = 1), a quick one and a steady one, are averaged. Both move by 1/(count
// + 1.5) while they are young, then by a constant power of two. They lie side by side in one word
// and move at once. Integer arithmetic only: encoder and decoder agree on every machine.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

namespace fl_deepcabac {

inline constexpr int kProbabilityBits = 16;
inline constexpr std::uint32_t kProbabilityOne = 1U << kProbabilityBits;
// 8 / 65536 costs 0.00018 bit for the likelier bin, so that very sparse updates cost what their
// entropy says.
inline constexpr std::uint32_t kProbabilityFloor = 8;

// Estimates keep 32 fractional bits: at the slow rate a 16-bit one would stall at 1/256.
inline constexpr int kEstimateBits = 32;
inline constexpr std::uint32_t kEstimateHalf = 1U << (kEstimateBits - 1);
// Estimates move towards these and so never leave what lies between: no probability needs a bound.
inline constexpr std::uint32_t kLeastEstimate = kProbabilityFloor
                                                << (kEstimateBits - kProbabilityBits);
inline constexpr std::uint32_t kMostEstimate = ~kLeastEstimate;
inline constexpr int kFastShift = 4;
inline constexpr int kSlowShift = 8;
inline constexpr int kRateBits = 16;

// From this count on rates no longer change.
inline constexpr std::uint32_t kSettled = 255;

// kYoungRates[count] = floor(2^16 / (count + 1.5)).
consteval std::array<std::uint32_t, kSettled> make_young_rates() {
  std::array<std::uint32_t, kSettled> rates{};
  for (std::uint32_t count = 0; count < kSettled; ++count)
    rates[count] = (2U << kRateBits) / (2 * count + 3);
  return rates;
}
inline constexpr auto kYoungRates = make_young_rates();
static_assert(kYoungRates.back() >= 1U << (kRateBits - kSlowShift),
              "the slow rate is reached when counts settle");

class BitModel {
 public:
  BitModel() = default;
  // Estimates within the bounds above.
  BitModel(std::uint32_t fast, std::uint32_t slow, std::uint32_t count) noexcept
      : estimates_(std::uint64_t{fast} << kEstimateBits | slow), count_(count) {}

  [[nodiscard]] bool operator==(const BitModel&) const noexcept = default;

  // P(bin = 1) in units of 2^-32.
  [[nodiscard]] std::uint32_t fast() const noexcept {
    return static_cast<std::uint32_t>(estimates_ >> kEstimateBits);
  }
  [[nodiscard]] std::uint32_t slow() const noexcept {
    return static_cast<std::uint32_t>(estimates_);
  }
  // Bins seen; cut to kSettled before each packet.
  [[nodiscard]] std::uint32_t count() const noexcept { return count_; }
  void settle() noexcept { count_ = std::min(count_, kSettled); }

  // P(bin = 1) in units of 2^-16, within [kProbabilityFloor, 2^16 - kProbabilityFloor).
  [[nodiscard]] std::uint32_t probability() const noexcept {
    return static_cast<std::uint32_t>(((estimates_ >> kEstimateBits) + slow()) >>
                                      (1 + kEstimateBits - kProbabilityBits));
  }

  [[gnu::always_inline]] void update(bool bin) noexcept { move<kFastShift>(bin); }
  // For bins whose odds hardly drift: both estimates are steady ones.
  void update_steadily(bool bin) noexcept { move<kSlowShift>(bin); }

 private:
  static constexpr std::uint64_t kHighLane = ~std::uint64_t{0} << kEstimateBits;
  static constexpr std::uint64_t kLeast =
      std::uint64_t{kLeastEstimate} << kEstimateBits | kLeastEstimate;

  // Both estimates as distances from the bin, so that they shrink whatever it was.
  template <int fast_shift>
  [[gnu::always_inline]] void move(bool bin) noexcept {
    const std::uint64_t mirror = 0 - std::uint64_t{bin};
    const std::uint64_t distances = estimates_ ^ mirror;
    const std::uint64_t excess = distances - kLeast;
    std::uint64_t steps = 0;
    if (count_ >= kSettled) [[likely]] {
      steps = ((excess >> fast_shift) & (kHighLane >> fast_shift) & kHighLane) |
              (static_cast<std::uint32_t>(excess) >> kSlowShift);
    } else {
      steps = young_steps<fast_shift>(excess, kYoungRates[count_]);
    }
    estimates_ = (distances - steps) ^ mirror;
    ++count_;
  }
  template <int fast_shift>
  [[nodiscard]] static std::uint64_t young_steps(std::uint64_t excess,
                                                 std::uint64_t rate) noexcept {
    const std::uint64_t fast_rate = std::max(rate, std::uint64_t{1} << (kRateBits - fast_shift));
    const std::uint64_t fast = ((excess >> kEstimateBits) * fast_rate) >> kRateBits;
    const std::uint64_t slow =
        (std::uint64_t{static_cast<std::uint32_t>(excess)} * rate) >> kRateBits;
    return fast << kEstimateBits | slow;
  }

  // The quick estimate in the upper half, the steady one in the lower.
  std::uint64_t estimates_ = std::uint64_t{kEstimateHalf} << kEstimateBits | kEstimateHalf;
  std::uint32_t count_ = 0;
};

}  // namespace fl_deepcabac
