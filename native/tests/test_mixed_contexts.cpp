// SPDX-License-Identifier: Apache-2.0
#include "fl_deepcabac/mixed_contexts.hpp"

#include <memory>
#include <set>

#include "check.hpp"
#include "moved_models.hpp"
#include "random.hpp"

namespace fl_deepcabac::testing {
namespace {

// Numbers of the saved state (spec 10.2): what "fast" has, thirteen bins of four sets, and two sets
// for the sign.
void test_every_model_and_mixer_is_visited_once() {
  const auto contexts = std::make_unique<MixedContexts>();
  std::set<const void*> visited;
  std::size_t n_models = 0;
  std::size_t n_mixers = 0;
  std::size_t n_weights = 0;
  MixedContexts::visit_models(*contexts, [&](const BitModel& model) {
    visited.insert(&model);
    ++n_models;
  });
  MixedContexts::visit_mixers(*contexts, [&](const auto& mixer) {
    visited.insert(&mixer);
    ++n_mixers;
    n_weights += mixer.weights.size();
  });
  check_equal(n_models, 1145U + 13 * (24 * 17 + 12 * 12 + 16 * 16 + 24 * 24) + 24 * 17 + 3 * 3 * 9);
  check_equal(n_mixers, 13U * 24 + 24);
  check_equal(n_weights, 13U * 24 * 5 + 24 * 3);
  check_equal(visited.size(), n_models + n_mixers);
}

LevelFeatures random_features(Random& random) {
  return {.quantizer_index = random.below(kQuantizers),
          .history_class = random.below(kHistoryClasses),
          .spatial_class = random.below(kSpatialClasses),
          .magnitude_class = random.below(kMagnitudeClasses),
          .sign_class = random.below(kSignClasses),
          .left_signum = random.below(kSignumClasses),
          .signed_class = random.below(kSignedClasses),
          .left_class = random.below(kNearClasses),
          .up_class = random.below(kNearClasses),
          .column_class = random.below(kScaleClasses),
          .row_class = random.below(kScaleClasses),
          .around_class = random.below(kHistoryClasses),
          .around_sign_class = random.below(kSignClasses),
          .up_signum = random.below(kSignumClasses)};
}

void test_each_bin_moves_its_own_models_only() {
  Random random(51);
  for (int i = 0; i < 30; ++i) {
    const LevelFeatures level = random_features(random);
    const auto contexts = std::make_unique<MixedContexts>();
    contexts->significant(level).update(true);
    check_equal(count_moved_models(*contexts), 5U);
    contexts->negative(level).update(true);
    check_equal(count_moved_models(*contexts), 8U);
    for (int k = 1; k <= kGreaterBins; ++k) {
      contexts->greater(level, k).update(false);
      check_equal(count_moved_models(*contexts), 8U + 5U * static_cast<unsigned>(k));
    }
    contexts->block_coded({true, false, 3, false}).update(true);
    contexts->left_half({2, 1, true}).update(true);
    contexts->right_half({2, 1, true}).update(true);
    contexts->remainder_prefix(2).update(true);
    check_equal(count_moved_models(*contexts), 62U);
  }
}

// The contexts it shares with "fast" begin where those do, all others at even odds.
void test_first_context_of_a_bin_begins_as_in_fast() {
  const auto contexts = std::make_unique<MixedContexts>();
  FastContexts fast;
  std::vector<BitModel> starts;
  FastContexts::visit_models(fast, [&](const BitModel& model) { starts.push_back(model); });
  starts.resize(counts_of(*contexts).size());
  std::size_t n = 0;
  MixedContexts::visit_models(*contexts, [&](const BitModel& model) {
    check(model.fast() == starts[n].fast() && model.slow() == starts[n].slow(), "that start");
    check_equal(model.count(), starts[n].count());
    ++n;
  });
}

// One of the contexts that a bin mixes, and the one that "fast" has for it.
void test_rough_estimates_are_those_of_the_first_context() {
  Random random(53);
  for (int i = 0; i < 30; ++i) {
    const LevelFeatures level = random_features(random);
    const auto contexts = std::make_unique<MixedContexts>();
    FastContexts fast;
    const auto check_same = [&](const PlainEstimate& rough, const PlainEstimate& first) {
      check_equal(rough.probability(), first.probability());
      rough.update(true);
    };
    check_same(contexts->roughly_significant(level), fast.significant(level));
    check_equal(count_moved_models(*contexts), 1U);
    contexts->significant(level).update(true);
    check_equal(count_moved_models(*contexts), 5U);
    check_same(contexts->roughly_negative(level), fast.negative(level));
    contexts->negative(level).update(true);
    check_equal(count_moved_models(*contexts), 8U);
    for (int k = 1; k <= kGreaterBins; ++k) {
      check_same(contexts->roughly_greater(level, k), fast.greater(level, k));
      contexts->greater(level, k).update(true);
      check_equal(count_moved_models(*contexts), 8U + 5U * static_cast<unsigned>(k));
    }
  }
}

// Bins of one class repeat until the mixture is sure of them; another class is still undecided.
void test_bins_of_a_class_are_learnt() {
  Random random(52);
  const auto contexts = std::make_unique<MixedContexts>();
  const LevelFeatures level{};
  for (int i = 0; i < 300; ++i) {
    contexts->significant(level).update(true);
    contexts->negative(level).update(false);
  }
  check(contexts->significant(level).probability() > 65000, "significance to be learnt");
  check(contexts->negative(level).probability() < 500, "the sign to be learnt");
  const auto fresh = std::make_unique<MixedContexts>();
  check_equal(contexts->greater(level, 1).probability(), fresh->greater(level, 1).probability());
}

}  // namespace
}  // namespace fl_deepcabac::testing

int main() {
  using namespace fl_deepcabac::testing;
  return run_tests({
      {"every_model_and_mixer_is_visited_once", test_every_model_and_mixer_is_visited_once},
      {"each_bin_moves_its_own_models_only", test_each_bin_moves_its_own_models_only},
      {"first_context_of_a_bin_begins_as_in_fast", test_first_context_of_a_bin_begins_as_in_fast},
      {"rough_estimates_are_those_of_the_first_context",
       test_rough_estimates_are_those_of_the_first_context},
      {"bins_of_a_class_are_learnt", test_bins_of_a_class_are_learnt},
  });
}
