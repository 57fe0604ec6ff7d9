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

// Codes after a level of zero: most levels are, and a table spares them the arithmetic.
struct DecayTables {
  std::array<std::uint8_t, 256> magnitude{};
  std::array<std::int8_t, 256> signed_level{};  // by the code's byte
};

consteval DecayTables make_decay_tables() {
  DecayTables tables;
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    auto magnitude = static_cast<std::uint8_t>(byte);
    auto signed_level = static_cast<std::int8_t>(byte);
    update_history(magnitude, signed_level, 0);
    tables.magnitude[byte] = magnitude;
    tables.signed_level[byte] = signed_level;
  }
  return tables;
}
constexpr DecayTables kDecay = make_decay_tables();

}  // namespace

void move_history(HistoryView history, std::span<const std::int32_t> levels) noexcept {
  for (std::size_t i = 0; i < levels.size(); ++i) {
    std::uint8_t& magnitude = history.magnitude[i];
    std::int8_t& signed_level = history.signed_level[i];
    if (levels[i] == 0) {
      magnitude = kDecay.magnitude[magnitude];
      signed_level = kDecay.signed_level[static_cast<std::uint8_t>(signed_level)];
    } else {
      update_history(magnitude, signed_level, levels[i]);
    }
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
