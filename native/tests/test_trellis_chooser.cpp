// SPDX-License-Identifier: Apache-2.0
#include "fl_deepcabac/trellis_chooser.hpp"

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "check.hpp"
#include "fl_deepcabac/block_coder.hpp"
#include "fl_deepcabac/level_syntax.hpp"
#include "fl_deepcabac/mixed_contexts.hpp"
#include "level_lists.hpp"
#include "moved_models.hpp"
#include "random.hpp"
#include "walk_setting.hpp"

namespace fl_deepcabac::testing {
namespace {

using Levels = std::vector<std::int32_t>;
using Values = std::vector<float>;

float gaussian(Random& random) {
  float sum = -6.0F;
  for (int i = 0; i < 12; ++i)
    sum += random.unit();
  return sum;
}

Values gaussian_values(Random& random, std::size_t n_values, float deviation) {
  Values values(n_values);
  for (float& value : values)
    value = deviation * gaussian(random);
  return values;
}

struct Chosen {
  Levels levels;
  Values values;  // in steps
  double bits = 0.0;

  [[nodiscard]] double squared_error(const Values& wanted) const {
    double error = 0.0;
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      const double difference = double{wanted[i]} - double{values[i]};
      error += difference * difference;
    }
    return error;
  }
};

// Chooses and codes the levels of a part of no history, with a step of 1.
template <class Contexts>
Chosen choose(Contexts& contexts, TensorShape shape, const Values& values, float price,
              bool is_dependent) {
  History history(values.size());
  TensorWalk walk = walk_of(shape, history, {0, kFirstRowScale, is_dependent});
  const LevelTargets targets(values, {}, 1.0F, history.signed_level, {});
  Chosen chosen{Levels{}, Values(values.size(), 0.0F)};
  BinEncoder coder;
  EncodedBins<> bins{coder};
  LevelList list;
  if (is_dependent) {
    TrellisChooser<Contexts> chooser(contexts, walk, targets, price);
    code_blocks(bins, contexts, walk, chooser, list);
  } else {
    LevelChooser<Contexts> chooser(contexts, walk, targets, price);
    code_blocks(bins, contexts, walk, chooser, list);
  }
  chosen.levels = levels_of(list, values.size());
  chosen.bits = static_cast<double>(coder.position()) / 256.0;
  TrellisPath path(is_dependent);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::int32_t level = chosen.levels[i];
    chosen.values[i] = 0.5F * static_cast<float>(place_of(level, path.quantizer()));
    path.advance(level);
  }
  return chosen;
}

// With the same price, over data that contexts can learn nothing from but their scale.
template <class Contexts>
void check_costs_less(float deviation, float price) {
  Random random(161);
  const auto greedy = std::make_unique<Contexts>();
  const auto dependent = std::make_unique<Contexts>();
  double greedy_cost = 0.0;
  double dependent_cost = 0.0;
  for (int round = 0; round < 4; ++round) {
    const Values values = gaussian_values(random, 4000, deviation);
    const Chosen one = choose(*greedy, {40, 100}, values, price, false);
    const Chosen other = choose(*dependent, {40, 100}, values, price, true);
    if (round == 0) continue;  // contexts learn
    greedy_cost += one.squared_error(values) + double{price} * one.bits;
    dependent_cost += other.squared_error(values) + double{price} * other.bits;
  }
  check(dependent_cost < greedy_cost, "less error + price * bits than the greedy choice");
}

void test_dependent_levels_cost_less_than_greedy_ones() {
  for (const float deviation : {0.7F, 1.0F, 2.0F, 5.0F}) {
    for (const float price : {0.02F, 0.05F, 0.1F}) {
      check_costs_less<FastContexts>(deviation, price);
      check_costs_less<MixedContexts>(deviation, price);
    }
  }
}

// The least squared error of any path, in any state at its end, by all states; on which what is
// nearest to zero among all half steps is zero.
double least_error(const Values& values) {
  constexpr double kFar = 1e300;
  std::array<double, kTrellisStates> costs;
  costs.fill(kFar);
  costs[0] = 0.0;
  for (const float value : values) {
    std::array<double, kTrellisStates> next;
    next.fill(kFar);
    const auto middle = static_cast<std::int32_t>(value);
    for (std::uint32_t state = 0; state < kTrellisStates; ++state) {
      for (std::int32_t level = middle - 3; level <= middle + 3; ++level) {
        if (level != 0 && std::fabs(value) < 0.25F) continue;
        const double error = double{value} - 0.5 * place_of(level, quantizer_of(state));
        double& cost = next[kTrellis[static_cast<std::size_t>(std::abs(level) % 2)][state]];
        cost = std::min(cost, costs[state] + error * error);
      }
    }
    costs = next;
  }
  return *std::min_element(costs.begin(), costs.end());
}

// The search ends sixteen levels behind each block, so that little is lost between blocks.
void test_price_zero_takes_the_path_of_least_error() {
  Random random(162);
  const auto contexts = std::make_unique<FastContexts>();
  for (const std::size_t n_values : {1U, 5U, 64U}) {
    for (int i = 0; i < 40; ++i) {
      const Values values = gaussian_values(random, n_values, 3.0F);
      const auto n_columns = static_cast<std::uint32_t>(n_values);
      const Chosen chosen = choose(*contexts, {1, n_columns}, values, 0.0F, true);
      const double least = least_error(values);
      check_near(chosen.squared_error(values), least, 1e-4 * least + 1e-6);
    }
  }
  const Values values = gaussian_values(random, 6400, 3.0F);
  const Chosen chosen = choose(*contexts, {80, 80}, values, 0.0F, true);
  const double least = least_error(values);
  const double found = chosen.squared_error(values);
  check(found >= least * 0.9999 && found < 1.025 * least, "the least error, or little more");
}

// Of the levels with its parity, each is the nearest within reach.
void test_price_zero_takes_the_nearest_place_of_each_parity() {
  Random random(163);
  const auto contexts = std::make_unique<MixedContexts>();
  const Values values = gaussian_values(random, 5000, 4.0F);
  const Chosen chosen = choose(*contexts, {50, 100}, values, 0.0F, true);
  TrellisPath path(true);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::int32_t level = chosen.levels[i];
    const float error = std::fabs(values[i] - chosen.values[i]);
    for (const std::int32_t other : {level - 4, level - 2, level + 2, level + 4}) {
      const auto place = static_cast<float>(place_of(other, path.quantizer()));
      check(error <= std::fabs(values[i] - 0.5F * place) + 1e-6F, "the nearest of its parity");
    }
    path.advance(level);
  }
}

void test_errors_stay_within_one_step() {
  Random random(164);
  for (const float price : {0.0F, 0.05F, 0.2F, 2.0F}) {
    const auto contexts = std::make_unique<FastContexts>();
    for (const float deviation : {0.3F, 3.0F, 300.0F, 100000.0F}) {
      const Values values = gaussian_values(random, 2000, deviation);
      const Chosen chosen = choose(*contexts, {20, 100}, values, price, true);
      for (std::size_t i = 0; i < values.size(); ++i) {
        const float error = std::fabs(values[i] - chosen.values[i]);
        check(error <= 1.0F || (chosen.levels[i] == 0 && price > 0.0F),
              "one step at most, or a zero that saves bits");
        check(chosen.levels[i] == 0 || (chosen.levels[i] < 0) == (values[i] < 0.0F),
              "the value's sign");
        if (std::fabs(values[i]) < 0.25F) check(error <= 1.0F, "a value near zero");
      }
    }
  }
}

void test_zeros_code_nothing() {
  for (const float price : {0.0F, 0.1F}) {
    FastContexts contexts;
    Values values(300, 0.0F);
    values[70] = -0.2F;
    const Chosen chosen = choose(contexts, {3, 100}, values, price, true);
    check_equal(chosen.levels, Levels(300, 0));
    // A matrix of five blocks: their flags, which differ in nothing.
    check_equal(count_moved_models(contexts), 1U);
  }
}

// Contexts that expect nothing: one small value does not pay for its block, three large ones do.
void test_lonely_small_level_is_zeroed_with_its_block() {
  FastContexts contexts;
  for (int i = 0; i < 300; ++i) {
    for (const bool is_left_coded : {false, true})
      contexts.block_coded({is_left_coded, false, 0, false}).update(false);
  }
  Values values(64, 0.01F);
  values[20] = 1.2F;
  FastContexts fresh = contexts;
  const Chosen zeroed = choose(fresh, {1, 64}, values, 0.2F, true);
  check_equal(zeroed.levels, Levels(64, 0));
  fresh = contexts;
  values[21] = values[40] = 6.0F;
  const Chosen coded = choose(fresh, {1, 64}, values, 0.2F, true);
  check_near(coded.values[21], 6.0, 1.0);
  check_near(coded.values[40], 6.0, 1.0);
}

// The search leaves nothing behind in the walk: where it stands, and what its neighbours are.
void test_search_leaves_the_walk_as_it_was() {
  Random random(165);
  for (const TensorShape& shape : {TensorShape{1, 192}, TensorShape{48, 4}, TensorShape{2, 96}}) {
    const Values values = gaussian_values(random, 192, 2.0F);
    History history(192);
    FastContexts contexts;
    const LevelTargets targets(values, {}, 1.0F, history.signed_level, {});
    TensorWalk walk = walk_of(shape, history, {0, 64, true});
    TrellisChooser<FastContexts> chooser(contexts, walk, targets, 0.1F);
    Levels levels(64, 0);
    check_equal(chooser(0, 64, walk.block_features(0, 64), levels), BlockPlan::kGiven);
    check(levels != Levels(64, 0), "levels to code");
    check_equal(walk.path().state(), 0U);
    check_equal(count_moved_models(contexts), 0U);
    for (std::size_t i = 1; i <= 64; ++i)
      check_equal(walk.place_before(i), 0);
  }
}

}  // namespace
}  // namespace fl_deepcabac::testing

int main() {
  using namespace fl_deepcabac::testing;
  return run_tests({
      {"dependent_levels_cost_less_than_greedy_ones",
       test_dependent_levels_cost_less_than_greedy_ones},
      {"price_zero_takes_the_path_of_least_error", test_price_zero_takes_the_path_of_least_error},
      {"price_zero_takes_the_nearest_place_of_each_parity",
       test_price_zero_takes_the_nearest_place_of_each_parity},
      {"errors_stay_within_one_step", test_errors_stay_within_one_step},
      {"zeros_code_nothing", test_zeros_code_nothing},
      {"lonely_small_level_is_zeroed_with_its_block",
       test_lonely_small_level_is_zeroed_with_its_block},
      {"search_leaves_the_walk_as_it_was", test_search_leaves_the_walk_as_it_was},
  });
}
