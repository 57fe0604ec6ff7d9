// SPDX-License-Identifier: Apache-2.0
// Arithmetic of the plain decoder: logarithms, classes and the codes of the history.
//
// The plain decoder is a second one, written from docs/bitstream.md alone: slow, in 64 bits, with
// indices that are checked. From the core it has statuses only, so what both decode the same is
// what the specification says.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>

namespace fl_deepcabac::testing {

// Of a number above zero.
inline std::int64_t floor_log2(std::int64_t number) {
  std::int64_t t = 0;
  while (number >> (t + 1) != 0)
    ++t;
  return t;
}

// H and C of spec 7.2.
inline std::int64_t half_octave(std::int64_t v) {
  if (v < 2) return v;
  const std::int64_t t = floor_log2(v);
  return 1 + 2 * t + ((v >> (t - 1)) & 1);
}
inline std::size_t class_below(std::int64_t v, std::int64_t m) {
  return static_cast<std::size_t>(std::min(half_octave(v), m - 1));
}

inline std::int64_t sign_of(std::int64_t number) {
  return number < 0 ? -1 : (number > 0 ? 1 : 0);
}

// The class 0, 1, 2 of a number below, at, above zero (spec 7.2).
inline std::size_t signum_class(std::int64_t number) {
  return static_cast<std::size_t>(1 + sign_of(number));
}

// A history code of a value that is not negative, and what it stands for (spec 7.4).
inline constexpr std::int64_t kLargestMagnitudeCode = 255;
inline constexpr std::int64_t kLargestSignedCode = 127;

inline std::int64_t history_code(std::int64_t v, std::int64_t largest) {
  if (v < 32) return v;
  const std::int64_t q = floor_log2(v) - 4;
  return std::min(16 * q + (v >> q), largest);
}
inline std::int64_t history_value(std::int64_t code) {
  if (code < 32) return code;
  return (16 + (code & 15)) << ((code >> 4) - 1);
}

// The same of a code that carries a sign.
inline std::int64_t signed_value(std::int64_t code) {
  return sign_of(code) * history_value(std::abs(code));
}
inline std::int64_t signed_code(std::int64_t v) {
  return sign_of(v) * history_code(std::abs(v), kLargestSignedCode);
}

}  // namespace fl_deepcabac::testing
