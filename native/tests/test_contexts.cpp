// SPDX-License-Identifier: Apache-2.0
#include "fl_deepcabac/contexts.hpp"

#include <set>

#include "check.hpp"
#include "fl_deepcabac/tensor_contexts.hpp"

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
  check_equal(count_models(TensorContexts{}), 1U + 2U + 2U + 24U + 1U + 1U + 1U + 1U + 24U);
  check_equal(count_models(FastContexts{}),
              2U * 2 * 8 + 6 * 3 + 6 * 2 + 2 * 24 * 16 + 9 * 3 + 11 * 24 + 24);
}

void add_level_models(FastContexts& contexts, std::set<const BitModel*>& models) {
  LevelFeatures level{};
  for (level.quantizer_index = 0; level.quantizer_index < kQuantizers; ++level.quantizer_index) {
    for (level.history_class = 0; level.history_class < kHistoryClasses; ++level.history_class) {
      for (level.spatial_class = 0; level.spatial_class < kSpatialClasses; ++level.spatial_class)
        models.insert(contexts.significant(level).model);
    }
    for (level.magnitude_class = 0; level.magnitude_class < kMagnitudeClasses;
         ++level.magnitude_class) {
      for (int k = 1; k <= kGreaterBins; ++k)
        models.insert(contexts.greater(level, k).model);
    }
    level.history_class = level.magnitude_class = 0;
  }
  for (level.sign_class = 0; level.sign_class < kSignClasses; ++level.sign_class) {
    for (level.left_signum = 0; level.left_signum < kSignumClasses; ++level.left_signum)
      models.insert(contexts.negative(level).model);
  }
}

// Each combination of classes has a model of its own, and all of them are visited.
void test_each_bin_and_class_has_a_model_of_its_own() {
  FastContexts contexts;
  std::set<const BitModel*> models;
  add_level_models(contexts, models);
  for (std::uint32_t activity = 0; activity < kActivityClasses; ++activity) {
    for (const bool left : {false, true}) {
      for (const bool up : {false, true}) {
        models.insert(contexts.block_coded({left, up, activity, left}).model);
      }
    }
  }
  for (int position = 0; position < kMaxPrefix; ++position) {
    models.insert(contexts.remainder_prefix(position).model);
  }
  for (std::uint32_t depth = 0; depth < kHalvings; ++depth) {
    for (std::uint32_t balance = 0; balance < kSignumClasses; ++balance)
      models.insert(contexts.left_half({depth, balance, balance == 1}).model);
    for (const bool is_active : {false, true})
      models.insert(contexts.right_half({depth, 1, is_active}).model);
  }
  check_equal(models.size(), count_models(contexts));
}

// Only the bin after "not zero" depends on the quantiser: beyond it a level is as large in both.
void test_quantisers_share_the_later_bins() {
  FastContexts contexts;
  LevelFeatures first{};
  LevelFeatures second{};
  second.quantizer_index = 1;
  check(contexts.significant(first).model != contexts.significant(second).model, "two models");
  check(contexts.greater(first, 1).model != contexts.greater(second, 1).model, "two models");
  check(contexts.negative(first).model == contexts.negative(second).model, "one model");
  for (int k = 2; k <= kGreaterBins; ++k)
    check(contexts.greater(first, k).model == contexts.greater(second, k).model, "one model");
}

// "fast" has one context a bin, so that there is none to leave out.
void test_rough_estimates_leave_nothing_out() {
  FastContexts contexts;
  LevelFeatures level{};
  level.history_class = 3;
  level.magnitude_class = 5;
  level.sign_class = 2;
  for (level.quantizer_index = 0; level.quantizer_index < kQuantizers; ++level.quantizer_index) {
    check(contexts.roughly_significant(level).model == contexts.significant(level).model,
          "one model");
    check(contexts.roughly_negative(level).model == contexts.negative(level).model, "one model");
    for (int k = 1; k <= kGreaterBins; ++k) {
      check(contexts.roughly_greater(level, k).model == contexts.greater(level, k).model,
            "one model");
    }
  }
}

void test_estimate_is_that_of_its_model() {
  FastContexts contexts;
  const PlainEstimate estimate = contexts.remainder_prefix(3);
  estimate.update(true);
  check_equal(estimate.probability(), 54607U);
  check_equal(contexts.remainder_prefix(3).probability(), 54607U);
  const SteadyEstimate steady = contexts.block_coded({});
  BitModel model = *steady.model;
  check_equal(steady.probability(), model.probability());
  steady.update(true);
  steady.update(false);
  steady.update(false);
  model.update_steadily(true);
  model.update_steadily(false);
  model.update_steadily(false);
  check_equal(steady.probability(), model.probability());
  check_equal(steady.model->count(), model.count());
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
      {"quantisers_share_the_later_bins", test_quantisers_share_the_later_bins},
      {"rough_estimates_leave_nothing_out", test_rough_estimates_leave_nothing_out},
      {"estimate_is_that_of_its_model", test_estimate_is_that_of_its_model},
  });
}
