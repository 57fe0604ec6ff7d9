// SPDX-License-Identifier: Apache-2.0
// A context (spec 6.2) and a mixer of contexts (spec 7.6) of the plain decoder, and the tables of
// logarithms that a mixer needs.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "plain_numbers.hpp"

namespace fl_deepcabac::testing {

inline constexpr std::int64_t kPlainLeastEstimate = std::int64_t{1} << 19;
inline constexpr std::int64_t kPlainLargestEstimate =
    (std::int64_t{1} << 32) - 1 - kPlainLeastEstimate;

struct PlainContext {
  std::int64_t fast = std::int64_t{1} << 31;
  std::int64_t slow = std::int64_t{1} << 31;
  std::int64_t count = 0;

  [[nodiscard]] std::int64_t P() const { return (fast + slow) >> 17; }

  // "Steadily" (spec 6.2) lowers the least factor of `fast`; the factors still begin large.
  void move(bool bin) { move(bin, 1 << 12); }
  void move_steadily(bool bin) { move(bin, 1 << 8); }

 private:
  void move(bool bin, std::int64_t least_fast) {
    const std::int64_t a = std::min<std::int64_t>(count, 255);
    const std::int64_t rate = (1 << 17) / (2 * a + 3);
    fast = moved(fast, bin, std::max(rate, least_fast));
    slow = moved(slow, bin, std::max<std::int64_t>(rate, 1 << 8));
    ++count;
  }
  static std::int64_t moved(std::int64_t e, bool bin, std::int64_t rate) {
    constexpr std::int64_t kSure = (std::int64_t{1} << 32) - 1;
    std::int64_t d = bin ? kSure - e : e;
    d -= ((d - kPlainLeastEstimate) * rate) >> 16;
    return bin ? kSure - d : d;
  }
};

// `lg` of spec 7.6.
inline std::int64_t integer_log(std::int64_t v) {
  const std::int64_t t = floor_log2(v);
  std::uint64_t m = static_cast<std::uint64_t>(v) << (31 - t);  // its square has 64 bits
  std::int64_t bits = 0;
  for (int i = 0; i < 8; ++i) {
    m = (m * m) >> 31;
    bits *= 2;
    if (m >> 32 != 0) {
      bits += 1;
      m /= 2;
    }
  }
  return 256 * t + bits;
}

// Log odds lie within +-2047 (spec 7.6).
inline constexpr std::int64_t kPlainLogOdds = 2047;

inline std::vector<std::int64_t> stretch_table() {
  std::vector<std::int64_t> stretch(4096, 0);
  for (std::size_t i = 0; i < 2048; ++i) {
    const auto c = static_cast<std::int64_t>(i);
    const std::int64_t odds = integer_log(8191 - 2 * c) - integer_log(2 * c + 1);
    stretch.at(i) = -std::min((odds * 45426) >> 16, kPlainLogOdds);
    stretch.at(4095 - i) = -stretch.at(i);
  }
  return stretch;
}

// For x from 0 upwards.
inline std::vector<std::int64_t> squash_table() {
  std::vector<std::int64_t> squash;
  std::uint64_t w = std::uint64_t{1} << 31;
  for (std::int64_t x = 0; x <= kPlainLogOdds; ++x) {
    const std::uint64_t odds = (std::uint64_t{1} << 47) / ((std::uint64_t{1} << 31) + w);
    squash.push_back(static_cast<std::int64_t>(std::min<std::uint64_t>(odds, 65528)));
    w = (w * 4278222805U) >> 32;
  }
  return squash;
}

inline std::int64_t stretched(std::int64_t P) {
  static const std::vector<std::int64_t> stretch = stretch_table();
  return stretch.at(static_cast<std::size_t>(P >> 4));
}
inline std::int64_t squashed(std::int64_t x) {
  static const std::vector<std::int64_t> squash = squash_table();
  const std::int64_t above = squash.at(static_cast<std::size_t>(std::abs(x)));
  return x >= 0 ? above : 65536 - above;
}

inline constexpr std::int64_t kPlainLargestWeight = std::int64_t{1} << 19;
inline constexpr std::size_t kPlainMostInputs = 5;

struct PlainMixer {
  explicit PlainMixer(std::size_t n) : n_inputs(n) {
    for (std::size_t j = 0; j < n_inputs; ++j)
      weights.at(j) = (5 << 16) / (4 * static_cast<std::int64_t>(n));
  }

  std::size_t n_inputs;
  std::array<std::int64_t, kPlainMostInputs> weights{};
  std::int64_t count = 0;

  using Contexts = std::vector<PlainContext*>;

  [[nodiscard]] std::int64_t P(const Contexts& contexts) const {
    std::int64_t y = 0;
    for (std::size_t j = 0; j < n_inputs; ++j)
      y += weights.at(j) * stretched(contexts.at(j)->P());
    return squashed(std::clamp(y >> 16, -kPlainLogOdds, kPlainLogOdds));
  }

  // The contexts move too, after the mixer has seen what they said before the bin.
  void move(const Contexts& contexts, bool bin) {
    const std::int64_t error = (bin ? 65536 : 0) - P(contexts);
    std::int64_t h = 14;
    for (const std::int64_t threshold : {64, 256, 1024, 4096})
      h += count >= threshold ? 1 : 0;
    for (std::size_t j = 0; j < n_inputs; ++j) {
      const std::int64_t g = stretched(contexts.at(j)->P());
      std::int64_t& weight = weights.at(j);
      weight += (error * g + (std::int64_t{1} << (h - 1))) >> h;
      weight = std::clamp(weight, -kPlainLargestWeight, kPlainLargestWeight);
    }
    for (PlainContext* context : contexts)
      context->move(bin);
    ++count;
  }
};

}  // namespace fl_deepcabac::testing
