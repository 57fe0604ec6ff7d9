// SPDX-License-Identifier: Apache-2.0
#include "fl_deepcabac/rate_distortion.hpp"

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "check.hpp"
#include "first_level.hpp"
#include "fl_deepcabac/block_coder.hpp"
#include "fl_deepcabac/level_codec.hpp"
#include "level_lists.hpp"
#include "update_source.hpp"
#include "walk_setting.hpp"

namespace fl_deepcabac::testing {
namespace {

constexpr BlockFeatures kFirstBlock{};

// Low enough to show contexts what no history shows, and too high for sparse blocks.
constexpr std::int32_t kRowScale = 8;

// Chooses the levels of one block of values with given contexts, which stay as they are; whether
// the block is coded.
template <class Contexts>
bool choose(const Contexts& contexts, std::span<const float> values, float step, float price,
            std::vector<std::int32_t>& levels) {
  const auto own = std::make_unique<Contexts>(contexts);
  History history(values.size());
  TensorWalk walk =
      walk_of({1, static_cast<std::uint32_t>(values.size())}, history, {0, kRowScale, false});
  const LevelTargets targets(values, {}, step, history.signed_level, {});
  LevelChooser<Contexts> chooser(*own, walk, targets, price);
  check(!walk.block_features(0, values.size()).is_sparse, "a dense block");
  BinEncoder coder;
  EncodedBins<> bins{coder};
  LevelList list;
  code_blocks(bins, *own, walk, chooser, list);
  levels = levels_of(list, values.size());
  // Only its flag says whether the first block, without levels before it, is coded.
  return own->block_coded(kFirstBlock).probability() >
         std::make_unique<Contexts>(contexts)->block_coded(kFirstBlock).probability();
}

std::vector<float> random_values(Random& random, std::size_t n, float scale) {
  std::vector<float> values(n);
  for (float& value : values)
    value = scale * random.heavy_tailed();
  return values;
}

void test_price_zero_takes_the_nearest_level() {
  Random random(91);
  const auto contexts = std::make_unique<MixedContexts>();
  for (int block = 0; block < 300; ++block) {
    const std::vector<float> values = random_values(random, 64, 4.0F);
    std::vector<std::int32_t> levels;
    choose(*contexts, values, 0.5F, 0.0F, levels);
    for (std::size_t i = 0; i < values.size(); ++i) {
      check(std::fabs(values[i] / 0.5F - static_cast<float>(levels[i])) <= 0.5F,
            "the nearest level");
    }
  }
}

// An error of zero is the best there is: no larger level may take its place.
void test_price_zero_keeps_exact_multiples() {
  FastContexts contexts;
  std::vector<float> values;
  for (int level = -30; level <= 30; ++level)
    values.push_back(static_cast<float>(level) * 0.25F);
  std::vector<std::int32_t> levels;
  check(choose(contexts, values, 0.25F, 0.0F, levels), "a coded block");
  for (std::size_t i = 0; i < values.size(); ++i)
    check_equal(levels[i], static_cast<int>(i) - 30);
}

// Far levels take no part in the choice and are the nearest ones, up to the last.
void test_far_values_take_the_nearest_level() {
  const std::vector<float> values{10.4F,      10.6F,       -11.51F,     100.49F,    8388607.0F,
                                  8388609.0F, 16777215.0F, 16777216.0F, -4194303.5F};
  const std::vector<std::int32_t> nearest{10,      11,       -12,      100,     8388607,
                                          8388609, 16777215, 16777216, -4194304};
  FastContexts contexts;
  std::vector<std::int32_t> levels;
  choose(contexts, values, 1.0F, 0.1F, levels);
  check_equal(levels, nearest);
}

std::uint32_t cost_of_level(FastContexts& contexts, const LevelFeatures& features,
                            std::int32_t level) {
  const auto cost = [](const PlainEstimate& estimate, bool bin) {
    return bin_cost(bin, estimate.probability());
  };
  std::uint32_t sum = cost(contexts.significant(features), level != 0);
  if (level == 0) return sum;
  sum += cost(contexts.negative(features), level < 0);
  for (int k = 1; k <= kGreaterBins; ++k) {
    sum += cost(contexts.greater(features, k), std::abs(level) > k);
    if (std::abs(level) <= k) break;
  }
  return sum;
}

// One value, contexts trained on sparse levels: no candidate has a smaller objective than the
// choice.
void test_choice_has_the_least_objective() {
  Random random(92);
  FastContexts contexts;
  const LevelFeatures fresh = first_level(kRowScale);
  for (int i = 0; i < 200; ++i) {
    const bool is_significant = random.chance(0.1F);
    contexts.significant(fresh).update(is_significant);
    if (is_significant) contexts.greater(fresh, 1).update(random.chance(0.2F));
  }
  for (int i = 0; i < 3000; ++i) {
    const float value = random.heavy_tailed() * 3.0F;
    const float price = 0.02F + 0.2F * random.unit();
    std::vector<std::int32_t> levels;
    const bool is_coded = choose(contexts, {&value, 1}, 1.0F, price, levels);
    if (!is_coded || std::fabs(value) >= 10.0F) continue;
    const auto objective = [&](std::int32_t level) {
      const double error = double{std::fabs(value)} - level;
      const std::int32_t with_sign = value < 0.0F ? -level : level;
      return error * error + price / 256.0 * cost_of_level(contexts, fresh, with_sign);
    };
    const auto lower = static_cast<std::int32_t>(std::fabs(value));
    const double chosen = objective(std::abs(levels[0]));
    for (const std::int32_t candidate : {lower <= 1 ? 0 : lower, std::max(lower, 1), lower + 1}) {
      if (candidate > kGreaterBins) continue;
      check(chosen <= objective(candidate) + 1e-5, "the least objective");
    }
  }
}

void test_levels_are_within_one_step_or_zero() {
  Random random(93);
  const auto contexts = std::make_unique<MixedContexts>();
  for (const float price : {0.0F, 0.05F, 0.2F, 2.0F}) {
    constexpr float kMost = 2.0F;
    for (int block = 0; block < 100; ++block) {
      const std::vector<float> values = random_values(random, 64, 3.0F);
      std::vector<std::int32_t> levels;
      const bool is_coded = choose(*contexts, values, 0.5F, price, levels);
      for (std::size_t i = 0; i < values.size(); ++i) {
        const float distance = values[i] / 0.5F;
        const float error = std::fabs(distance - static_cast<float>(levels[i]));
        check(error <= 1.0F || (levels[i] == 0 && (!is_coded || error < kMost)),
              "a level within one step, or a zero within reach, or a block not coded");
        check(levels[i] == 0 || (levels[i] < 0) == (values[i] < 0.0F), "the value's sign");
        // Where nothing but zeros is unlikely a one may be cheaper, by 13 bits at most.
        const float loss = 1.0F - 2.0F * std::fabs(distance);
        check(levels[i] == 0 || loss <= 13.0F * price, "zero, or bits saved that are worth it");
      }
    }
  }
}

// Contexts that expect nothing: one small value does not pay for its block, three large ones do.
void test_lonely_small_level_is_zeroed_with_its_block() {
  FastContexts contexts;
  for (int i = 0; i < 300; ++i) {
    contexts.block_coded(kFirstBlock).update(false);
    contexts.significant(first_level(kRowScale)).update(false);
  }
  std::vector<float> values(64, 0.01F);
  values[20] = 1.2F;
  std::vector<std::int32_t> levels;
  check(!choose(contexts, values, 1.0F, 0.1F, levels), "the block not to be coded");
  check(std::all_of(levels.begin(), levels.end(), [](std::int32_t level) { return level == 0; }),
        "no level left");
  check(choose(contexts, values, 1.0F, 0.0F, levels), "the block to be coded where bits are free");
  check_equal(levels[20], 1);
  values[30] = values[31] = 6.0F;
  check(choose(contexts, values, 1.0F, 0.1F, levels), "the block to be coded");
  check_equal(levels[30], 6);
}

// Over the same updates a higher price buys no more bits and no less error.
void test_higher_price_means_fewer_bits_and_more_error() {
  for (const Profile profile : {Profile::kFast, Profile::kMax}) {
    std::size_t last_bytes = SIZE_MAX;
    double last_error = -1.0;
    for (const float price : {0.0F, 0.02F, 0.05F, 0.1F, 0.2F, 0.5F, 2.0F}) {
      UpdateSource source({{40, 60}, {1, 50}}, 94);
      StreamState state(source.shapes(), profile);
      const std::vector<std::uint32_t> steps(2, std::bit_cast<std::uint32_t>(1.0F));
      std::size_t n_bytes = 0;
      double error = 0.0;
      for (int round = 0; round < 4; ++round) {
        const std::vector<float> values = source.next();
        CodedLevels coded;
        check(encode_values(state, values, steps, {.price = price}, coded).ok(),
              "good values to be coded");
        n_bytes += coded.payload.size();
        for (std::size_t i = 0; i < values.size(); ++i) {
          const double distance = double{values[i]} - double{coded.values[i]};
          error += distance * distance;
        }
      }
      check(n_bytes <= last_bytes, "no more bytes at a higher price");
      check(error >= last_error, "no less error at a higher price");
      last_bytes = n_bytes;
      last_error = error;
    }
  }
}

// Weights of 1 change nothing; a larger one never makes the error of its value larger, and
// some of them make some error smaller.
void test_importance_weighs_errors() {
  for (const Profile profile : {Profile::kFast, Profile::kMax}) {
    UpdateSource source({{40, 60}, {1, 50}}, 95);
    const std::vector<float> values = source.next();
    const std::vector<std::uint32_t> steps(2, std::bit_cast<std::uint32_t>(1.0F));
    const auto encode = [&](const std::vector<float>& importance) {
      StreamState state(source.shapes(), profile);
      CodedLevels coded;
      check(encode_values(state, values, steps, {.price = 0.2F, .importance = importance}, coded)
                .ok(),
            "values coded");
      return coded;
    };
    const auto error_of = [&](const CodedLevels& coded, std::size_t parity) {
      double error = 0.0;
      for (std::size_t i = parity; i < values.size(); i += 2) {
        const double distance = double{values[i]} - double{coded.values[i]};
        error += distance * distance;
      }
      return error;
    };
    std::vector<float> importance(values.size(), 1.0F);
    const CodedLevels plain = encode({});
    check(encode(importance).payload == plain.payload, "weights of 1 to change nothing");
    for (std::size_t i = 0; i < importance.size(); i += 2)
      importance[i] = 8.0F;
    const CodedLevels weighted = encode(importance);
    check(error_of(weighted, 0) < error_of(plain, 0), "less error where it counts more");
    importance.pop_back();
    StreamState state(source.shapes(), profile);
    CodedLevels coded;
    check_equal(
        encode_values(state, values, steps, {.price = 0.2F, .importance = importance}, coded)
            .status,
        Status::kLengthMismatch);
  }
}

}  // namespace
}  // namespace fl_deepcabac::testing

int main() {
  using namespace fl_deepcabac::testing;
  return run_tests({
      {"price_zero_takes_the_nearest_level", test_price_zero_takes_the_nearest_level},
      {"price_zero_keeps_exact_multiples", test_price_zero_keeps_exact_multiples},
      {"far_values_take_the_nearest_level", test_far_values_take_the_nearest_level},
      {"choice_has_the_least_objective", test_choice_has_the_least_objective},
      {"levels_are_within_one_step_or_zero", test_levels_are_within_one_step_or_zero},
      {"lonely_small_level_is_zeroed_with_its_block",
       test_lonely_small_level_is_zeroed_with_its_block},
      {"higher_price_means_fewer_bits_and_more_error",
       test_higher_price_means_fewer_bits_and_more_error},
      {"importance_weighs_errors", test_importance_weighs_errors},
  });
}
