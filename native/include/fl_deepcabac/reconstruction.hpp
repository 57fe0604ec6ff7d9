// SPDX-License-Identifier: Apache-2.0
// From levels to values, and what a decoder may know better than the middle of a level (spec 8).
//
// A tensor has seven offsets. Two move non-zero places outwards or inwards, to where the values in
// them lie on average; four are gains on the signed average of the history, three for zeros and one
// for others: a weight that moved one way in the last updates is likely to have moved the same way
// in this one, also where its level says nothing; the last draws zeros towards the places beside
// them.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "fl_deepcabac/history.hpp"
#include "fl_deepcabac/level_list.hpp"
#include "fl_deepcabac/trellis.hpp"

namespace fl_deepcabac {

inline constexpr std::size_t kOffsets = 7;
inline constexpr std::int32_t kMaxOffset = 127;

// Offsets of one tensor. Gains of averages are in units of 1/64, that of low ones of 1/16; shifts
// away from zero in units of 2^-7 step; the gain of places beside in units of 1/128.
struct Offsets {
  // NOLINTNEXTLINE(cppcoreguidelines-use-enum-class): they are indices
  enum Name : std::uint8_t {
    kZeroGain,
    kGain,
    kShiftOne,
    kShiftMore,
    kZeroGainMiddle,
    kZeroGainLow,
    kNearGain
  };

  std::array<std::int8_t, kOffsets> values{};

  [[nodiscard]] std::int32_t operator[](Name name) const noexcept { return values[name]; }
  [[nodiscard]] bool operator==(const Offsets&) const noexcept = default;
};

// Zeros have a gain for each class of the size of their signed average: high, middle, low.
inline constexpr std::size_t kZeroClasses = 3;
inline constexpr std::array<Offsets::Name, kZeroClasses> kZeroGains{
    Offsets::kZeroGain, Offsets::kZeroGainMiddle, Offsets::kZeroGainLow};
// From these sizes on an average is middle or high; in units of 1/32 step.
inline constexpr std::uint32_t kMiddleFrom = 6;
inline constexpr std::uint32_t kHighFrom = 13;
[[nodiscard]] constexpr std::size_t zero_class(std::uint32_t size) noexcept {
  return (size < kHighFrom ? 1U : 0U) + (size < kMiddleFrom ? 1U : 0U);
}

// The places beside a zero, left and right within its block, count as one step together at most; in
// half steps.
[[nodiscard]] constexpr std::int32_t clipped_near(std::int32_t sum) noexcept {
  constexpr std::int32_t kMost = 2;
  return std::clamp(sum, -kMost, kMost);
}

// The places of a block, with a zero before and behind it.
class PlacesOfBlock {
 public:
  void set(std::size_t i, std::int32_t place) noexcept { places_[i + 1] = place; }
  [[nodiscard]] std::int32_t near(std::size_t i) const noexcept {
    return clipped_near(places_[i] + places_[i + 2]);
  }

 private:
  std::array<std::int32_t, kBlockLevels + 2> places_{};
};

// Which zeros of a block of `length` lie beside a level that is none.
[[nodiscard]] constexpr std::uint64_t zeros_near(std::uint64_t nonzero,
                                                 std::size_t length) noexcept {
  const std::uint64_t all = ~std::uint64_t{0} >> (kBlockLevels - length);
  return (nonzero << 1 | nonzero >> 1) & ~nonzero & all;
}

// What the offsets add to places, by signed code; units of 2^-8 step.
class OffsetTable {
 public:
  explicit OffsetTable(const Offsets& offsets) noexcept;

  // The value of a place in units of 2^-8 step, exactly.
  [[nodiscard]] std::int64_t fixed_value(std::int32_t place,
                                         std::int8_t signed_code) const noexcept {
    const auto code = static_cast<std::uint8_t>(signed_code);
    if (place == 0) return zero_[code];
    const std::int32_t shift = place >= -2 && place <= 2 ? shift_one_ : shift_more_;
    return std::int64_t{place} * 128 + (place < 0 ? -shift : shift) + other_[code];
  }
  [[nodiscard]] std::int32_t zero(std::int8_t signed_code) const noexcept {
    return zero_[static_cast<std::uint8_t>(signed_code)];
  }
  [[nodiscard]] std::int32_t other(std::int8_t signed_code) const noexcept {
    return other_[static_cast<std::uint8_t>(signed_code)];
  }
  // What the places beside a zero add to it, by their clipped sum.
  [[nodiscard]] std::int32_t near(std::int32_t sum) const noexcept { return near_gain_ * sum; }
  [[nodiscard]] bool looks_near() const noexcept { return near_gain_ != 0; }
  [[nodiscard]] std::int32_t shift_one() const noexcept { return shift_one_; }
  [[nodiscard]] std::int32_t shift_more() const noexcept { return shift_more_; }

 private:
  std::array<std::int16_t, 256> zero_{};
  std::array<std::int16_t, 256> other_{};
  std::int32_t shift_one_;
  std::int32_t shift_more_;
  std::int32_t near_gain_;
};

// Values from levels (spec 8), for one tensor.
class Reconstruction {
 public:
  Reconstruction(const Offsets& offsets, float step) noexcept;

  // values[i] from the levels of a block. `path`, before the block, moves behind it.
  void run(const BlockList& levels, std::span<const std::int8_t> signed_history, TrellisPath& path,
           std::span<float> values) const noexcept;

 private:
  OffsetTable table_;
  float unit_;
  std::array<float, 256> zeros_{};  // values of zeros, by signed code
};

// Move the averages of a block to its levels (spec 7.4); as above.
void move_history(HistoryView history, const BlockList& levels, TrellisPath& path) noexcept;

// Sum of squared differences, of at most one block.
[[nodiscard]] double squared_error(std::span<const float> one,
                                   std::span<const float> other) noexcept;

}  // namespace fl_deepcabac
