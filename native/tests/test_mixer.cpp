// SPDX-License-Identifier: Apache-2.0
#include "fl_deepcabac/mixer.hpp"

#include <cmath>

#include "check.hpp"
#include "random.hpp"

namespace fl_deepcabac::testing {
namespace {

void test_stretch_is_odd_monotonic_and_close_to_the_logit() {
  for (std::size_t cell = 0; cell < kStretch.size(); ++cell) {
    check_equal(kStretch[kStretch.size() - 1 - cell], -kStretch[cell]);
    if (cell > 0) check(kStretch[cell] >= kStretch[cell - 1], "log odds to grow");
    const double share = (2.0 * static_cast<double>(cell) + 1.0) / 8192.0;
    const double exact =
        std::fmin(std::fmax(256.0 * std::log(share / (1.0 - share)), -2047.0), 2047.0);
    check_near(kStretch[cell], exact, 2.5);
  }
}

void test_squash_is_symmetric_monotonic_and_close_to_the_logistic_function() {
  for (std::int32_t x = -kMaxLogOdds; x <= kMaxLogOdds; ++x) {
    check_equal(squash(x) + squash(-x), kProbabilityOne);
    if (x > -kMaxLogOdds) check(squash(x) >= squash(x - 1), "probabilities to grow");
    const double exact = 65536.0 / (1.0 + std::exp(-x / 256.0));
    check_near(squash(x), std::fmin(std::fmax(exact, 8.0), 65528.0), 1.01);
    check(squash(x) >= kProbabilityFloor && squash(x) <= kProbabilityOne - kProbabilityFloor,
          "probabilities within the bounds of spec 6.2");
  }
  check_equal(squash(0), kProbabilityOne / 2);
  for (const std::int64_t far : {std::int64_t{2048}, std::int64_t{1} << 40}) {
    check_equal(squash(far), squash(kMaxLogOdds));
    check_equal(squash(-far), squash(-kMaxLogOdds));
  }
}

void test_squash_undoes_stretch() {
  for (std::size_t cell = 4; cell + 4 < kStretch.size(); ++cell) {
    const double share = (2.0 * static_cast<double>(cell) + 1.0) / 8192.0;
    const double slack = 65536.0 * share * (1.0 - share) * 3.5 / 256.0 + 2.0;
    check_near(squash(kStretch[cell]), 65536.0 * share, slack);
  }
}

void test_fresh_mixer_has_the_weights_and_rate_of_the_specification() {
  MixerWeights<5> five;
  MixerWeights<3> three;
  check_equal(five.weights[4], 16384);   // 5 * 2^16 / 20
  check_equal(three.weights[2], 27306);  // 5 * 2^16 / 12
  const std::pair<int, int> shifts[] = {{0, 14},    {63, 14},   {64, 15},   {255, 15},
                                        {256, 16},  {1023, 16}, {1024, 17}, {4095, 17},
                                        {4096, 18}, {65535, 18}};
  for (const auto& [count, shift] : shifts) {
    five.count = static_cast<std::uint32_t>(count);
    check_equal(five.shift(), shift);
  }
}

// One update by hand from spec 7.6: a fresh mixer over one model at 54607 / 65536 and two fresh
// ones.
void test_one_update_is_that_of_the_specification() {
  BitModel sure;
  sure.update(true);
  BitModel even;
  BitModel other;
  MixerWeights<3> mixer;
  const MixedEstimate<3> estimate(&mixer, {&sure, &even, &other});
  // Cells 3412 and 2048 of the stretch table; 27306 * (411 + 2 * 0) >> 16 = 171.
  const std::int32_t log_odds = kStretch[54607 >> 4];
  check_near(log_odds, 256.0 * std::log(5.0), 3.0);
  const std::int32_t mixed = (27306 * (log_odds + 2 * kStretch[2048])) >> 16;
  check_equal(estimate.probability(), squash(mixed));

  estimate.update(false);
  const std::int64_t error = -std::int64_t{squash(mixed)};
  check_equal(mixer.weights[0], 27306 + ((error * log_odds + 8192) >> 14));
  check_equal(mixer.weights[1], 27306 + ((error * kStretch[2048] + 8192) >> 14));
  check_equal(static_cast<int>(mixer.count), 1);
  check_equal(static_cast<int>(sure.count()), 2);
  check_equal(static_cast<int>(other.count()), 1);
}

// Always the bin that was held to be less likely, then bins that favour one sign of the log odds.
void test_weights_stay_bounded_under_adversarial_bins() {
  Random random(41);
  std::array<BitModel, 5> models{};
  MixerWeights<5> mixer;
  for (int i = 0; i < 200000; ++i) {
    if (i % 1000 == 0) {
      // Models as sure as a saved state may make them, and wrong.
      for (BitModel& model : models) {
        const std::uint32_t sure = random.chance(0.5F) ? kLeastEstimate : kMostEstimate;
        model = {sure, sure, 255};
      }
    }
    const MixedEstimate<5> estimate(&mixer,
                                    {&models[0], &models[1], &models[2], &models[3], &models[4]});
    check(estimate.probability() >= kProbabilityFloor &&
              estimate.probability() <= kProbabilityOne - kProbabilityFloor,
          "a probability within the bounds");
    const bool is_unlikely_one = estimate.probability() < kProbabilityOne / 2;
    estimate.update(i < 100000 ? is_unlikely_one : models[0].probability() < kProbabilityOne / 2);
    for (const std::int32_t weight : mixer.weights) {
      check(std::abs(weight) <= MixerWeights<5>::kMaxWeight, "a weight within the bounds");
    }
  }
  check_equal(mixer.count, 200000U);
}

// A weight at its bound that an update pushes further out: four inputs outvote the one that is
// right.
void test_weight_at_its_bound_stays_there() {
  constexpr std::int32_t kMax = MixerWeights<5>::kMaxWeight;
  for (const bool bin : {false, true}) {
    const std::uint32_t sure = bin ? kMostEstimate : kLeastEstimate;
    std::array<BitModel, 5> models{};
    models.fill({sure, sure, 255});
    MixerWeights<5> mixer;
    mixer.weights = {kMax, -kMax, -kMax, -kMax, -kMax};
    const MixedEstimate<5> estimate(&mixer,
                                    {&models[0], &models[1], &models[2], &models[3], &models[4]});
    check(bin ? estimate.probability() < 100 : estimate.probability() > 65436, "a wrong majority");
    estimate.update(bin);
    check_equal(mixer.weights[0], kMax);
    check(mixer.weights[1] > -kMax, "the others to give way");
  }
}

// One input knows the bins' two sources apart, the others see noise: the mixture must not do much
// worse than the first.
void test_mixer_learns_which_input_to_trust() {
  Random random(42);
  std::array<BitModel, 2> good{};
  std::array<BitModel, 8> noise{};
  std::array<BitModel, 8> more_noise{};
  MixerWeights<3> mixer;
  double mixed_bits = 0.0;
  double good_bits = 0.0;
  double noise_bits = 0.0;
  const auto bits = [](bool bin, std::uint32_t probability) {
    const double share = probability / 65536.0;
    return -std::log2(bin ? share : 1.0 - share);
  };
  for (int i = 0; i < 30000; ++i) {
    const std::size_t source = random.below(2);
    const bool bin = random.chance(source == 0 ? 0.05F : 0.8F);
    BitModel* one = &noise[random.below(8)];
    BitModel* other = &more_noise[random.below(8)];
    const MixedEstimate<3> estimate(&mixer, {&good[source], one, other});
    if (i >= 5000) {
      mixed_bits += bits(bin, estimate.probability());
      good_bits += bits(bin, good[source].probability());
      noise_bits += bits(bin, one->probability());
    }
    estimate.update(bin);
  }
  check(mixed_bits < 1.02 * good_bits, "the mixture as good as its best input");
  check(mixed_bits < 0.7 * noise_bits, "the mixture far better than the others");
}

}  // namespace
}  // namespace fl_deepcabac::testing

int main() {
  using namespace fl_deepcabac::testing;
  return run_tests({
      {"stretch_is_odd_monotonic_and_close_to_the_logit",
       test_stretch_is_odd_monotonic_and_close_to_the_logit},
      {"squash_is_symmetric_monotonic_and_close_to_the_logistic_function",
       test_squash_is_symmetric_monotonic_and_close_to_the_logistic_function},
      {"squash_undoes_stretch", test_squash_undoes_stretch},
      {"fresh_mixer_has_the_weights_and_rate_of_the_specification",
       test_fresh_mixer_has_the_weights_and_rate_of_the_specification},
      {"one_update_is_that_of_the_specification", test_one_update_is_that_of_the_specification},
      {"weights_stay_bounded_under_adversarial_bins",
       test_weights_stay_bounded_under_adversarial_bins},
      {"weight_at_its_bound_stays_there", test_weight_at_its_bound_stays_there},
      {"mixer_learns_which_input_to_trust", test_mixer_learns_which_input_to_trust},
  });
}
