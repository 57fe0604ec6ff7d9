// SPDX-License-Identifier: Apache-2.0
// What a stream remembers of each weight: averages of its level and of its level's magnitude
// (spec 7.4).
//
// Both are kept in one byte, in a floating code with four or five significant bits, and in units of
// 1/32 of the tensor's last step. They are derived from coded levels only, so both ends hold the
// same.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <span>

namespace fl_deepcabac {

inline constexpr int kHistoryBits = 5;  // fixed-point bits of a decoded average
inline constexpr std::uint32_t kMaxMagnitudeCode = 255;
inline constexpr std::uint32_t kMaxSignedCode = 127;

// Code of an average: itself below 32, then 16 codes an octave. Monotonic; truncates.
[[nodiscard]] constexpr std::uint32_t history_code(std::uint32_t value,
                                                   std::uint32_t max_code) noexcept {
  if (value < 32) return value;
  const auto shift = static_cast<std::uint32_t>(std::bit_width(value) - 5);
  return std::min(16 * shift + (value >> shift), max_code);
}

// Smallest average that has this code.
[[nodiscard]] constexpr std::uint32_t history_value(std::uint32_t code) noexcept {
  if (code < 32) return code;
  return (16 + (code & 15U)) << ((code >> 4) - 1);
}

consteval std::array<std::uint32_t, 256> make_history_values() {
  std::array<std::uint32_t, 256> values{};
  for (std::uint32_t code = 0; code < 256; ++code)
    values[code] = history_value(code);
  return values;
}
inline constexpr auto kHistoryValues = make_history_values();

// Averages of magnitude and of the signed level, in steps, one code a weight.
struct HistoryView {
  std::span<std::uint8_t> magnitude;
  std::span<std::int8_t> signed_level;
};

// Averages moved half way to a place, given in half steps (spec 7.4).
[[nodiscard]] constexpr std::uint8_t moved_magnitude(std::uint8_t code,
                                                     std::int32_t place) noexcept {
  // A place this large saturates both codes, and a smaller bound keeps the sums within 32 bits.
  constexpr std::int32_t kBound = 1 << 21;
  const std::int32_t moved = std::clamp(place, -kBound, kBound) * (1 << (kHistoryBits - 1));
  const auto distance = static_cast<std::uint32_t>(moved < 0 ? -moved : moved);
  return static_cast<std::uint8_t>(
      history_code((kHistoryValues[code] + distance) / 2, kMaxMagnitudeCode));
}

[[nodiscard]] constexpr std::int8_t moved_signed(std::int8_t old_code,
                                                 std::int32_t place) noexcept {
  constexpr std::int32_t kBound = 1 << 21;
  const std::int32_t moved = std::clamp(place, -kBound, kBound) * (1 << (kHistoryBits - 1));
  const std::int32_t wide = old_code;
  const auto old_value =
      static_cast<std::int32_t>(history_value(static_cast<std::uint32_t>(wide < 0 ? -wide : wide)));
  const std::int32_t sum = (wide < 0 ? -old_value : old_value) + moved;
  const auto code = static_cast<std::int32_t>(
      history_code(static_cast<std::uint32_t>(sum < 0 ? -sum : sum) / 2, kMaxSignedCode));
  return static_cast<std::int8_t>(sum < 0 ? -code : code);
}

// What every code becomes by each of the places within +-kTabledPlaces.
inline constexpr std::int32_t kTabledPlaces = 8;
using MovedCodes = std::array<std::array<std::uint8_t, 256>, 2 * kTabledPlaces + 1>;
struct MovedTables {
  MovedCodes magnitude{};
  MovedCodes signed_level{};
};
consteval MovedTables make_moved_tables() {
  MovedTables tables;
  for (std::int32_t place = -kTabledPlaces; place <= kTabledPlaces; ++place) {
    const auto row = static_cast<std::size_t>(std::int64_t{place} + kTabledPlaces);
    for (std::uint32_t code = 0; code < 256; ++code) {
      const auto byte = static_cast<std::uint8_t>(code);
      tables.magnitude[row][code] = moved_magnitude(byte, place);
      tables.signed_level[row][code] =
          static_cast<std::uint8_t>(moved_signed(static_cast<std::int8_t>(byte), place));
    }
  }
  return tables;
}
inline constexpr MovedTables kMoved = make_moved_tables();

// Move one weight's averages.
inline void update_history(std::uint8_t& magnitude, std::int8_t& signed_level,
                           std::int32_t place) noexcept {
  if (place < -kTabledPlaces || place > kTabledPlaces) {
    magnitude = moved_magnitude(magnitude, place);
    signed_level = moved_signed(signed_level, place);
    return;
  }
  const auto row = static_cast<std::size_t>(std::int64_t{place} + kTabledPlaces);
  magnitude = kMoved.magnitude[row][magnitude];
  signed_level =
      static_cast<std::int8_t>(kMoved.signed_level[row][static_cast<std::uint8_t>(signed_level)]);
}

// Move averages as for levels of zero.
void decay_history(HistoryView history) noexcept;

// Re-express averages after the step of their tensor has changed. Steps are given as float32 bits
// (spec 7.5).
void rescale_history(HistoryView history, std::uint32_t old_step_bits,
                     std::uint32_t new_step_bits) noexcept;

}  // namespace fl_deepcabac
