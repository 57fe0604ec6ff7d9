// SPDX-License-Identifier: Apache-2.0
#include "fl_deepcabac/bit_model.hpp"

#include <cmath>

#include "check.hpp"
#include "random.hpp"

namespace fl_deepcabac::testing {
namespace {

bool is_in_range(const BitModel& model) {
  return model.fast < (1U << kEstimateBits) && model.slow < (1U << kEstimateBits) &&
         model.probability() >= kProbabilityFloor &&
         model.probability() <= kProbabilityOne - kProbabilityFloor;
}

void test_fresh_model_is_even() {
  check_equal(BitModel{}.probability(), kProbabilityOne / 2);
}

// (1/2 + 2/3 * 1/2) after the first 1, by hand from spec 6.2; then 1/(2.5) of the way to 0.
void test_first_updates_are_those_of_the_specification() {
  BitModel model;
  model.update(true);
  check_equal(model.fast, 13980927U);
  check_equal(model.slow, 13980927U);
  check_equal(model.probability(), 54612U);
  model.update(false);
  check_equal(model.fast, 8388641U);
  check_equal(static_cast<int>(model.count), 2);
}

void test_rates_end_at_their_windows() {
  check_equal(kRates.fast[0], 43690U);
  check_equal(kRates.slow[0], 43690U);
  check_equal(kRates.fast[255], 65536U / 20);
  check_equal(kRates.slow[255], 65536U / 220);
}

// Counts go on beyond the last rate, so that chunks can be weighed by them.
void test_counts_beyond_the_last_rate_move_alike() {
  Random random(8);
  BitModel settled{12345, 67890, kSettled};
  BitModel older{12345, 67890, 1000000};
  for (int i = 0; i < 1000; ++i) {
    const bool bin = random.chance(0.3F);
    settled.update(bin);
    older.update(bin);
    check(settled.fast == older.fast && settled.slow == older.slow, "the same estimates");
    check_equal(older.count - settled.count, 1000000 - kSettled);
  }
}

void test_steady_update_moves_both_estimates_at_the_slow_rate() {
  Random random(9);
  BitModel steady;
  BitModel plain;
  for (int i = 0; i < 1000; ++i) {
    const bool bin = random.chance(0.1F);
    steady.update_steadily(bin);
    plain.update(bin);
    check_equal(steady.slow, plain.slow);
    check_equal(steady.fast, steady.slow);
    check_equal(steady.count, plain.count);
  }
}

void test_same_bins_move_probability_one_way_within_bounds() {
  for (const bool bin : {false, true}) {
    BitModel model;
    for (int i = 0; i < 10000; ++i) {
      const std::uint32_t before = model.probability();
      model.update(bin);
      const std::uint32_t after = model.probability();
      check(bin ? after >= before : after <= before, "the probability to move towards the bin");
      check(is_in_range(model), "estimates and probability within their range");
    }
    check_equal(model.probability(), bin ? kProbabilityOne - kProbabilityFloor : kProbabilityFloor);
    check_equal(model.count, 10000U);  // counts bins; rates end at 255
  }
}

void test_likely_bin_at_the_floor_costs_under_half_a_millibit() {
  const double likely =
      (kProbabilityOne - kProbabilityFloor) / static_cast<double>(kProbabilityOne);
  check(-std::log2(likely) < 0.0005, "the floor to cost less than 0.0005 bit");
}

// Any state that load_bytes() accepts.
void test_every_loadable_model_stays_in_range() {
  constexpr std::uint32_t kTop = (1U << kEstimateBits) - 1;
  for (int count = 0; count < 256; ++count) {
    for (const std::uint32_t fast : {0U, 1U, kEstimateHalf, kTop - 1, kTop}) {
      for (const std::uint32_t slow : {0U, 1U, kEstimateHalf, kTop - 1, kTop}) {
        for (const bool bin : {false, true}) {
          BitModel model{fast, slow, static_cast<std::uint32_t>(count)};
          model.update(bin);
          check(is_in_range(model), "a model at its bounds to stay within them");
        }
      }
    }
  }
}

void test_model_converges_to_the_share_of_ones() {
  for (const float share : {0.003F, 0.03F, 0.4F, 0.97F}) {
    Random random(7);
    BitModel model;
    double sum = 0.0;
    constexpr int kBins = 40000;
    for (int i = 0; i < 2 * kBins; ++i) {
      if (i >= kBins) sum += model.probability();
      model.update(random.chance(share));
    }
    check_near(sum / kBins / kProbabilityOne, share, 0.1 * share * (1 - share) + 0.002);
  }
}

}  // namespace
}  // namespace fl_deepcabac::testing

int main() {
  using namespace fl_deepcabac::testing;
  return run_tests({
      {"fresh_model_is_even", test_fresh_model_is_even},
      {"first_updates_are_those_of_the_specification",
       test_first_updates_are_those_of_the_specification},
      {"rates_end_at_their_windows", test_rates_end_at_their_windows},
      {"counts_beyond_the_last_rate_move_alike", test_counts_beyond_the_last_rate_move_alike},
      {"steady_update_moves_both_estimates_at_the_slow_rate",
       test_steady_update_moves_both_estimates_at_the_slow_rate},
      {"same_bins_move_probability_one_way_within_bounds",
       test_same_bins_move_probability_one_way_within_bounds},
      {"likely_bin_at_the_floor_costs_under_half_a_millibit",
       test_likely_bin_at_the_floor_costs_under_half_a_millibit},
      {"every_loadable_model_stays_in_range", test_every_loadable_model_stays_in_range},
      {"model_converges_to_the_share_of_ones", test_model_converges_to_the_share_of_ones},
  });
}
