// SPDX-License-Identifier: Apache-2.0
#include "fl_deepcabac/bit_model.hpp"

#include <algorithm>
#include <cmath>

#include "check.hpp"
#include "random.hpp"

namespace fl_deepcabac::testing {
namespace {

bool is_in_range(const BitModel& model) {
  return std::min(model.fast(), model.slow()) >= kLeastEstimate &&
         std::max(model.fast(), model.slow()) <= kMostEstimate &&
         model.probability() >= kProbabilityFloor &&
         model.probability() < kProbabilityOne - kProbabilityFloor;
}

// One estimate moved as spec 6.2 says, in its own words.
std::uint32_t moved(std::uint64_t estimate, std::uint64_t count, bool bin, int shift) {
  constexpr std::uint64_t kTop = 0xFFFFFFFF;
  const std::uint64_t age = std::min<std::uint64_t>(count, 255);
  const std::uint64_t rate =
      std::max((std::uint64_t{1} << 17) / (2 * age + 3), std::uint64_t{65536} >> shift);
  std::uint64_t distance = bin ? kTop - estimate : estimate;
  distance -= ((distance - (1U << 19)) * rate) >> 16;
  return static_cast<std::uint32_t>(bin ? kTop - distance : distance);
}

void check_moves(const BitModel& before, bool bin) {
  BitModel plain = before;
  BitModel steady = before;
  plain.update(bin);
  steady.update_steadily(bin);
  check_equal(plain.fast(), moved(before.fast(), before.count(), bin, 4));
  check_equal(plain.slow(), moved(before.slow(), before.count(), bin, 8));
  check_equal(steady.fast(), moved(before.fast(), before.count(), bin, 8));
  check_equal(steady.slow(), moved(before.slow(), before.count(), bin, 8));
  check_equal(plain.count(), before.count() + 1);
  check_equal(steady.count(), before.count() + 1);
  check(is_in_range(plain) && is_in_range(steady), "estimates and probability within their range");
}

void test_fresh_model_is_even() {
  const BitModel model;
  check_equal(model.probability(), kProbabilityOne / 2);
  check_equal(model.fast(), std::uint32_t{1} << 31);
  check_equal(model.slow(), std::uint32_t{1} << 31);
  check_equal(model.count(), 0U);
}

// Of 2^31 - 1 to the bin, 2^19 are out of reach: the first 1 takes 43690 / 2^16 of the rest; then
// 26214 / 2^16 of the way to 0. Worked out from spec 6.2.
void test_first_updates_are_those_of_the_specification() {
  BitModel model;
  model.update(true);
  check_equal(model.fast(), 3578768047U);
  check_equal(model.slow(), 3578768047U);
  check_equal(model.probability(), 54607U);
  model.update(false);
  check_equal(model.fast(), 2147492384U);
  check_equal(model.slow(), 2147492384U);
  check_equal(model.count(), 2U);
  // Of age, by a sixteenth and by a 256th.
  BitModel old(kEstimateHalf, kEstimateHalf, 255);
  old.update(true);
  check_equal(old.fast(), 2281668607U);
  check_equal(old.slow(), 2155870207U);
}

// The word-wide update is the specification's for every age, and at both ends of the range.
void test_every_update_is_that_of_the_specification() {
  Random random(10);
  const auto any_estimate = [&] {
    return static_cast<std::uint32_t>(
        std::clamp<std::uint64_t>(random.next() >> 32, kLeastEstimate, kMostEstimate));
  };
  for (std::uint32_t count = 0; count < 600; ++count) {
    for (int i = 0; i < 40; ++i) {
      const BitModel model(any_estimate(), any_estimate(), count);
      check_moves(model, false);
      check_moves(model, true);
    }
  }
}

void test_rates_end_at_their_windows() {
  check_equal(kYoungRates[0], 43690U);
  check_equal(kYoungRates[1], 26214U);
  // The quick rate is reached between these, 1/16 = 4096; the steady one, 1/256, at the end.
  check_equal(kYoungRates[14], 4228U);
  check_equal(kYoungRates[15], 3971U);
  check_equal(kYoungRates[254], 256U);
  check_equal(kYoungRates.size(), std::size_t{kSettled});
}

// Counts go on beyond the last rate, so that chunks can be weighed by them.
void test_counts_beyond_the_last_rate_move_alike() {
  Random random(8);
  BitModel settled{1234567890, 3456789012, kSettled};
  BitModel older{1234567890, 3456789012, 1000000};
  for (int i = 0; i < 1000; ++i) {
    const bool bin = random.chance(0.3F);
    settled.update(bin);
    older.update(bin);
    check(settled.fast() == older.fast() && settled.slow() == older.slow(), "the same estimates");
    check_equal(older.count() - settled.count(), 1000000 - kSettled);
  }
}

void test_counts_settle_at_their_bound() {
  for (const std::uint32_t count : {0U, 254U, 255U, 256U, 0xFFFFFFFFU}) {
    BitModel model(1234567890, 3456789012, count);
    model.settle();
    check_equal(model.count(), std::min(count, 255U));
    check_equal(model.fast(), 1234567890U);
    check_equal(model.slow(), 3456789012U);
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
    check_equal(steady.slow(), plain.slow());
    check_equal(steady.fast(), steady.slow());
    check_equal(steady.count(), plain.count());
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
    // The largest estimate lies below its bound in units of 2^-16 too, so one less.
    check_equal(model.probability(),
                bin ? kProbabilityOne - kProbabilityFloor - 1 : kProbabilityFloor);
    check_equal(model.count(), 10000U);  // counts bins; rates end at 255
  }
}

void test_likely_bin_at_the_floor_costs_under_a_fifth_of_a_millibit() {
  check_equal(kProbabilityFloor, 8U);
  // Of either bin: the largest probability is one less than the floor away from 1.
  const double likely =
      (kProbabilityOne - kProbabilityFloor - 1) / static_cast<double>(kProbabilityOne);
  check(-std::log2(likely) < 0.0002, "the floor to cost less than 0.0002 bit");
}

// Any state that load_bytes() accepts.
void test_every_loadable_model_stays_in_range() {
  constexpr std::uint32_t kBounds[] = {kLeastEstimate, kLeastEstimate + 1, kEstimateHalf,
                                       kMostEstimate - 1, kMostEstimate};
  check_equal(kLeastEstimate, 1U << 19);
  check_equal(kMostEstimate, 0xFFFFFFFF - (1U << 19));
  for (std::uint32_t count = 0; count < 256; ++count) {
    for (const std::uint32_t fast : kBounds) {
      for (const std::uint32_t slow : kBounds) {
        check_moves({fast, slow, count}, false);
        check_moves({fast, slow, count}, true);
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
      {"every_update_is_that_of_the_specification", test_every_update_is_that_of_the_specification},
      {"counts_settle_at_their_bound", test_counts_settle_at_their_bound},
      {"rates_end_at_their_windows", test_rates_end_at_their_windows},
      {"counts_beyond_the_last_rate_move_alike", test_counts_beyond_the_last_rate_move_alike},
      {"steady_update_moves_both_estimates_at_the_slow_rate",
       test_steady_update_moves_both_estimates_at_the_slow_rate},
      {"same_bins_move_probability_one_way_within_bounds",
       test_same_bins_move_probability_one_way_within_bounds},
      {"likely_bin_at_the_floor_costs_under_a_fifth_of_a_millibit",
       test_likely_bin_at_the_floor_costs_under_a_fifth_of_a_millibit},
      {"every_loadable_model_stays_in_range", test_every_loadable_model_stays_in_range},
      {"model_converges_to_the_share_of_ones", test_model_converges_to_the_share_of_ones},
  });
}
