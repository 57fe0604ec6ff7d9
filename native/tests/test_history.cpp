// SPDX-License-Identifier: Apache-2.0
#include "fl_deepcabac/history.hpp"

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <vector>

#include "check.hpp"
#include "fl_deepcabac/reconstruction.hpp"
#include "fl_deepcabac/step.hpp"
#include "fl_deepcabac/trellis.hpp"
#include "level_lists.hpp"
#include "random.hpp"

namespace fl_deepcabac::testing {
namespace {

constexpr std::uint32_t kTwo = 128U << 23;   // float32 bits of 2
constexpr std::uint32_t kOne = 127U << 23;   // of 1
constexpr std::uint32_t kHalf = 126U << 23;  // of 1/2

// One weight's averages.
struct Averages {
  std::uint8_t magnitude = 0;
  std::int8_t signed_level = 0;

  void update(std::int32_t level) { update_history(magnitude, signed_level, 2 * level); }
  void update_place(std::int32_t place) { update_history(magnitude, signed_level, place); }
  void rescale(std::uint32_t old_step, std::uint32_t new_step) {
    rescale_history({{&magnitude, 1}, {&signed_level, 1}}, old_step, new_step);
  }
};

void test_value_of_a_code_has_that_code() {
  for (std::uint32_t code = 0; code <= kMaxMagnitudeCode; ++code) {
    check_equal(history_code(history_value(code), kMaxMagnitudeCode), code);
    check_equal(kHistoryValues[code], history_value(code));
    if (code > 0) {
      check(history_value(code) > history_value(code - 1), "values to grow with the code");
      check_equal(history_code(history_value(code) - 1, kMaxMagnitudeCode), code - 1);
    }
  }
}

void test_code_is_monotonic_close_and_bounded() {
  std::uint32_t last = 0;
  for (std::uint32_t value = 0; value < 600000; ++value) {
    const std::uint32_t code = history_code(value, kMaxMagnitudeCode);
    check(code >= last && code <= kMaxMagnitudeCode, "codes to grow, up to the largest");
    check(history_value(code) <= value, "a code to truncate");
    if (code < kMaxMagnitudeCode) {
      check(16 * (value - history_value(code)) <= value, "a sixteenth lost at most");
    }
    last = code;
  }
  check_equal(history_code(0xFFFFFFFF, kMaxMagnitudeCode), kMaxMagnitudeCode);
  check_equal(history_code(0xFFFFFFFF, kMaxSignedCode), kMaxSignedCode);
}

void test_first_update_is_half_the_level() {
  Averages averages;
  averages.update(-3);
  // 3 * 32 / 2 = 48 in units of 1/32, whose code is 16 + 48 / 2 = 40 (spec 7.4).
  check_equal(static_cast<int>(averages.magnitude), 40);
  check_equal(static_cast<int>(averages.signed_level), -40);
  averages.update(3);
  check_equal(static_cast<int>(averages.magnitude), 50);  // (48 + 96) / 2 = 72 -> 16 * 2 + 72 / 4
  check_equal(static_cast<int>(averages.signed_level), 24);  // (-48 + 96) / 2 = 24
}

void test_half_steps_move_the_averages_too() {
  Averages averages;
  averages.update_place(-1);
  check_equal(static_cast<int>(averages.magnitude), 8);  // 16 / 2
  check_equal(static_cast<int>(averages.signed_level), -8);
  averages.update_place(3);
  check_equal(static_cast<int>(averages.magnitude), 28);     // (8 + 48) / 2
  check_equal(static_cast<int>(averages.signed_level), 20);  // (-8 + 48) / 2
}

// One average half way to a place, worked out with its sign from spec 7.4; a place is worth 16
// / 32.
std::int64_t moved(std::int64_t code, std::int64_t place, std::uint32_t max_code) {
  const std::int64_t value = history_value(static_cast<std::uint32_t>(std::abs(code)));
  const std::int64_t sum = (code < 0 ? -value : value) + 16 * place;
  const auto size = static_cast<std::uint32_t>(std::abs(sum) / 2);
  return (sum < 0 ? -1 : 1) * std::int64_t{history_code(size, max_code)};
}

// Those within the tables and those beyond.
void test_every_code_moves_to_every_near_place_as_specified() {
  for (std::int32_t place = -20; place <= 20; ++place) {
    for (int code = 0; code < 256; ++code) {
      const int signed_code = std::min(code, 254) - 127;
      Averages averages{static_cast<std::uint8_t>(code), static_cast<std::int8_t>(signed_code)};
      averages.update_place(place);
      check_equal(std::int64_t{averages.magnitude}, moved(code, std::abs(place), 255));
      check_equal(std::int64_t{averages.signed_level}, moved(signed_code, place, 127));
    }
  }
}

// Of a block of any length, without looking at one after the other.
void test_decay_equals_moving_to_zero() {
  for (const std::size_t n_levels : {0U, 1U, 17U, 64U, 255U}) {
    for (int first = 0; first < 256; ++first) {
      std::vector<std::uint8_t> magnitude;
      std::vector<std::int8_t> signed_level;
      for (std::size_t i = 0; i < n_levels; ++i) {
        magnitude.push_back(static_cast<std::uint8_t>(static_cast<std::size_t>(first) + i));
        signed_level.push_back(
            static_cast<std::int8_t>(static_cast<int>(magnitude.back() % 255) - 127));
      }
      const auto before_magnitude = magnitude;
      const auto before_signed = signed_level;
      decay_history({magnitude, signed_level});
      for (std::size_t i = 0; i < n_levels; ++i) {
        check_equal(std::int64_t{magnitude[i]}, moved(before_magnitude[i], 0, 255));
        check_equal(std::int64_t{signed_level[i]}, moved(before_signed[i], 0, 127));
      }
    }
  }
}

// Runs of zeros, single levels, and lengths that are no multiple of a block: as one weight after
// the other.
void test_moving_a_part_equals_moving_its_weights() {
  Random random(33);
  for (const bool is_dependent : {false, true}) {
    for (const std::size_t n_levels : {0U, 1U, 63U, 64U, 65U, 200U, 1000U}) {
      std::vector<std::uint8_t> magnitude(n_levels);
      std::vector<std::int8_t> signed_level(n_levels);
      std::vector<std::int32_t> levels(n_levels, 0);
      for (std::size_t i = 0; i < n_levels; ++i) {
        magnitude[i] = static_cast<std::uint8_t>(random.below(256));
        signed_level[i] = static_cast<std::int8_t>(random.between(-127, 127));
        if (random.chance(0.3F)) levels[i] = random.between(-15, 15);
      }
      auto one_magnitude = magnitude;
      auto one_signed = signed_level;
      TrellisPath path(is_dependent);
      for (std::size_t i = 0; i < n_levels; ++i) {
        update_history(one_magnitude[i], one_signed[i], place_of(levels[i], path.quantizer()));
        path.advance(levels[i]);
      }
      TrellisPath block_path(is_dependent);
      list_of(levels).for_each_block([&](const BlockList& block, std::size_t begin) {
        const std::size_t length = std::min(kBlockLevels, n_levels - begin);
        move_history({std::span(magnitude).subspan(begin, length),
                      std::span(signed_level).subspan(begin, length)},
                     block, block_path);
      });
      check_equal(magnitude, one_magnitude);
      check_equal(signed_level, one_signed);
      check_equal(block_path.state(), path.state());
    }
  }
}

void test_extreme_places_saturate_without_overflow() {
  using Limits = std::numeric_limits<std::int32_t>;
  for (const std::int32_t place :
       {Limits::min(), -(1 << 26), -(1 << 21), 1 << 21, 1 << 25, Limits::max()}) {
    Averages averages;
    for (int i = 0; i < 5; ++i) {
      averages.update_place(place);
      check_equal(static_cast<int>(averages.magnitude), 255);
      check_equal(static_cast<int>(averages.signed_level), place < 0 ? -127 : 127);
    }
    averages.update_place(place < 0 ? Limits::max() : Limits::min());
    check_equal(static_cast<int>(averages.signed_level), place < 0 ? 127 : -127);
  }
}

void test_sign_only_changes_the_sign_of_the_signed_average() {
  Random random(31);
  Averages plus;
  Averages minus;
  for (int i = 0; i < 20000; ++i) {
    const std::int32_t bound = 1 << random.below(22);
    const std::int32_t level = random.between(-bound, bound);
    plus.update(level);
    minus.update(-level);
    check_equal(plus.magnitude, minus.magnitude);
    check_equal(static_cast<int>(plus.signed_level), -minus.signed_level);
  }
}

void test_averages_settle_near_a_constant_level_and_decay_to_zero() {
  for (const std::int32_t level : {1, 2, 7, 50, 1000}) {
    Averages averages;
    for (int i = 0; i < 40; ++i)
      averages.update(-level);
    const double settled = history_value(averages.magnitude) / 32.0;
    // Truncation to a sixteenth before each halving settles up to an eighth low.
    check(settled <= level && settled >= 0.85 * level - 0.1, "an average near the level");
    for (int i = 0; i < 40; ++i)
      averages.update(0);
    check_equal(static_cast<int>(averages.magnitude), 0);
    check_equal(static_cast<int>(averages.signed_level), 0);
  }
}

void test_rescaling_by_one_changes_nothing() {
  for (int code = 0; code < 256; ++code) {
    Averages averages{static_cast<std::uint8_t>(code), static_cast<std::int8_t>(code / 2)};
    for (const std::uint32_t step : {kMinStepBits, kOne, kOne + 12345, kMaxStepBits}) {
      averages.rescale(step, step);
      check_equal(static_cast<int>(averages.magnitude), code);
      check_equal(static_cast<int>(averages.signed_level), code / 2);
    }
  }
}

// A step twice as large makes the same weight half as many steps, and the other way round.
void test_rescaling_by_two_halves_or_doubles_values() {
  for (int code = 0; code < 256; ++code) {
    const std::uint32_t value = history_value(static_cast<std::uint32_t>(code));
    Averages halved{static_cast<std::uint8_t>(code), 0};
    halved.rescale(kHalf, kOne);
    check_equal(static_cast<std::uint32_t>(halved.magnitude), history_code((value + 1) / 2, 255));
    Averages doubled{static_cast<std::uint8_t>(code), 0};
    doubled.rescale(kTwo, kOne);
    check_equal(static_cast<std::uint32_t>(doubled.magnitude), history_code(2 * value, 255));
  }
  for (int code = -127; code <= 127; ++code) {
    Averages averages{0, static_cast<std::int8_t>(code)};
    averages.rescale(kTwo, kOne);
    const std::uint32_t size = history_code(
        2 * history_value(static_cast<std::uint32_t>(code < 0 ? -code : code)), kMaxSignedCode);
    check_equal(static_cast<int>(averages.signed_level),
                (code < 0 ? -1 : 1) * static_cast<int>(size));
  }
}

void test_rescaling_keeps_the_weight_for_any_ratio() {
  Random random(32);
  for (int i = 0; i < 20000; ++i) {
    const auto code = random.below(200);
    const std::uint32_t old_step = kOne + random.below(5U << 23);
    const std::uint32_t new_step = kOne + random.below(5U << 23);
    Averages averages{static_cast<std::uint8_t>(code), 0};
    averages.rescale(old_step, new_step);
    const double ratio = static_cast<double>(std::bit_cast<float>(old_step)) /
                         static_cast<double>(std::bit_cast<float>(new_step));
    const double wanted = ratio * history_value(code);
    if (wanted > 400000.0) continue;
    const double found = history_value(averages.magnitude);
    check(found <= wanted + 1.0 && found >= wanted * 15.0 / 16.0 - 2.0,
          "the same weight in new steps");
  }
}

void test_extreme_ratios_grow_to_the_bound_or_vanish() {
  for (int code = 1; code < 256; ++code) {
    Averages grown{static_cast<std::uint8_t>(code), static_cast<std::int8_t>(-(code / 2))};
    Averages shrunk = grown;
    grown.rescale(kMaxStepBits, kMinStepBits);
    // The ratio is bounded by 2^16.
    const std::uint32_t value = history_value(static_cast<std::uint32_t>(code));
    check_equal(static_cast<std::uint32_t>(grown.magnitude),
                history_code(std::min(value, 1U << 14) << 16, kMaxMagnitudeCode));
    check_equal(static_cast<int>(grown.signed_level), code == 1 ? 0 : -127);
    shrunk.rescale(kMinStepBits, kMaxStepBits);
    check_equal(static_cast<int>(shrunk.magnitude), 0);
    check_equal(static_cast<int>(shrunk.signed_level), 0);
  }
}

}  // namespace
}  // namespace fl_deepcabac::testing

int main() {
  using namespace fl_deepcabac::testing;
  return run_tests({
      {"value_of_a_code_has_that_code", test_value_of_a_code_has_that_code},
      {"code_is_monotonic_close_and_bounded", test_code_is_monotonic_close_and_bounded},
      {"first_update_is_half_the_level", test_first_update_is_half_the_level},
      {"half_steps_move_the_averages_too", test_half_steps_move_the_averages_too},
      {"every_code_moves_to_every_near_place_as_specified",
       test_every_code_moves_to_every_near_place_as_specified},
      {"decay_equals_moving_to_zero", test_decay_equals_moving_to_zero},
      {"moving_a_part_equals_moving_its_weights", test_moving_a_part_equals_moving_its_weights},
      {"extreme_places_saturate_without_overflow", test_extreme_places_saturate_without_overflow},
      {"sign_only_changes_the_sign_of_the_signed_average",
       test_sign_only_changes_the_sign_of_the_signed_average},
      {"averages_settle_near_a_constant_level_and_decay_to_zero",
       test_averages_settle_near_a_constant_level_and_decay_to_zero},
      {"rescaling_by_one_changes_nothing", test_rescaling_by_one_changes_nothing},
      {"rescaling_by_two_halves_or_doubles_values", test_rescaling_by_two_halves_or_doubles_values},
      {"rescaling_keeps_the_weight_for_any_ratio", test_rescaling_keeps_the_weight_for_any_ratio},
      {"extreme_ratios_grow_to_the_bound_or_vanish",
       test_extreme_ratios_grow_to_the_bound_or_vanish},
  });
}
