// SPDX-License-Identifier: Apache-2.0
#include "fl_deepcabac/contexts.hpp"

#include <set>

#include "check.hpp"

namespace fl_deepcabac::testing {
namespace {

void test_half_octave_is_that_of_the_specification() {
  constexpr std::uint32_t kClasses[] = {0, 1, 3, 4, 5, 5, 6, 6, 7, 7, 7, 7, 8, 8, 8, 8, 9};
  std::uint32_t value = 0;
  for (const std::uint32_t expected : kClasses)
    check_equal(half_octave(value++), expected);
  check_equal(half_octave(0xFFFFFFFF), 64U);
}

void test_half_octave_is_monotonic() {
  for (std::uint32_t value = 0; value < 100000; ++value) {
    check(half_octave(value) <= half_octave(value + 1), "classes to grow");
  }
}

void test_signum_class_tells_below_at_and_above_zero() {
  check_equal(signum_class(-7), 0U);
  check_equal(signum_class(0), 1U);
  check_equal(signum_class(1), 2U);
}

template <class Contexts>
std::size_t count_models(const Contexts& contexts) {
  std::set<const BitModel*> models;
  std::size_t n_visits = 0;
  Contexts::visit_models(contexts, [&](const BitModel& model) {
    models.insert(&model);
    ++n_visits;
  });
  check_equal(models.size(), n_visits);
  return n_visits;
}

// The saved state of spec 10.2 holds these numbers of contexts.
void test_every_model_is_visited_once() {
  check_equal(count_models(StepContexts{}), 2U + 24U + 1U + 1U);
  check_equal(count_models(FastContexts{}), 1U + 2 * 2 * 8 + 24 * 16 + 9 * 3 + 10 * 24 + 24);
}

// Each combination of classes has a model of its own, and all of them are visited.
void test_each_bin_and_class_has_a_model_of_its_own() {
  FastContexts contexts;
  std::set<const BitModel*> models{contexts.tensor_zero().model};
  LevelFeatures level{};
  for (level.history_class = 0; level.history_class < kHistoryClasses; ++level.history_class) {
    for (level.spatial_class = 0; level.spatial_class < kSpatialClasses; ++level.spatial_class) {
      models.insert(contexts.significant(level).model);
    }
  }
  for (level.sign_class = 0; level.sign_class < kSignClasses; ++level.sign_class) {
    for (level.left_signum = 0; level.left_signum < kSignumClasses; ++level.left_signum) {
      models.insert(contexts.negative(level).model);
    }
  }
  for (level.magnitude_class = 0; level.magnitude_class < kMagnitudeClasses;
       ++level.magnitude_class) {
    for (int k = 1; k <= kGreaterBins; ++k)
      models.insert(contexts.greater(level, k).model);
  }
  for (std::uint32_t activity = 0; activity < kActivityClasses; ++activity) {
    for (const bool left : {false, true}) {
      for (const bool up : {false, true}) {
        models.insert(contexts.block_coded({left, up, activity}).model);
      }
    }
  }
  for (int position = 0; position < kMaxPrefix; ++position) {
    models.insert(contexts.remainder_prefix(position).model);
  }
  check_equal(models.size(), count_models(contexts));
}

void test_estimate_is_that_of_its_model() {
  FastContexts contexts;
  const PlainEstimate estimate = contexts.tensor_zero();
  estimate.update(true);
  check_equal(estimate.probability(), 54612U);
  check_equal(contexts.tensor_zero().probability(), 54612U);
}

}  // namespace
}  // namespace fl_deepcabac::testing

int main() {
  using namespace fl_deepcabac::testing;
  return run_tests({
      {"half_octave_is_that_of_the_specification", test_half_octave_is_that_of_the_specification},
      {"half_octave_is_monotonic", test_half_octave_is_monotonic},
      {"signum_class_tells_below_at_and_above_zero",
       test_signum_class_tells_below_at_and_above_zero},
      {"every_model_is_visited_once", test_every_model_is_visited_once},
      {"each_bin_and_class_has_a_model_of_its_own", test_each_bin_and_class_has_a_model_of_its_own},
      {"estimate_is_that_of_its_model", test_estimate_is_that_of_its_model},
  });
}
