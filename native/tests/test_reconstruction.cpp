// SPDX-License-Identifier: Apache-2.0
#include "fl_deepcabac/reconstruction.hpp"

#include <bit>
#include <cmath>
#include <cstdlib>
#include <utility>

#include "check.hpp"
#include "fl_deepcabac/level_syntax.hpp"
#include "fl_deepcabac/quantizer.hpp"
#include "fl_deepcabac/step.hpp"
#include "offset_values.hpp"
#include "random.hpp"

namespace fl_deepcabac::testing {
namespace {

// Values in units of 2^-8 of a step of 1.
void check_values(const Values& found, const Levels& expected) {
  check_equal(found.size(), expected.size());
  for (std::size_t i = 0; i < found.size() && i < expected.size(); ++i)
    check_equal(found[i], static_cast<float>(expected[i]) / 256);
}

void test_zero_offsets_give_the_product_rounded_once() {
  Random random(144);
  Levels levels{kMaxLevel, -kMaxLevel, 0, kMaxLevel - 1, 1};
  Codes codes{127, -127, 127, 0, 1};
  for (int i = 0; i < 5000; ++i) {
    levels.push_back(random.between(-kMaxLevel, kMaxLevel) >> random.below(25));
    codes.push_back(static_cast<std::int8_t>(random.between(-127, 127)));
  }
  for (const std::uint32_t bits : {kMinStepBits, 0x3DCCCCCDU, 0x3C000000U, kMaxStepBits}) {
    const auto step = std::bit_cast<float>(bits);
    const Values values = values_of(levels, codes, step, false, {});
    for (std::size_t i = 0; i < levels.size(); ++i) {
      // 25 bits times 24 bits is exact as a double, so this rounds once too.
      check(values[i] == static_cast<float>(double{step} * levels[i]), "one rounding");
      check(std::isfinite(values[i]) && !std::signbit(values[i] == 0.0F ? values[i] : 0.0F),
            "a number, and no negative zero");
    }
  }
}

void test_zero_offsets_quantise_to_themselves() {
  Random random(145);
  for (int i = 0; i < 20000; ++i) {
    const std::int32_t level = random.between(-3000, 3000);
    const float step = 0.0001F + random.unit();
    const Values values = values_of({level}, {0}, step, false, {});
    std::int32_t quantised = 0;
    check(quantize_uniform(values, step, 0.5F, {&quantised, 1}).ok(), "a value that has a level");
    check_equal(quantised, level);
  }
}

void test_dependent_levels_lie_on_the_places_of_their_path() {
  Random random(146);
  Levels levels(3000);
  for (std::int32_t& level : levels)
    level = random.chance(0.5F) ? 0 : random.between(-20, 20);
  const Values values = values_of(levels, Codes(levels.size(), 9), 0.5F, true, {});
  const Levels places = places_of(levels, true);
  for (std::size_t i = 0; i < levels.size(); ++i)
    check(values[i] == 0.25F * static_cast<float>(places[i]), "half steps by the trellis");
}

// Spec 8 by hand, all but the gain of places beside.
void test_offsets_by_hand() {
  const Offsets offsets{{64, -32, 10, -3, 24, -16, 0}};
  // Code 40 is 48 / 32 steps; below 32 codes are in units of 1/32 step.
  const Codes codes{40, -40, 40, -40, 40, 0, 7, -7, 12, 13, -5, 6, 3};
  const Levels levels{0, 0, 1, -1, 2, -2, 0, 3, 0, 0, 0, 0, 0};
  check_values(values_of(levels, codes, 1.0F, false, offsets),
               {64 * 48 / 8,              // a gain of 1 on an average of 1.5
                -64 * 48 / 8,             //
                256 + 20 - 32 * 48 / 8,   // a shift of 10 / 128 away from zero
                -256 - 20 + 32 * 48 / 8,  //
                512 - 6 - 32 * 48 / 8,    // a shift of -3 / 128
                -512 + 6,                 // no average
                24 * 7 / 8,               // a middle average: a gain of 24 / 64
                768 - 6 + 32 * 7 / 8,     // classes are of zeros alone
                24 * 12 / 8,              // the largest middle average
                64 * 13 / 8,              // the least high one
                16 * 5 / 2,               // the largest low one, negative: a gain of -16 / 16
                24 * 6 / 8,               // the least middle one
                -16 * 3 / 2});
}

// Half steps: places 1 and 2 have the first shift, 3 and more the other; gains truncate towards
// zero, those of low averages once they are in units of 1/64.
void test_table_by_hand() {
  const OffsetTable table(Offsets{{3, -3, 5, 7, 11, 9, -2}});
  check_equal(table.shift_one(), 10);
  check_equal(table.shift_more(), 14);
  check_equal(table.zero(13), 4);  // 39 / 8
  check_equal(table.zero(-13), -4);
  check_equal(table.zero(9), 12);  // 99 / 8
  check_equal(table.zero(-9), -12);
  check_equal(table.zero(5), 22);  // 4 * 45 / 8
  check_equal(table.zero(-1), -4);
  check_equal(table.zero(0), 0);
  check_equal(table.other(9), -3);  // 27 / 8
  check_equal(table.other(-9), 3);
  check_equal(table.near(2), -4);
  check_equal(table.near(-1), 2);
  check(table.looks_near() && !OffsetTable(Offsets{{1, 1, 1, 1, 1, 1, 0}}).looks_near(),
        "a table that knows whether places beside count");
  const std::pair<std::int32_t, std::int64_t> cases[] = {{0, 12},
                                                         {1, 128 + 10 - 3},
                                                         {2, 256 + 10 - 3},
                                                         {3, 384 + 14 - 3},
                                                         {-1, -128 - 10 - 3},
                                                         {-2, -256 - 10 - 3},
                                                         {-3, -384 - 14 - 3}};
  for (const auto& [place, value] : cases)
    check_equal(table.fixed_value(place, 9), value);
  check_equal(table.fixed_value(1 << 25, 0), (std::int64_t{1} << 32) + 14);
}

void test_zero_classes_by_hand() {
  const std::pair<std::uint32_t, Offsets::Name> cases[] = {
      {0, Offsets::kZeroGainLow},     {5, Offsets::kZeroGainLow}, {6, Offsets::kZeroGainMiddle},
      {12, Offsets::kZeroGainMiddle}, {13, Offsets::kZeroGain},   {1984, Offsets::kZeroGain}};
  for (const auto& [size, name] : cases)
    check_equal(kZeroGains[zero_class(size)], name);
}

// A gain of 10 / 256 for each half step beside: of both sides together, clipped once added up.
void test_places_beside_zeros_by_hand() {
  const Offsets offsets{{0, 0, 0, 0, 0, 0, 10}};
  const Levels levels{0, 1, 0, -1, 0, 0, 3, 0, -3, 0, 7, 0, -6, 0, 0, 0};
  check_values(values_of(levels, Codes(levels.size(), 0), 1.0F, false, offsets),
               {20,        // 2 beside
                256, 0,    // 2 - 2
                -256,      //
                -20, 20,   // -2, and 6 clipped
                768, 0,    // 6 - 6
                -768, 20,  // -6 + 14: neither is clipped by itself
                1792, 20,  // 14 - 12
                -1536, -20, 0, 0});
  // The states are 0, 4, 6, 7, 21, 24 and 8, of which 7 and 21 are of quantiser 1.
  const Levels dependent{1, 1, 1, 1, 0, -1, 0};
  check_equal(places_of(dependent, true), Levels{2, 2, 2, 1, 0, -2, 0});
  check_values(values_of(dependent, Codes(dependent.size(), 0), 1.0F, true, offsets),
               {256, 256, 256, 128, -10, -256, -20});
}

// The share of the average is truncated before the other is added.
void test_averages_and_places_beside_add_up() {
  const Offsets offsets{{3, 0, 0, 0, -3, 1, -7}};
  const Codes codes{13, 9, -9, -5, 0, -13};
  check_values(values_of({0, -1, 0, 0, 1, 0}, codes, 1.0F, false, offsets),
               {4 + 14,   // 39 / 8
                -256,     //
                3 + 14,   // 27 / 8
                -2 - 14,  // -4 * 5 / 8
                256, -4 - 14});
}

// What lies beyond the block counts nothing, also where it holds a level.
void test_blocks_and_parts_end_what_lies_beside() {
  const Offsets offsets{{0, 0, 0, 0, 0, 0, 1}};
  for (const bool is_dependent : {false, true}) {
    for (const std::size_t at : {0U, 1U, 62U, 63U, 64U, 65U, 127U, 128U, 129U}) {
      Levels levels(130, 0);
      levels[at] = 2;
      Levels expected(130, 0);
      expected[at] = 512;
      if (at % 64 != 0) expected[at - 1] = 2;
      if (at % 64 != 63 && at != 129) expected[at + 1] = 2;
      check_values(values_of(levels, Codes(130, 0), 1.0F, is_dependent, offsets), expected);
    }
  }
}

void test_zeros_beside_levels_by_hand() {
  constexpr std::uint64_t kFirst = 1;
  constexpr std::uint64_t kLast = std::uint64_t{1} << 63;
  check_equal(zeros_near(0, 64), std::uint64_t{0});
  check_equal(zeros_near(kFirst, 64), kFirst << 1);
  check_equal(zeros_near(kLast, 64), kLast >> 1);
  check_equal(zeros_near(kFirst, 1), std::uint64_t{0});
  check_equal(zeros_near(0b100110, 64), std::uint64_t{0b1011001});
  check_equal(zeros_near(0b100110, 6), std::uint64_t{0b11001});
  check_equal(zeros_near(~std::uint64_t{0}, 64), std::uint64_t{0});
  check_equal(zeros_near(~std::uint64_t{4}, 64), std::uint64_t{4});
}

// Every value of spec 8, level by level; `values_of` passes whole blocks.
void check_by_definition(Random& random, const Offsets& offsets, bool is_dependent) {
  Levels levels(1 + random.below(300), 0);
  Codes codes(levels.size());
  const float density = random.chance(0.5F) ? 0.1F : 0.6F;
  for (std::size_t i = 0; i < levels.size(); ++i) {
    if (random.chance(density)) levels[i] = random.between(-4, 4);
    codes[i] = static_cast<std::int8_t>(random.chance(0.5F) ? random.between(-14, 14)
                                                            : random.between(-127, 127));
  }
  const Levels places = places_of(levels, is_dependent);
  Levels expected;
  for (std::size_t i = 0; i < levels.size(); ++i) {
    const std::int32_t average = average_of(codes[i]);
    const std::int32_t size = std::abs(average);
    const std::int32_t sign = places[i] < 0 ? -1 : 1;
    if (places[i] == 0) {
      const std::int32_t gain =
          size < 6 ? 4 * offsets[Offsets::kZeroGainLow]
                   : offsets[size < 13 ? Offsets::kZeroGainMiddle : Offsets::kZeroGain];
      expected.push_back(gain * average / 8 + offsets[Offsets::kNearGain] * near_of(places, i));
    } else {
      const std::int32_t shift =
          offsets[std::abs(places[i]) <= 2 ? Offsets::kShiftOne : Offsets::kShiftMore];
      expected.push_back(128 * places[i] + sign * 2 * shift +
                         offsets[Offsets::kGain] * average / 8);
    }
  }
  check_values(values_of(levels, codes, 1.0F, is_dependent, offsets), expected);
}

void test_values_are_those_of_the_definition() {
  Random random(154);
  for (int round = 0; round < 400; ++round) {
    Offsets offsets;
    for (std::int8_t& offset : offsets.values)
      offset = static_cast<std::int8_t>(random.between(-kMaxOffset, kMaxOffset));
    if (round % 4 == 0) offsets.values[Offsets::kNearGain] = 0;
    check_by_definition(random, offsets, round % 2 == 1);
  }
}

void test_extreme_offsets_stay_in_range() {
  for (const int sign : {-1, 1}) {
    Offsets offsets;
    offsets.values.fill(static_cast<std::int8_t>(sign * kMaxOffset));
    const OffsetTable table(offsets);
    check_equal(table.zero(127), sign * 127 * 1984 / 8);
    check_equal(table.other(-127), -sign * 127 * 1984 / 8);
    check_equal(table.zero(12), sign * 127 * 12 / 8);
    check_equal(table.zero(-5), -sign * (127 * 5 / 2));
    check_equal(table.near(-2), -sign * 254);
    const Values values = values_of({kMaxLevel, 0, kMaxLevel, -kMaxLevel, 0},
                                    {127, 127, 0, -127, -127}, 0x1p100F, true, offsets);
    for (const float value : values)
      check(std::isfinite(value), "a finite value");
    check_equal(values[1], static_cast<float>(sign * (31496 + 254)) * 0x1p92F);
    check_equal(values[4], static_cast<float>(-sign * (31496 + 254)) * 0x1p92F);
  }
}

// Up to a block, lanes and what is left over.
void test_squared_error_is_the_sum_of_squares() {
  Random random(153);
  for (std::size_t n_values = 0; n_values <= 64; ++n_values) {
    Values one;
    Values other;
    double sum = 0.0;
    for (std::size_t i = 0; i < n_values; ++i) {
      one.push_back(random.heavy_tailed());
      other.push_back(random.heavy_tailed());
      const double difference = double{one.back()} - double{other.back()};
      sum += difference * difference;
    }
    check_near(squared_error(one, other), sum, 1e-12 * sum);
    check_equal(squared_error(one, one), 0.0);
  }
  // At both ends of what steps may be, squares are no floats.
  for (const float size : {0x1p-100F, 0x1p100F}) {
    const double square = double{size} * double{size};
    check_equal(squared_error(Values(7, size), Values(7, 0.0F)), 7 * square);
  }
}

}  // namespace
}  // namespace fl_deepcabac::testing

int main() {
  using namespace fl_deepcabac::testing;
  return run_tests({
      {"zero_offsets_give_the_product_rounded_once",
       test_zero_offsets_give_the_product_rounded_once},
      {"zero_offsets_quantise_to_themselves", test_zero_offsets_quantise_to_themselves},
      {"dependent_levels_lie_on_the_places_of_their_path",
       test_dependent_levels_lie_on_the_places_of_their_path},
      {"offsets_by_hand", test_offsets_by_hand},
      {"table_by_hand", test_table_by_hand},
      {"zero_classes_by_hand", test_zero_classes_by_hand},
      {"places_beside_zeros_by_hand", test_places_beside_zeros_by_hand},
      {"averages_and_places_beside_add_up", test_averages_and_places_beside_add_up},
      {"blocks_and_parts_end_what_lies_beside", test_blocks_and_parts_end_what_lies_beside},
      {"zeros_beside_levels_by_hand", test_zeros_beside_levels_by_hand},
      {"values_are_those_of_the_definition", test_values_are_those_of_the_definition},
      {"extreme_offsets_stay_in_range", test_extreme_offsets_stay_in_range},
      {"squared_error_is_the_sum_of_squares", test_squared_error_is_the_sum_of_squares},
  });
}
