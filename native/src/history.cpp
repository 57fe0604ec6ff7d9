// SPDX-License-Identifier: Apache-2.0
#include "fl_deepcabac/history.hpp"

namespace fl_deepcabac {
namespace {

constexpr int kRatioBits = 16;
constexpr std::uint64_t kMaxRatio = std::uint64_t{1} << 32;

// floor(2^16 * old_step / new_step), from the float32 bits of two positive normal numbers; at most
// 2^32.
std::uint64_t step_ratio(std::uint32_t old_bits, std::uint32_t new_bits) noexcept {
  constexpr std::uint32_t kMantissaMask = (1U << 23) - 1;
  const std::uint64_t old_mantissa = (old_bits & kMantissaMask) | (1U << 23);
  const std::uint64_t new_mantissa = (new_bits & kMantissaMask) | (1U << 23);
  const int shift =
      kRatioBits + static_cast<int>(old_bits >> 23) - static_cast<int>(new_bits >> 23);
  if (shift > 33) return kMaxRatio;
  if (shift < -1) return 0;
  const std::uint64_t ratio =
      shift >= 0 ? (old_mantissa << shift) / new_mantissa : (old_mantissa >> -shift) / new_mantissa;
  return ratio < kMaxRatio ? ratio : kMaxRatio;
}

std::uint32_t rescaled_code(std::uint32_t code, std::uint64_t ratio,
                            std::uint32_t max_code) noexcept {
  // A value is below 2^19 and a ratio at most 2^32, so the product fits 51 bits.
  const std::uint64_t value =
      (history_value(code) * ratio + (1U << (kRatioBits - 1))) >> kRatioBits;
  constexpr std::uint64_t kBound = 1U << 30;
  return history_code(static_cast<std::uint32_t>(std::min(value, kBound)), max_code);
}

// The code of half a value. An octave is 16 codes above 32, below it a code is its value, and the
// two rules meet as a maximum, which the compiler turns into two vector instructions.
constexpr std::uint8_t halved_code(std::uint8_t code) noexcept {
  const auto octave_down = static_cast<std::uint8_t>(std::max<std::uint8_t>(code, 16) - 16);
  return std::max(static_cast<std::uint8_t>(code >> 1), octave_down);
}

consteval bool halves_every_value() {
  for (std::uint32_t code = 0; code <= kMaxMagnitudeCode; ++code) {
    const std::uint32_t wanted = history_code(history_value(code) / 2, kMaxMagnitudeCode);
    if (halved_code(static_cast<std::uint8_t>(code)) != wanted) return false;
  }
  return true;
}
static_assert(halves_every_value());

}  // namespace

void decay_history(HistoryView history) noexcept {
  for (std::uint8_t& code : history.magnitude)
    code = halved_code(code);
  for (std::int8_t& code : history.signed_level) {
    const auto size = static_cast<std::uint8_t>(code < 0 ? -code : code);
    const auto halved = static_cast<std::int8_t>(halved_code(size));
    code = static_cast<std::int8_t>(code < 0 ? -halved : halved);
  }
}

void rescale_history(HistoryView history, std::uint32_t old_step_bits,
                     std::uint32_t new_step_bits) noexcept {
  const std::uint64_t ratio = step_ratio(old_step_bits, new_step_bits);
  std::array<std::uint8_t, kMaxMagnitudeCode + 1> magnitude_codes;
  for (std::uint32_t code = 0; code <= kMaxMagnitudeCode; ++code) {
    magnitude_codes[code] =
        static_cast<std::uint8_t>(rescaled_code(code, ratio, kMaxMagnitudeCode));
  }
  std::array<std::int8_t, kMaxSignedCode + 1> signed_codes;
  for (std::uint32_t code = 0; code <= kMaxSignedCode; ++code) {
    signed_codes[code] = static_cast<std::int8_t>(rescaled_code(code, ratio, kMaxSignedCode));
  }
  for (std::uint8_t& code : history.magnitude)
    code = magnitude_codes[code];
  for (std::int8_t& code : history.signed_level) {
    const auto rescaled = signed_codes[static_cast<std::size_t>(code < 0 ? -code : code)];
    code = static_cast<std::int8_t>(code < 0 ? -rescaled : rescaled);
  }
}

}  // namespace fl_deepcabac
