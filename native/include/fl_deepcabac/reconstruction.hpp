// SPDX-License-Identifier: Apache-2.0
// From levels to values, and what a decoder may know better than the middle of a level (spec 8).
//
// A tensor has four offsets. Two move non-zero places outwards or inwards, to where the values in
// them lie on average; two are gains on the signed average of the history, for zeros and for
// others: a weight that moved one way in the last updates is likely to have moved the same way in
// this one, also where its level says nothing.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "fl_deepcabac/history.hpp"
#include "fl_deepcabac/level_list.hpp"
#include "fl_deepcabac/trellis.hpp"

namespace fl_deepcabac {

inline constexpr std::size_t kOffsets = 4;
inline constexpr std::int32_t kMaxOffset = 127;

// Offsets of one tensor. Gains are in units of 1/64; shifts away from zero in units of 2^-7 step.
struct Offsets {
  // NOLINTNEXTLINE(cppcoreguidelines-use-enum-class): they are indices
  enum Name : std::uint8_t { kZeroGain, kGain, kShiftOne, kShiftMore };

  std::array<std::int8_t, kOffsets> values{};

  [[nodiscard]] std::int32_t operator[](Name name) const noexcept { return values[name]; }
  [[nodiscard]] bool operator==(const Offsets&) const noexcept = default;
};

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
  [[nodiscard]] std::int32_t shift_one() const noexcept { return shift_one_; }
  [[nodiscard]] std::int32_t shift_more() const noexcept { return shift_more_; }

 private:
  std::array<std::int16_t, 256> zero_{};
  std::array<std::int16_t, 256> other_{};
  std::int32_t shift_one_;
  std::int32_t shift_more_;
};

// Encoder only: what a least-squares fit of offsets takes from the levels. Of zeros there is one
// unknown, the gain; of other places there are three: two shifts, which no place has both of, and
// the gain. Values, averages and rests are in steps.
struct OffsetSums {
  double zero_square = 0;                   // of average^2
  double zero_product = 0;                  // of value * average
  double square = 0;                        // likewise of places other than zero
  double product = 0;                       // of rest * average, rest = value - place
  std::array<double, 2> count{};            // of places of each shift
  std::array<double, 2> rest{};             // of rest, outwards
  std::array<double, 2> outward_average{};  // of average, outwards

  // A part's levels, whose path begins in state 0, or of a large part a sample that counts for all;
  // `importance` may be empty: all count 1.
  void add(std::span<const float> values, std::span<const float> importance, const LevelList& list,
           std::span<const std::int8_t> signed_history, float step, bool is_dependent) noexcept;
  void add(const OffsetSums& other) noexcept;
  struct Units {
    float per_step;
    float weight;  // of each level
  };
  void add_block(std::span<const float> values, std::span<const float> importance,
                 const BlockList& levels, std::span<const std::int8_t> signed_history,
                 const Units& units, TrellisPath& path) noexcept;
  // A place other than zero; value and average in steps.
  void add_place(std::int32_t place, float value, float average, float weight) noexcept;
};

// Encoder only: the offsets of least squared error + `price` * bits, in squared steps: those the
// tensor had, those of the tensor before, or the best ones spelt out.
[[nodiscard]] Offsets choose_offsets(const OffsetSums& sums, const Offsets& own,
                                     const Offsets& previous, float price) noexcept;

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
