// SPDX-License-Identifier: Apache-2.0
#include "fl_deepcabac/reconstruction.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <vector>

#include "check.hpp"
#include "fl_deepcabac/level_syntax.hpp"
#include "fl_deepcabac/quantizer.hpp"
#include "fl_deepcabac/step.hpp"
#include "level_lists.hpp"
#include "random.hpp"

namespace fl_deepcabac::testing {
namespace {

using Levels = std::vector<std::int32_t>;
using Codes = std::vector<std::int8_t>;
using Values = std::vector<float>;

Values values_of(const Levels& levels, const Codes& codes, float step, bool is_dependent,
                 const Offsets& offsets) {
  Values values(levels.size());
  const Reconstruction reconstruction(offsets, step);
  TrellisPath path(is_dependent);
  list_of(levels).for_each_block([&](const BlockList& block, std::size_t begin) {
    const std::size_t length = std::min(kBlockLevels, levels.size() - begin);
    reconstruction.run(block, std::span(codes).subspan(begin, length), path,
                       std::span(values).subspan(begin, length));
  });
  return values;
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
  TrellisPath path(true);
  for (std::size_t i = 0; i < levels.size(); ++i) {
    check(values[i] == 0.25F * static_cast<float>(place_of(levels[i], path.quantizer())),
          "half steps by the trellis");
    path.advance(levels[i]);
  }
}

// Spec 8 by hand, in units of 2^-8 of a step of 1.
void test_offsets_by_hand() {
  const Offsets offsets{{64, -32, 10, -3}};
  const Codes codes{40, -40, 40, -40, 40, 0, 7, -7};  // code 40 is 48 / 32 steps, code 7 is 7 / 32
  const Levels levels{0, 0, 1, -1, 2, -2, 0, 3};
  const Values values = values_of(levels, codes, 1.0F, false, offsets);
  const Values expected{64 * 48 / 8,              // a gain of 1 on an average of 1.5
                        -64 * 48 / 8,             //
                        256 + 20 - 32 * 48 / 8,   // a shift of 10 / 128 away from zero
                        -256 - 20 + 32 * 48 / 8,  //
                        512 - 6 - 32 * 48 / 8,    // a shift of -3 / 128
                        -512 + 6,                 // no average
                        64 * 7 / 8,               //
                        768 - 6 + 32 * 7 / 8};
  for (std::size_t i = 0; i < levels.size(); ++i)
    check(values[i] == expected[i] / 256, "the value of spec 8");
}

// Half steps: places 1 and 2 have the first shift, 3 and more the other; gains truncate towards
// zero.
void test_table_by_hand() {
  const OffsetTable table(Offsets{{3, -3, 5, 7}});
  check_equal(table.shift_one(), 10);
  check_equal(table.shift_more(), 14);
  check_equal(table.zero(9), 3);  // 27 / 8
  check_equal(table.zero(-9), -3);
  check_equal(table.other(9), -3);
  check_equal(table.other(-9), 3);
  check_equal(table.zero(0), 0);
  const std::pair<std::int32_t, std::int64_t> cases[] = {{0, 3},
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

void test_extreme_offsets_stay_in_range() {
  for (const int sign : {-1, 1}) {
    const auto most = static_cast<std::int8_t>(sign * kMaxOffset);
    const OffsetTable table(Offsets{{most, most, most, most}});
    check_equal(table.zero(127), sign * 127 * 1984 / 8);
    check_equal(table.other(-127), -sign * 127 * 1984 / 8);
    const Values values = values_of({kMaxLevel, -kMaxLevel, 0}, {127, -127, -127}, 0x1p100F, true,
                                    Offsets{{most, most, most, most}});
    for (const float value : values)
      check(std::isfinite(value), "a finite value");
  }
}

// Values whose places, gains and shifts are known, and the levels they are reconstructed from.
struct Sample {
  Levels levels;
  Codes codes;
  Values values;
};

Sample make_sample(Random& random, const Offsets& offsets, bool is_dependent, float noise,
                   int n_levels = 4000) {
  Sample sample;
  for (int i = 0; i < n_levels; ++i) {
    sample.levels.push_back(random.chance(0.6F) ? 0 : random.between(-4, 4));
    sample.codes.push_back(static_cast<std::int8_t>(random.between(-40, 40)));
  }
  sample.values = values_of(sample.levels, sample.codes, 0.5F, is_dependent, offsets);
  for (float& value : sample.values)
    value += 0.5F * noise * (random.unit() - 0.5F);
  return sample;
}

OffsetSums sums_of(const Sample& sample, bool is_dependent, const Values& importance = {}) {
  OffsetSums sums;
  sums.add(sample.values, importance, list_of(sample.levels), sample.codes, 0.5F, is_dependent);
  return sums;
}

double squared_error(const Sample& sample, bool is_dependent, const Offsets& offsets) {
  const Values found = values_of(sample.levels, sample.codes, 0.5F, is_dependent, offsets);
  double error = 0.0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    const double difference = double{sample.values[i]} - double{found[i]};
    error += difference * difference;
  }
  return error;
}

void test_fit_finds_the_offsets_of_the_values() {
  Random random(147);
  for (const bool is_dependent : {false, true}) {
    for (const Offsets& truth :
         {Offsets{{20, 10, -12, 5}}, Offsets{{-30, -7, 9, -20}}, Offsets{{0, 0, 15, 0}}}) {
      const Sample sample = make_sample(random, truth, is_dependent, 0.05F);
      const Offsets found = choose_offsets(sums_of(sample, is_dependent), {}, {}, 0.0F);
      for (std::size_t i = 0; i < kOffsets; ++i)
        check_near(found.values[i], truth.values[i], 1.0);
      check(squared_error(sample, is_dependent, found) <
                0.5 * squared_error(sample, is_dependent, {}),
            "far less error than without offsets");
    }
  }
}

// Whatever the values are, none of the offsets' neighbours is much better than the fit.
void test_fit_has_the_least_error() {
  Random random(148);
  for (int i = 0; i < 10; ++i) {
    const bool is_dependent = i % 2 == 1;
    const Sample sample = make_sample(random, {}, is_dependent, 3.0F);
    const Offsets found = choose_offsets(sums_of(sample, is_dependent), {}, {}, 0.0F);
    const double least = squared_error(sample, is_dependent, found);
    check(least <= squared_error(sample, is_dependent, {}) * 1.001, "no more error than without");
    for (std::size_t offset = 0; offset < kOffsets; ++offset) {
      for (const int change : {-4, 4}) {
        Offsets other = found;
        other.values[offset] = static_cast<std::int8_t>(other.values[offset] + change);
        check(least <= squared_error(sample, is_dependent, other) * 1.001, "the least error");
      }
    }
  }
}

void test_high_price_keeps_or_copies_offsets() {
  Random random(149);
  const Offsets truth{{20, 10, -12, 5}};
  const OffsetSums sums = sums_of(make_sample(random, truth, false, 0.1F), false);
  check(choose_offsets(sums, {}, {}, 1e9F) == Offsets{}, "offsets that cost nothing");
  check(choose_offsets(sums, truth, {}, 1.0F) == truth, "the tensor's own to be kept");
  check(choose_offsets(sums, {}, truth, 1.0F) == truth, "those of the tensor before");
  check(choose_offsets({}, truth, {}, 0.1F) == truth, "no values to change nothing");
}

void test_sums_of_parts_add_up() {
  Random random(150);
  const Sample sample = make_sample(random, {{1, 2, 3, 4}}, false, 1.0F);
  const OffsetSums whole = sums_of(sample, false);
  OffsetSums sum;
  const std::span<const std::int32_t> levels(sample.levels);
  for (std::size_t begin = 0; begin < levels.size(); begin += 500) {
    OffsetSums part;
    part.add(std::span(sample.values).subspan(begin, 500), {}, list_of(levels.subspan(begin, 500)),
             std::span(sample.codes).subspan(begin, 500), 0.5F, false);
    sum.add(part);
  }
  check_near(sum.zero_square, whole.zero_square, 1e-6);
  check_near(sum.zero_product, whole.zero_product, 1e-6);
  check_near(sum.square, whole.square, 1e-6);
  check_near(sum.product, whole.product, 1e-6);
  for (std::size_t i = 0; i < 2; ++i) {
    check_near(sum.count[i], whole.count[i], 1e-6);
    check_near(sum.rest[i], whole.rest[i], 1e-6);
    check_near(sum.outward_average[i], whole.outward_average[i], 1e-6);
  }
}

// Each sum from its definition, place by place; `add` works through blocks in lanes. Of 2^15 levels
// and more every fourth block counts four times.
void check_sums(const Sample& sample, bool is_dependent, const Values& importance) {
  OffsetSums expected;
  TrellisPath path(is_dependent);
  for (std::size_t i = 0; i < sample.levels.size(); ++i) {
    const double sampled = i / 64 % 4 == 0 ? 4.0 : 0.0;
    const double weight = (importance.empty() ? 1.0 : double{importance[i]}) *
                          (sample.levels.size() >= 32768 ? sampled : 1.0);
    const int code = sample.codes[i];
    const double size = history_value(static_cast<std::uint32_t>(std::abs(code))) / 32.0;
    const double average = code < 0 ? -size : size;
    const double value = double{sample.values[i]} / 0.5;
    const std::int32_t place = place_of(sample.levels[i], path.quantizer());
    path.advance(sample.levels[i]);
    if (place == 0) {
      expected.zero_square += weight * average * average;
      expected.zero_product += weight * value * average;
      continue;
    }
    const double rest = value - 0.5 * place;
    const double outward = place < 0 ? -weight : weight;
    const std::size_t shift = std::abs(place) <= 2 ? 0 : 1;
    expected.square += weight * average * average;
    expected.product += weight * rest * average;
    expected.count[shift] += weight;
    expected.rest[shift] += outward * rest;
    expected.outward_average[shift] += outward * average;
  }
  const OffsetSums found = sums_of(sample, is_dependent, importance);
  const auto check_close = [](double one, double other) {
    check_near(one, other, 1e-4 * std::fabs(other) + 1e-2);
  };
  check_close(found.zero_square, expected.zero_square);
  check_close(found.zero_product, expected.zero_product);
  check_close(found.square, expected.square);
  check_close(found.product, expected.product);
  for (std::size_t i = 0; i < 2; ++i) {
    check_close(found.count[i], expected.count[i]);
    check_close(found.rest[i], expected.rest[i]);
    check_close(found.outward_average[i], expected.outward_average[i]);
  }
}

void test_sums_are_those_of_their_definition() {
  Random random(152);
  for (const int n_levels : {4000, 32767, 32768, 40001}) {
    for (const bool is_dependent : {false, true}) {
      const Sample sample = make_sample(random, {{9, -8, 7, -6}}, is_dependent, 1.0F, n_levels);
      check_sums(sample, is_dependent, {});
      Values importance;
      for (std::size_t i = 0; i < sample.values.size(); ++i)
        importance.push_back(4.0F * random.unit());
      check_sums(sample, is_dependent, importance);
    }
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
    check_near(fl_deepcabac::squared_error(one, other), sum, 1e-12 * sum);
    check_equal(fl_deepcabac::squared_error(one, one), 0.0);
  }
  // At both ends of what steps may be, squares are no floats.
  for (const float size : {0x1p-100F, 0x1p100F}) {
    const double square = double{size} * double{size};
    check_equal(fl_deepcabac::squared_error(Values(7, size), Values(7, 0.0F)), 7 * square);
  }
}

// Values that count nothing have no say, and equal weights change nothing.
void test_importance_weighs_the_fit() {
  Random random(151);
  const Offsets truth{{20, 10, -12, 5}};
  Sample sample = make_sample(random, truth, false, 0.1F);
  const Offsets plain = choose_offsets(sums_of(sample, false), {}, {}, 0.0F);
  Values importance(sample.values.size(), 3.0F);
  check(choose_offsets(sums_of(sample, false, importance), {}, {}, 0.0F) == plain, "the same fit");
  for (std::size_t i = 0; i < sample.values.size(); i += 2) {
    sample.values[i] = -sample.values[i] + 1.0F;
    importance[i] = 0.0F;
  }
  const Offsets found = choose_offsets(sums_of(sample, false, importance), {}, {}, 0.0F);
  for (std::size_t i = 0; i < kOffsets; ++i)
    check_near(found.values[i], truth.values[i], 1.0);
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
      {"extreme_offsets_stay_in_range", test_extreme_offsets_stay_in_range},
      {"fit_finds_the_offsets_of_the_values", test_fit_finds_the_offsets_of_the_values},
      {"fit_has_the_least_error", test_fit_has_the_least_error},
      {"high_price_keeps_or_copies_offsets", test_high_price_keeps_or_copies_offsets},
      {"sums_of_parts_add_up", test_sums_of_parts_add_up},
      {"sums_are_those_of_their_definition", test_sums_are_those_of_their_definition},
      {"squared_error_is_the_sum_of_squares", test_squared_error_is_the_sum_of_squares},
      {"importance_weighs_the_fit", test_importance_weighs_the_fit},
  });
}
