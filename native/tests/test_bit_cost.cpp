// SPDX-License-Identifier: Apache-2.0
#include "fl_deepcabac/bit_cost.hpp"

#include <cmath>

#include "check.hpp"
#include "random.hpp"

namespace fl_deepcabac::testing {
namespace {

// Repeated squaring truncates, so it may fall one unit below the floor of the true logarithm.
void check_log2(std::uint64_t value) {
  const double exact = 256.0 * std::log2(static_cast<double>(value));
  const double found = log2_cost(value);
  check(found <= exact && found > exact - 2.0, "the logarithm within two units of 2^-8 below");
}

void test_log2_cost_is_close_to_log2() {
  for (std::uint32_t value = 1; value < 70000; ++value)
    check_log2(value);
  Random random(1);
  for (int i = 0; i < 20000; ++i)
    check_log2((random.next() >> random.below(64)) | 1U);
  check_log2(0xFFFFFFFF);
  check_log2(0xFFFFFFFFFFFFFFFF);
}

void test_log2_cost_is_exact_for_powers_of_two_and_monotonic() {
  for (std::uint32_t exponent = 0; exponent < 64; ++exponent) {
    check_equal(log2_cost(std::uint64_t{1} << exponent), exponent << kCostBits);
  }
  for (std::uint32_t value = 1; value < 70000; ++value) {
    check(log2_cost(value) <= log2_cost(value + 1), "log2_cost to be monotonic");
  }
  // Renormalisation by four bytes is worth 32 bits exactly.
  check_equal(log2_cost(0xABCDEF01) + (32U << kCostBits), log2_cost(0xABCDEF0100000000));
  check_equal(log2_cost(0x00ABCDEF) + (32U << kCostBits), log2_cost(0x00ABCDEF00000000));
}

void test_bin_cost_is_close_to_entropy() {
  for (std::uint32_t probability = kProbabilityFloor;
       probability <= kProbabilityOne - kProbabilityFloor; ++probability) {
    const double share = probability / 65536.0;
    // A cell is 16 wide: that, relative to the probability, on top of the units of 2^-8 bit.
    const double slack = 3.0 + 256.0 * 16.0 / probability;
    check_near(bin_cost(true, probability), -256.0 * std::log2(share), slack);
    check_equal(bin_cost(false, kProbabilityOne - probability), bin_cost(true, probability));
  }
}

void test_bin_cost_falls_with_probability_and_is_never_zero() {
  for (std::size_t cell = 1; cell < kBinCost.size(); ++cell) {
    check(kBinCost[cell] <= kBinCost[cell - 1], "the cost to fall with the probability");
  }
  check(kBinCost.back() >= 1, "the likeliest bin to cost something");
  check_equal(kBinCost.front(), 13 << kCostBits);
}

}  // namespace
}  // namespace fl_deepcabac::testing

int main() {
  using namespace fl_deepcabac::testing;
  return run_tests({
      {"log2_cost_is_close_to_log2", test_log2_cost_is_close_to_log2},
      {"log2_cost_is_exact_for_powers_of_two_and_monotonic",
       test_log2_cost_is_exact_for_powers_of_two_and_monotonic},
      {"bin_cost_is_close_to_entropy", test_bin_cost_is_close_to_entropy},
      {"bin_cost_falls_with_probability_and_is_never_zero",
       test_bin_cost_falls_with_probability_and_is_never_zero},
  });
}
