// SPDX-License-Identifier: Apache-2.0
#include "fl_deepcabac/step.hpp"

#include <bit>
#include <cmath>
#include <limits>

#include "check.hpp"
#include "fl_deepcabac/level_syntax.hpp"

namespace fl_deepcabac::testing {
namespace {

bool is_valid(float step) {
  return is_valid_step(std::bit_cast<std::uint32_t>(step));
}

void test_steps_within_the_bounds_are_valid() {
  for (const float step : {0x1p-100F, 0x1.000002p-100F, 1e-20F, 0.004F, 1.0F, 1e20F, 0x1p100F}) {
    check(is_valid(step), "a step within 2^-100 and 2^100 to be valid");
  }
}

void test_other_steps_are_not() {
  using Limits = std::numeric_limits<float>;
  for (const float step : {0x1.fffffep-101F, 0x1.000002p100F, 0.0F, -0.0F, -1.0F, -0x1p-100F,
                           Limits::denorm_min(), Limits::min(), Limits::max(), Limits::infinity(),
                           -Limits::infinity(), Limits::quiet_NaN()}) {
    check(!is_valid(step), "a step outside to be invalid");
  }
}

void test_products_with_levels_are_finite_and_normal() {
  const auto largest = std::bit_cast<float>(kMaxStepBits) * static_cast<float>(kMaxLevel);
  check(std::isnormal(largest), "the largest value to be finite");
  check(std::isnormal(std::bit_cast<float>(kMinStepBits)), "the smallest value to be normal");
}

}  // namespace
}  // namespace fl_deepcabac::testing

int main() {
  using namespace fl_deepcabac::testing;
  return run_tests({
      {"steps_within_the_bounds_are_valid", test_steps_within_the_bounds_are_valid},
      {"other_steps_are_not", test_other_steps_are_not},
      {"products_with_levels_are_finite_and_normal",
       test_products_with_levels_are_finite_and_normal},
  });
}
