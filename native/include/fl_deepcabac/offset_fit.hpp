// SPDX-License-Identifier: Apache-2.0
// The encoder's choice of offsets, by least squares, once levels are chosen (spec 8).
//
// No decoder depends on it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "fl_deepcabac/level_list.hpp"
#include "fl_deepcabac/reconstruction.hpp"
#include "fl_deepcabac/trellis.hpp"

namespace fl_deepcabac {

// What a least-squares fit of offsets takes from the levels. Of zeros there are four unknowns:
// three gains of averages, of which no zero has two, and that of the places beside; of other places
// there are three: two shifts, which no place has both of, and the gain. Values, averages and rests
// are in steps, places beside in half steps, clipped.
struct OffsetSums {
  std::array<double, kZeroClasses> zero_square{};   // of average^2, by class
  std::array<double, kZeroClasses> zero_product{};  // of value * average
  std::array<double, kZeroClasses> near_average{};  // of near * average
  double near_square = 0;                           // of near^2
  double near_product = 0;                          // of near * value
  double square = 0;                                // likewise of places other than zero
  double product = 0;                               // of rest * average, rest = value - place
  std::array<double, 2> count{};                    // of places of each shift
  std::array<double, 2> rest{};                     // of rest, outwards
  std::array<double, 2> outward_average{};          // of average, outwards

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
  // A zero that lies beside a level that is none.
  void add_near(std::int32_t near, float value, float average, float weight) noexcept;
  // A place other than zero; value and average in steps.
  void add_place(std::int32_t place, float value, float average, float weight) noexcept;
};

// The offsets of least squared error + `price` * bits, in squared steps: those the
// tensor had, those of the tensor before, or the best ones spelt out.
[[nodiscard]] Offsets choose_offsets(const OffsetSums& sums, const Offsets& own,
                                     const Offsets& previous, float price) noexcept;

}  // namespace fl_deepcabac
