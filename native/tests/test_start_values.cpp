// SPDX-License-Identifier: Apache-2.0
// Where the contexts of levels begin: the straight lines of spec 7.3, through the logistic
// function.
#include "fl_deepcabac/start_values.hpp"

#include <algorithm>
#include <cmath>

#include "check.hpp"
#include "fl_deepcabac/contexts.hpp"

namespace fl_deepcabac::testing {
namespace {

// At log odds in units of 2^-8, as four bins have taught it.
void check_start(const BitModel& model, int log_odds) {
  const double share = 1.0 / (1.0 + std::exp(-log_odds / 256.0));
  check_near(model.fast() / 65536.0, 65536.0 * share, 1.01);
  check_equal(model.slow(), model.fast());
  check_equal(model.fast() % 65536, 0U);  // squash has 16 bits
  check_equal(model.count(), 4U);
}

void test_log_odds_become_estimates() {
  check_equal(start_at(0).fast(), std::uint32_t{1} << 31);
  check_equal(start_at(0).probability(), 32768U);
  check_start(start_at(256), 256);
  check_start(start_at(-600), -600);
  for (int log_odds = -kMaxLogOdds; log_odds <= kMaxLogOdds; ++log_odds) {
    const BitModel model = start_at(log_odds);
    check_start(model, log_odds);
    check(model.fast() >= kLeastEstimate && model.fast() <= kMostEstimate, "a valid estimate");
  }
}

void test_block_flags_and_halves_begin_on_their_lines() {
  FastContexts contexts;
  for (int activity = 0; activity < 8; ++activity) {
    const auto own = static_cast<std::uint32_t>(activity);
    check_start(*contexts.block_coded({false, false, own, false}).model, 110 * activity - 640);
    check_start(*contexts.block_coded({true, false, own, false}).model, 110 * activity - 140);
    check_start(*contexts.block_coded({false, true, own, false}).model, 110 * activity - 490);
    check_start(*contexts.block_coded({true, true, own, false}).model, 110 * activity + 10);
  }
  constexpr int kActive[] = {-80, -230, -380, -530, -600, -600};
  constexpr int kQuiet[] = {60, -90, -240, -390, -540, -600};
  for (std::uint32_t depth = 0; depth < 6; ++depth) {
    check_start(*contexts.left_half({depth, 0, true}).model, -90);
    check_start(*contexts.left_half({depth, 1, true}).model, 60);
    check_start(*contexts.left_half({depth, 2, false}).model, 210);
    check_start(*contexts.right_half({depth, 0, true}).model, kActive[depth]);
    check_start(*contexts.right_half({depth, 2, false}).model, kQuiet[depth]);
  }
}

void test_significance_and_signs_begin_on_their_lines() {
  FastContexts contexts;
  for (int history = 0; history < 24; ++history) {
    for (int spatial = 0; spatial < 16; ++spatial) {
      for (int quantizer = 0; quantizer < 2; ++quantizer) {
        const int line = 128 * spatial + 77 * history + 128 * quantizer - 1536;
        check_start(*contexts
                         .significant(static_cast<std::uint32_t>(quantizer),
                                      static_cast<std::uint32_t>(history),
                                      static_cast<std::uint32_t>(spatial))
                         .model,
                    std::min(line, 900));
      }
    }
  }
  for (int sign = 0; sign < 9; ++sign) {
    for (int left = 0; left < 3; ++left) {
      LevelFeatures level{};
      level.sign_class = static_cast<std::uint32_t>(sign);
      level.left_signum = static_cast<std::uint32_t>(left);
      check_start(*contexts.negative(level).model, 140 * (4 - sign) + 200 * (1 - left));
    }
  }
}

void test_magnitudes_begin_on_their_lines() {
  FastContexts contexts;
  for (int magnitude = 0; magnitude < 24; ++magnitude) {
    for (int quantizer = 0; quantizer < 2; ++quantizer) {
      LevelFeatures level{};
      level.quantizer_index = static_cast<std::uint32_t>(quantizer);
      level.magnitude_class = static_cast<std::uint32_t>(magnitude);
      const int first = std::clamp(230 * (magnitude - 8), -900, 900) + 128 * quantizer;
      check_start(*contexts.greater(level, 1).model, first);
      for (int k = 2; k <= 10; ++k) {
        const int least = std::min(128 * k - 768, 150);
        check_start(*contexts.greater(level, k).model,
                    std::clamp(154 * (magnitude - 9), least, 900));
      }
    }
  }
}

void test_remainders_begin_at_even_odds() {
  FastContexts contexts;
  for (int position = 0; position < kMaxPrefix; ++position) {
    const BitModel& model = *contexts.remainder_prefix(position).model;
    check_equal(model.fast(), std::uint32_t{1} << 31);
    check_equal(model.slow(), std::uint32_t{1} << 31);
    check_equal(model.count(), 0U);
  }
}

}  // namespace
}  // namespace fl_deepcabac::testing

int main() {
  using namespace fl_deepcabac::testing;
  return run_tests({
      {"log_odds_become_estimates", test_log_odds_become_estimates},
      {"block_flags_and_halves_begin_on_their_lines",
       test_block_flags_and_halves_begin_on_their_lines},
      {"significance_and_signs_begin_on_their_lines",
       test_significance_and_signs_begin_on_their_lines},
      {"magnitudes_begin_on_their_lines", test_magnitudes_begin_on_their_lines},
      {"remainders_begin_at_even_odds", test_remainders_begin_at_even_odds},
  });
}
