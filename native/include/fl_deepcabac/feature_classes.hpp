// SPDX-License-Identifier: Apache-2.0
// How the inputs of contexts are divided into classes (spec 7.2).
//
// Classes that the busiest bins need are tables over a byte; the others are worked out when asked
// for.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>

#include "fl_deepcabac/history.hpp"

namespace fl_deepcabac {

// Classes of each context input.
inline constexpr std::uint32_t kHistoryClasses = 24;
inline constexpr std::uint32_t kSpatialClasses = 16;
inline constexpr std::uint32_t kMagnitudeClasses = 24;
inline constexpr std::uint32_t kSignClasses = 9;
inline constexpr std::uint32_t kSignumClasses = 3;
inline constexpr std::uint32_t kActivityClasses = 8;
// Classes of the inputs that only the profile "max" looks at.
inline constexpr std::uint32_t kNearClasses = 12;
inline constexpr std::uint32_t kScaleClasses = 16;
inline constexpr std::uint32_t kSignedClasses = 17;

// Half-octave logarithm: 0, then 1 for 1, 3 and 4 for 2 and 3, 5 for 4-5, 6 for 6-7, and so on.
[[nodiscard]] constexpr std::uint32_t half_octave(std::uint32_t value) noexcept {
  if (value < 2) return value;
  const auto top = static_cast<std::uint32_t>(std::bit_width(value) - 1);
  return 1 + 2 * top + ((value >> (top - 1)) & 1U);
}

[[nodiscard]] constexpr std::uint32_t half_octave_class(std::uint32_t value,
                                                        std::uint32_t n_classes) noexcept {
  return std::min(half_octave(value), n_classes - 1);
}

[[nodiscard]] constexpr std::uint32_t signum_class(std::int32_t level) noexcept {
  return level > 0 ? 2U : (level < 0 ? 0U : 1U);
}

using ClassTable = std::array<std::uint8_t, 256>;

consteval ClassTable make_history_classes() {
  ClassTable classes{};
  for (std::uint32_t code = 0; code < classes.size(); ++code) {
    classes[code] =
        static_cast<std::uint8_t>(half_octave_class(history_value(code), kHistoryClasses));
  }
  return classes;
}
// History class of a magnitude code.
inline constexpr ClassTable kHistoryClassOfCode = make_history_classes();

consteval ClassTable make_spatial_classes() {
  ClassTable classes{};
  for (std::uint32_t value = 0; value < classes.size(); ++value) {
    classes[value] = static_cast<std::uint8_t>(half_octave_class(value, kSpatialClasses));
  }
  return classes;
}
inline constexpr ClassTable kSpatialClassOfValue = make_spatial_classes();
static_assert(kSpatialClassOfValue.back() == kSpatialClasses - 1,
              "beyond the table there is one class only");

[[nodiscard]] inline std::uint32_t spatial_class(std::uint32_t value) noexcept {
  constexpr std::uint32_t kLast = 255;
  return kSpatialClassOfValue[std::min(value, kLast)];
}

consteval ClassTable make_sign_classes() {
  ClassTable classes{};
  for (std::int32_t code = -128; code < 128; ++code) {
    std::int32_t strength = 0;
    for (const std::int32_t threshold : {2, 8, 16, 32})
      strength += (code < 0 ? -code : code) >= threshold ? 1 : 0;
    classes[static_cast<std::uint8_t>(code)] =
        static_cast<std::uint8_t>(code < 0 ? 4 - strength : 4 + strength);
  }
  return classes;
}
inline constexpr ClassTable kSignClassOfCode = make_sign_classes();

// Sign class of a signed code: 4 where the average is near zero, up to 8 and down to 0 as it moves
// to +1 and -1.
[[nodiscard]] inline std::uint32_t sign_class(std::int8_t code) noexcept {
  return kSignClassOfCode[static_cast<std::uint8_t>(code)];
}

consteval ClassTable make_signed_classes() {
  ClassTable classes{};
  for (std::int32_t code = -128; code < 128; ++code) {
    const auto size = static_cast<std::uint32_t>(code < 0 ? -code : code);
    const std::uint32_t strength =
        std::min(half_octave(history_value(size)) / 2, kSignedClasses / 2);
    classes[static_cast<std::uint8_t>(code)] = static_cast<std::uint8_t>(
        code < 0 ? kSignedClasses / 2 - strength : kSignedClasses / 2 + strength);
  }
  return classes;
}
inline constexpr ClassTable kSignedClassOfCode = make_signed_classes();

// Finer: 8 where the average is near zero, then one class an octave either way.
[[nodiscard]] inline std::uint32_t signed_class(std::int8_t code) noexcept {
  return kSignedClassOfCode[static_cast<std::uint8_t>(code)];
}

consteval ClassTable make_near_classes() {
  ClassTable classes{};
  for (std::uint32_t value = 0; value < classes.size(); ++value)
    classes[value] = static_cast<std::uint8_t>(half_octave_class(value, kNearClasses));
  return classes;
}
inline constexpr ClassTable kNearClassOfValue = make_near_classes();
// Half the weighed magnitudes of two or three levels in clipped half steps fit the table.
static_assert(4 * 127 / 2 < 256);

[[nodiscard]] inline std::uint32_t near_class(std::uint32_t value) noexcept {
  return kNearClassOfValue[value];
}

// Scales have as many classes as the spatial estimate, and history classes end at this value.
static_assert(kScaleClasses == kSpatialClasses);
inline constexpr std::uint32_t kLastHistoryValue = 1U << 11;
static_assert(half_octave(kLastHistoryValue) == kHistoryClasses - 1 &&
              half_octave(kLastHistoryValue - 1) == kHistoryClasses - 2);

consteval std::array<std::uint8_t, kLastHistoryValue + 1> make_average_classes() {
  std::array<std::uint8_t, kLastHistoryValue + 1> classes{};
  for (std::uint32_t value = 0; value < classes.size(); ++value)
    classes[value] = static_cast<std::uint8_t>(half_octave_class(value, kHistoryClasses));
  return classes;
}
inline constexpr auto kAverageClassOfValue = make_average_classes();

[[nodiscard]] inline std::uint32_t average_class(std::uint32_t value) noexcept {
  return kAverageClassOfValue[std::min(value, kLastHistoryValue)];
}

}  // namespace fl_deepcabac
