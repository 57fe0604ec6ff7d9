// SPDX-License-Identifier: Apache-2.0
#include "fl_deepcabac/offset_fit.hpp"

#include <limits>

#include "check.hpp"
#include "offset_samples.hpp"
#include "random.hpp"

namespace fl_deepcabac::testing {
namespace {

double error_of(const Sample& sample, bool is_dependent, const Offsets& offsets) {
  const Values values = values_of(sample.levels, sample.codes, 0.5F, is_dependent, offsets);
  double error = 0.0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double difference = double{sample.values[i]} - double{values[i]};
    error += difference * difference;
  }
  return error;
}

void test_fit_finds_the_offsets_of_the_values() {
  Random random(147);
  for (const bool is_dependent : {false, true}) {
    for (const Offsets& truth :
         {Offsets{{20, 10, -12, 5, -15, 40, 13}}, Offsets{{-30, -7, 9, -20, 25, -33, -21}},
          Offsets{{0, 0, 15, 0, 0, 0, 0}}, Offsets{{0, 0, 0, 0, 31, 0, 5}}}) {
      const Sample sample = make_sample(random, truth, is_dependent, 0.05F);
      const Offsets found = choose_offsets(sums_of(sample, is_dependent), {}, {}, 0.0F);
      for (std::size_t i = 0; i < kOffsets; ++i)
        check_near(found.values[i], truth.values[i], 1.0);
      check(error_of(sample, is_dependent, found) < 0.5 * error_of(sample, is_dependent, {}),
            "far less error than without offsets");
    }
  }
}

// Whatever the values are, none of the offsets' neighbours is better than the fit, but for what
// truncated gains make of it, which the fit knows nothing of.
void test_fit_has_the_least_error() {
  Random random(148);
  for (int i = 0; i < 10; ++i) {
    const bool is_dependent = i % 2 == 1;
    const Sample sample = make_sample(random, {}, is_dependent, 3.0F);
    const Offsets found = choose_offsets(sums_of(sample, is_dependent), {}, {}, 0.0F);
    const double least = error_of(sample, is_dependent, found);
    check(least <= error_of(sample, is_dependent, {}) * 1.0001, "no more error than without");
    for (std::size_t offset = 0; offset < kOffsets; ++offset) {
      for (const int change : {-8, 8}) {
        Offsets other = found;
        other.values[offset] = static_cast<std::int8_t>(other.values[offset] + change);
        check(least <= error_of(sample, is_dependent, other) * 1.0001, "the least error");
      }
    }
  }
}

void test_high_price_keeps_or_copies_offsets() {
  Random random(149);
  const Offsets truth{{20, 10, -12, 5, 30, -40, 14}};
  const OffsetSums sums = sums_of(make_sample(random, truth, false, 0.1F), false);
  check(choose_offsets(sums, {}, {}, 1e9F) == Offsets{}, "offsets that cost nothing");
  check(choose_offsets(sums, truth, {}, 1.0F) == truth, "the tensor's own to be kept");
  check(choose_offsets(sums, {}, truth, 1.0F) == truth, "those of the tensor before");
  check(choose_offsets({}, truth, {}, 0.1F) == truth, "no values to change nothing");
}

// Two shifts of 10 / 128: of 100 places, where it saves 100 * (10 / 128)^2 = 0.61 squared steps,
// and of one, where it saves 0.0061. To spell all out takes 13 bits, and 2 + 2 log2 10 = 8.6 more
// for each that differs by 10 from what it was.
void test_single_offsets_are_kept_at_a_price_by_hand() {
  OffsetSums sums;
  sums.count = {100.0, 1.0};
  sums.rest = {100.0 * 10 / 128, 1.0 * 10 / 128};
  const auto chosen = [&](const Offsets& own, float price) {
    return choose_offsets(sums, own, {}, price);
  };
  check(chosen({}, 0.0005F) == Offsets{{0, 0, 10, 10, 0, 0, 0}}, "both to pay");
  check(chosen({}, 0.001F) == Offsets{{0, 0, 10, 0, 0, 0, 0}}, "only the first to pay");
  check(chosen({}, 0.02F) == Offsets{{0, 0, 10, 0, 0, 0, 0}}, "the first still to pay");
  check(chosen({}, 0.05F) == Offsets{}, "none to pay");
  // What was there before stays where it does no harm, and only there.
  const Offsets own{{7, -8, 0, 12, 9, -9, 3}};
  check(chosen(own, 0.0F) == Offsets{{0, 0, 10, 10, 0, 0, 0}}, "what costs nothing to say");
  check(chosen(own, 0.01F) == Offsets{{7, -8, 10, 12, 9, -9, 3}}, "all others to be kept");
}

// Each value alone is the best one or the tensor's own, and a higher price changes no more of them.
void test_higher_price_keeps_more_offsets() {
  Random random(155);
  for (int round = 0; round < 20; ++round) {
    const bool is_dependent = round % 2 == 1;
    Offsets truth;
    Offsets own;
    for (std::size_t i = 0; i < kOffsets; ++i) {
      truth.values[i] = static_cast<std::int8_t>(random.between(-30, 30));
      own.values[i] = static_cast<std::int8_t>(truth.values[i] + random.between(-4, 4));
    }
    const Sample sample = make_sample(random, truth, is_dependent, 0.1F);
    const OffsetSums sums = sums_of(sample, is_dependent);
    const Offsets best = choose_offsets(sums, own, {}, 0.0F);
    std::size_t n_changed = kOffsets;
    for (const float price : {1e-5F, 1e-3F, 0.01F, 0.1F, 1.0F, 100.0F}) {
      const Offsets found = choose_offsets(sums, own, {}, price);
      std::size_t n_found = 0;
      for (std::size_t i = 0; i < kOffsets; ++i) {
        check(found.values[i] == best.values[i] || found.values[i] == own.values[i],
              "the best value or the own one");
        n_found += found.values[i] != own.values[i] ? 1U : 0U;
      }
      check(n_found <= n_changed, "no more changes at a higher price");
      n_changed = n_found;
    }
    check_equal(n_changed, 0U);
  }
}

// Zeros whose averages are half of what lies beside, and their values, too: one unknown is enough.
void test_what_averages_explain_is_not_put_down_to_places_beside() {
  OffsetSums sums;
  sums.zero_square[1] = 4.0;
  sums.zero_product[1] = 2.0;
  sums.near_average[1] = 8.0;
  sums.near_square = 16.0;
  sums.near_product = 4.0;
  check(choose_offsets(sums, {}, {}, 0.0F) == Offsets{{0, 0, 0, 0, 32, 0, 0}}, "one gain");
  // Nearly so: what is left is nothing to divide by.
  sums.near_square += 1e-11;
  sums.near_product += 1e-10;
  check(choose_offsets(sums, {}, {}, 0.0F) == Offsets{{0, 0, 0, 0, 32, 0, 0}}, "one gain");
  // Where they say different things, both have their share: of values 0.5, 0 beside 1 and 1, with
  // averages 1 and 0, the first gain is 0.5 and that of places beside none.
  sums.zero_square[1] = 1.0;
  sums.zero_product[1] = 0.5;
  sums.near_average[1] = 1.0;
  sums.near_square = 2.0;
  sums.near_product = 0.5;
  check(choose_offsets(sums, {}, {}, 0.0F) == Offsets{{0, 0, 0, 0, 32, 0, 0}}, "one gain");
  // Values 0.25, 0.125: 0.125 beside each, and as much by the average.
  sums.zero_product[1] = 0.25;
  sums.near_product = 0.375;
  const Offsets both{{0, 0, 0, 0, 8, 0, 32}};
  check(choose_offsets(sums, {}, {}, 0.0F) == both, "two gains");
  // Each by itself explains more, both of these together less.
  check(choose_offsets(sums, both, {{0, 0, 0, 0, 16, 0, 48}}, 0.0F) == both, "two gains");
}

void test_absurd_sums_keep_offsets_in_range() {
  OffsetSums sums;
  sums.zero_square.fill(1.0);
  sums.zero_product = {1e30, -1e30, 1e30};
  sums.near_square = 1.0;
  sums.near_product = -1e30;
  sums.count = {1.0, 1.0};
  sums.rest = {1e30, -1e30};
  check(choose_offsets(sums, {}, {}, 0.0F) == Offsets{{127, 0, 127, -127, -127, 127, -127}},
        "offsets as far out as there are");
  const Offsets own{{1, 2, 3, 4, 5, 6, 7}};
  for (const double absurd :
       {std::numeric_limits<double>::infinity(), std::numeric_limits<double>::quiet_NaN(), 1e300}) {
    sums.zero_product[0] = sums.near_product = sums.rest[0] = absurd;
    for (const std::int8_t offset : choose_offsets(sums, own, {}, 0.1F).values)
      check(offset >= -kMaxOffset && offset <= kMaxOffset, "an offset in range");
  }
}

// Values that count nothing have no say, and equal weights change nothing.
void test_importance_weighs_the_fit() {
  Random random(151);
  const Offsets truth{{20, 10, -12, 5, 30, -40, 14}};
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
      {"fit_finds_the_offsets_of_the_values", test_fit_finds_the_offsets_of_the_values},
      {"fit_has_the_least_error", test_fit_has_the_least_error},
      {"high_price_keeps_or_copies_offsets", test_high_price_keeps_or_copies_offsets},
      {"single_offsets_are_kept_at_a_price_by_hand",
       test_single_offsets_are_kept_at_a_price_by_hand},
      {"higher_price_keeps_more_offsets", test_higher_price_keeps_more_offsets},
      {"what_averages_explain_is_not_put_down_to_places_beside",
       test_what_averages_explain_is_not_put_down_to_places_beside},
      {"absurd_sums_keep_offsets_in_range", test_absurd_sums_keep_offsets_in_range},
      {"importance_weighs_the_fit", test_importance_weighs_the_fit},
  });
}
