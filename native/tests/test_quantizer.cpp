// SPDX-License-Identifier: Apache-2.0
#include "fl_deepcabac/quantizer.hpp"

#include <cmath>
#include <limits>
#include <vector>

#include "check.hpp"
#include "fl_deepcabac/level_syntax.hpp"
#include "random.hpp"

namespace fl_deepcabac::testing {
namespace {

std::int32_t quantized(float value, float step, float dead_zone) {
  std::int32_t level = 12345;
  const Result result = quantize_uniform({&value, 1}, step, dead_zone, {&level, 1});
  check(result.ok(), "a value that has a level");
  return level;
}

void test_nearest_level_is_at_most_half_a_step_away() {
  Random random(21);
  for (int i = 0; i < 20000; ++i) {
    const float step = 0.001F + random.unit();
    const float value = random.heavy_tailed() * 10.0F;
    const double level = quantized(value, step, 0.5F);
    const double distance = std::fabs(double{value} - level * double{step});
    check(distance <= 0.5 * double{step} * (1.0 + 1e-5), "half a step at most");
  }
}

void test_small_cases_by_hand() {
  check_equal(quantized(0.0F, 1.0F, 0.5F), 0);
  check_equal(quantized(0.5F, 1.0F, 0.5F), 1);
  check_equal(quantized(-0.5F, 1.0F, 0.5F), -1);
  check_equal(quantized(0.49999997F, 1.0F, 0.5F), 0);
  check_equal(quantized(-2.75F, 0.5F, 0.5F), -6);
  check_equal(quantized(1.59F, 1.0F, 0.6F), 1);
  check_equal(quantized(1.61F, 1.0F, 0.6F), 2);
  check_equal(quantized(-0.59F, 1.0F, 0.6F), 0);
  check_equal(quantized(0.998F, 1.0F, 0.999F), 0);
}

void test_wider_dead_zone_never_gives_larger_levels() {
  Random random(22);
  for (int i = 0; i < 5000; ++i) {
    const float value = random.heavy_tailed() * 5.0F;
    std::int32_t last = std::abs(quantized(value, 0.7F, 0.5F));
    for (const float dead_zone : {0.6F, 0.75F, 0.999F}) {
      const std::int32_t size = std::abs(quantized(value, 0.7F, dead_zone));
      check(size <= last, "magnitudes to fall as the dead zone grows");
      last = size;
    }
  }
}

// Where float32 holds integers only, the nearest level is the value itself.
void test_large_levels_are_exact() {
  for (const std::int32_t level :
       {(1 << 22) + 1, (1 << 23) - 1, (1 << 23) + 1, (1 << 24) - 1, kMaxLevel}) {
    check_equal(quantized(static_cast<float>(level), 1.0F, 0.5F), level);
    check_equal(quantized(static_cast<float>(-level) * 0.25F, 0.25F, 0.5F), -level);
  }
  check_equal(quantized(4194304.5F, 1.0F, 0.5F), 4194305);
  check_equal(quantized(4194304.5F, 1.0F, 0.6F), 4194304);
}

void test_what_has_no_level_is_reported_with_its_index() {
  using Limits = std::numeric_limits<float>;
  const std::pair<float, Status> cases[] = {
      {Limits::quiet_NaN(), Status::kNonFinite}, {Limits::infinity(), Status::kNonFinite},
      {-Limits::infinity(), Status::kNonFinite}, {8388609.0F, Status::kLevelRange},
      {-Limits::max(), Status::kLevelRange},
  };
  for (const auto& [value, status] : cases) {
    const std::vector<float> values{0.0F, 8388608.0F, value, Limits::quiet_NaN()};
    std::vector<std::int32_t> levels(values.size());
    const Result result = quantize_uniform(values, 0.5F, 0.5F, levels);
    check_equal(result.status, status);
    check_equal(result.position, 2);
    check_equal(levels[1], kMaxLevel);
  }
}

void test_no_values_are_ok() {
  check(quantize_uniform({}, 1.0F, 0.5F, {}).ok(), "no values to be ok");
}

}  // namespace
}  // namespace fl_deepcabac::testing

int main() {
  using namespace fl_deepcabac::testing;
  return run_tests({
      {"nearest_level_is_at_most_half_a_step_away", test_nearest_level_is_at_most_half_a_step_away},
      {"small_cases_by_hand", test_small_cases_by_hand},
      {"wider_dead_zone_never_gives_larger_levels", test_wider_dead_zone_never_gives_larger_levels},
      {"large_levels_are_exact", test_large_levels_are_exact},
      {"what_has_no_level_is_reported_with_its_index",
       test_what_has_no_level_is_reported_with_its_index},
      {"no_values_are_ok", test_no_values_are_ok},
  });
}
