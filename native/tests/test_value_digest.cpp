// SPDX-License-Identifier: Apache-2.0
#include "fl_deepcabac/value_digest.hpp"

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "check.hpp"

namespace fl_deepcabac::testing {
namespace {

std::vector<float> some_values() {
  std::vector<float> values(1000);
  for (std::size_t i = 0; i < values.size(); i += 3)
    values[i] = static_cast<float>(i % 17) - 8.0F;
  return values;
}

void test_values_of_the_specification() {
  // 3f800000 * 9e3779b97f4a7c15 + 40000000 * 3 * 9e3779b97f4a7c15, upper half.
  check_equal(value_digest(std::array{1.0F, 2.0F}), 0xa28ad6d6U);
  check_equal(value_digest({}), 0U);
  check_equal(value_digest(std::array<float, 70>{}), 0U);
}

void test_every_changed_bit_changes_it() {
  std::vector<float> values = some_values();
  const std::uint32_t before = value_digest(values);
  for (float& value : values) {
    for (std::uint32_t bit = 0; bit < 32; ++bit) {
      const float kept = value;
      value = std::bit_cast<float>(std::bit_cast<std::uint32_t>(kept) ^ 1U << bit);
      check(value_digest(values) != before, "another digest with a bit flipped");
      value = kept;
    }
  }
}

void test_order_counts() {
  std::vector<float> values = some_values();
  const std::uint32_t before = value_digest(values);
  std::swap(values[3], values[300]);
  check(value_digest(values) != before, "another digest with two values swapped");
}

}  // namespace
}  // namespace fl_deepcabac::testing

int main() {
  using namespace fl_deepcabac::testing;
  return run_tests({
      {"values_of_the_specification", test_values_of_the_specification},
      {"every_changed_bit_changes_it", test_every_changed_bit_changes_it},
      {"order_counts", test_order_counts},
  });
}
