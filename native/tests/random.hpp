// SPDX-License-Identifier: Apache-2.0
// Random numbers for tests and benchmarks: the same from the same seed on every machine.
//
// Only integers and correctly rounded float operations are used, and no distribution of the
// standard library, whose results are its own matter.
#pragma once

#include <cstdint>
#include <span>

namespace fl_deepcabac::testing {

// SplitMix64.
class Random {
 public:
  explicit Random(std::uint64_t seed) noexcept : state_(seed) {}

  std::uint64_t next() noexcept {
    state_ += 0x9E3779B97F4A7C15U;
    std::uint64_t mixed = state_;
    mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9U;
    mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EBU;
    return mixed ^ (mixed >> 31);
  }
  // In [0, bound).
  std::uint32_t below(std::uint32_t bound) noexcept {
    return static_cast<std::uint32_t>(((next() >> 32) * bound) >> 32);
  }
  // In [first, last].
  std::int32_t between(std::int32_t first, std::int32_t last) noexcept {
    return first + static_cast<std::int32_t>(below(static_cast<std::uint32_t>(last - first) + 1));
  }
  // In [0, 1), a multiple of 2^-24.
  float unit() noexcept { return static_cast<float>(next() >> 40) * 0x1p-24F; }
  bool chance(float probability) noexcept { return unit() < probability; }
  // Symmetric about 0 with tails heavier than a normal distribution's; RMS near 1.
  float heavy_tailed() noexcept {
    const float middle = unit() + unit() + unit() - 1.5F;
    return middle / (0.15F + unit());
  }

 private:
  std::uint64_t state_;
};

// CRC-32 as in zlib, bit by bit.
inline std::uint32_t crc32(std::span<const std::uint8_t> bytes) noexcept {
  std::uint32_t crc = 0xFFFFFFFF;
  for (const std::uint8_t byte : bytes) {
    crc ^= byte;
    for (int bit = 0; bit < 8; ++bit)
      crc = (crc >> 1) ^ ((crc & 1U) != 0 ? 0xEDB88320U : 0U);
  }
  return ~crc;
}

}  // namespace fl_deepcabac::testing
