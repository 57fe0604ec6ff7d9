// SPDX-License-Identifier: Apache-2.0
// The sums that the fit of offsets goes by, from their definition.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <span>

#include "check.hpp"
#include "fl_deepcabac/offset_fit.hpp"
#include "offset_samples.hpp"
#include "random.hpp"

namespace fl_deepcabac::testing {
namespace {

void check_sums(const OffsetSums& found, const OffsetSums& expected, double relative,
                double absolute) {
  const auto check_close = [&](double one, double other) {
    check_near(one, other, relative * std::fabs(other) + absolute);
  };
  for (std::size_t i = 0; i < kZeroClasses; ++i) {
    check_close(found.zero_square[i], expected.zero_square[i]);
    check_close(found.zero_product[i], expected.zero_product[i]);
    check_close(found.near_average[i], expected.near_average[i]);
  }
  check_close(found.near_square, expected.near_square);
  check_close(found.near_product, expected.near_product);
  check_close(found.square, expected.square);
  check_close(found.product, expected.product);
  for (std::size_t i = 0; i < 2; ++i) {
    check_close(found.count[i], expected.count[i]);
    check_close(found.rest[i], expected.rest[i]);
    check_close(found.outward_average[i], expected.outward_average[i]);
  }
}

// Parts of whole blocks, as what lies beside a zero does so within its block.
void test_sums_of_parts_add_up() {
  Random random(150);
  constexpr std::size_t kPart = 512;
  const Sample sample = make_sample(random, {{1, 2, 3, 4, 5, 6, 7}}, false, 1.0F, 8 * kPart - 100);
  OffsetSums sum;
  const std::span<const std::int32_t> levels(sample.levels);
  for (std::size_t begin = 0; begin < levels.size(); begin += kPart) {
    const std::size_t length = std::min(kPart, levels.size() - begin);
    OffsetSums part;
    part.add(std::span(sample.values).subspan(begin, length), {},
             list_of(levels.subspan(begin, length)), std::span(sample.codes).subspan(begin, length),
             0.5F, false);
    sum.add(part);
  }
  check_sums(sum, sums_of(sample, false), 0.0, 1e-6);
}

std::size_t stride_of(std::size_t n_levels) {
  std::size_t stride = 1;
  while (stride < 15 && n_levels >= 4096 * (stride + 1))
    stride += 2;
  return stride;
}

// Each sum from its definition, place by place; `add` works through blocks in lanes. Of 2^13 levels
// and more every third block counts three times, of more still every fifth, to every fifteenth.
OffsetSums expected_sums(const Sample& sample, bool is_dependent, const Values& importance) {
  OffsetSums sums;
  const Levels places = places_of(sample.levels, is_dependent);
  const std::size_t stride = stride_of(places.size());
  for (std::size_t i = 0; i < places.size(); ++i) {
    if (i / 64 % stride != 0) continue;
    const double weight =
        static_cast<double>(stride) * (importance.empty() ? 1.0 : double{importance[i]});
    const std::int32_t size = std::abs(average_of(sample.codes[i]));
    const double average = average_of(sample.codes[i]) / 32.0;
    const double value = double{sample.values[i]} / 0.5;
    if (places[i] == 0) {
      const std::size_t of_zeros = size < 6 ? 2 : (size < 13 ? 1 : 0);
      const double near = near_of(places, i);
      sums.zero_square[of_zeros] += weight * average * average;
      sums.zero_product[of_zeros] += weight * value * average;
      sums.near_average[of_zeros] += weight * near * average;
      sums.near_square += weight * near * near;
      sums.near_product += weight * near * value;
      continue;
    }
    const double rest = value - 0.5 * places[i];
    const double outward = places[i] < 0 ? -weight : weight;
    const std::size_t shift = std::abs(places[i]) <= 2 ? 0 : 1;
    sums.square += weight * average * average;
    sums.product += weight * rest * average;
    sums.count[shift] += weight;
    sums.rest[shift] += outward * rest;
    sums.outward_average[shift] += outward * average;
  }
  return sums;
}

void test_sums_are_those_of_their_definition() {
  Random random(152);
  for (const int n_levels : {1, 3, 64, 4000, 8191, 8192, 16383, 16384, 70000}) {
    for (const bool is_dependent : {false, true}) {
      const Sample sample =
          make_sample(random, {{9, -8, 7, -6, 30, -30, 20}}, is_dependent, 1.0F, n_levels);
      check_sums(sums_of(sample, is_dependent), expected_sums(sample, is_dependent, {}), 1e-4,
                 1e-3);
      Values importance;
      for (std::size_t i = 0; i < sample.values.size(); ++i)
        importance.push_back(4.0F * random.unit());
      check_sums(sums_of(sample, is_dependent, importance),
                 expected_sums(sample, is_dependent, importance), 1e-4, 1e-3);
    }
  }
}

}  // namespace
}  // namespace fl_deepcabac::testing

int main() {
  using namespace fl_deepcabac::testing;
  return run_tests({
      {"sums_of_parts_add_up", test_sums_of_parts_add_up},
      {"sums_are_those_of_their_definition", test_sums_are_those_of_their_definition},
  });
}
