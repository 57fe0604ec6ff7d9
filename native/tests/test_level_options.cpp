// SPDX-License-Identifier: Apache-2.0
// What the search through the trellis chooses from, compared with costs worked out bin by bin.
#include "fl_deepcabac/level_options.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "check.hpp"
#include "fl_deepcabac/mixed_contexts.hpp"
#include "random.hpp"
#include "walk_setting.hpp"

namespace fl_deepcabac::testing {
namespace {

using Values = std::vector<float>;

constexpr float kZeroDistance = 0.3F;

// Contexts that have each seen some bins of their own odds.
template <class Contexts>
std::unique_ptr<Contexts> random_contexts(Random& random) {
  auto contexts = std::make_unique<Contexts>();
  Contexts::visit_models(*contexts, [&](BitModel& model) {
    const float odds = random.unit();
    for (std::uint32_t n_bins = random.below(8); n_bins > 0; --n_bins)
      model.update(random.chance(odds));
  });
  return contexts;
}

// A part with values and a history, its walk, and one weigher.
template <class Contexts>
struct Weighing {
  std::unique_ptr<Contexts> contexts;
  History history;
  Values values;
  Values importance;
  LevelTargets targets;
  TensorWalk walk;
  float price;  // in squared steps per 2^-8 bit
  OptionWeigher<Contexts> weigher;
  bool is_sparse = false;
  BlockTargets own{};  // of the block weighed last
  std::vector<Options> found;

  Weighing(Random& random, std::size_t n_levels, float price_of_bit, bool is_weighed,
           const Offsets& offsets)
      : contexts(random_contexts<Contexts>(random)),
        history(n_levels),
        values(random_values(random, n_levels)),
        importance(is_weighed ? random_importance(random, n_levels) : Values{}),
        targets(values, importance, 1.0F, random_history(random), offsets),
        walk(walk_of({3, 100}, history, {0, random.between(0, 200), true})),
        price(price_of_bit / 256),
        weigher(*contexts, targets, price, kZeroDistance) {}

  static Values random_values(Random& random, std::size_t n_levels) {
    Values all{16777215.5F, -16777216.0F, 0.0F, 9.7F, -10.2F, 10.9F, 11.1F, 12.0F};
    while (all.size() < n_levels)
      all.push_back((random.chance(0.5F) ? 1.0F : 6.0F) * random.heavy_tailed());
    return all;
  }
  static Values random_importance(Random& random, std::size_t n_levels) {
    Values all(n_levels);
    for (float& one : all)
      one = 4.0F * random.unit();
    return all;
  }
  std::span<const std::int8_t> random_history(Random& random) {
    for (std::size_t i = 0; i < history.magnitude.size(); ++i) {
      history.magnitude[i] = static_cast<std::uint8_t>(random.below(100));
      history.signed_level[i] = static_cast<std::int8_t>(random.between(-50, 50));
    }
    return history.signed_level;
  }

  // The block that begins there, and what lies within reach behind it.
  void weigh(std::size_t begin) {
    const std::size_t end = std::min(begin + kBlockLevels, values.size());
    const std::size_t n_levels = targets.fill(begin, end - begin + kLookahead, own);
    walk.prepare_block(begin, end, true);
    const auto options = weigher.weigh(walk.block_view(), is_sparse, own, end - begin, n_levels);
    found.assign(options.begin(), options.end());
  }
  // Codes the block with any levels, and moves the contexts.
  void code(Random& random, std::size_t begin) {
    for (std::size_t i = begin; i < begin + kBlockLevels; ++i)
      walk.set_place(i, random.chance(0.5F) ? random.between(-9, 9) : 0);
    walk.end_block(begin, begin + kBlockLevels, true);
    Contexts::visit_models(*contexts, [&](BitModel& model) { model.update(random.chance(0.5F)); });
  }

  // Error + price * bits of a magnitude, whose levels lie in the quantiser of `level`.
  float cost_of(const LevelFeatures& level, std::size_t i, std::int32_t k) {
    const auto cost = [](const auto& estimate, bool bin) {
      return bin_cost(bin, estimate.probability());
    };
    if (k == 0) {
      const std::uint32_t bits = own.distance(i) < kZeroDistance
                                     ? cost(contexts->roughly_significant(level), false)
                                     : cost(contexts->significant(level), false);
      return own.zero_cost(i) + price * static_cast<float>(is_sparse ? 0 : bits);
    }
    // In a sparse block six halvings lead to the level.
    std::uint32_t bits = is_sparse ? 6 * 256 : cost(contexts->significant(level), true);
    bits += cost(contexts->roughly_negative(level), own.is_negative(i));
    bits += cost(contexts->greater(level, 1), k > 1);
    for (std::int32_t j = 2; j <= std::min(k, 10); ++j)
      bits += cost(contexts->roughly_greater(level, j), k > j);
    const auto quantizer = static_cast<std::int32_t>(level.quantizer_index);
    const float error = own.distance(i) - targets.reach(2 * k - quantizer);
    return own.importance(i) * (error * error) + price * static_cast<float>(bits);
  }

  // The best of zero and the levels on both sides of the value, of each parity and quantiser.
  void check_level(LevelFeatures level, std::size_t i) {
    for (level.quantizer_index = 0; level.quantizer_index < 2; ++level.quantizer_index) {
      const float inwards = level.quantizer_index == 0 ? 0.0F : 0.5F;
      const float lower = std::max(std::floor(targets.unshifted(own.distance(i)) + inwards), 0.0F);
      const auto first = std::min(static_cast<std::int32_t>(lower), kMaxLevel - 1);
      float least[] = {cost_of(level, i, 0), std::numeric_limits<float>::infinity()};
      for (std::int32_t k = std::max(first, 1); k <= first + 1; ++k) {
        if (own.distance(i) >= kZeroDistance)
          least[k % 2] = std::min(least[k % 2], cost_of(level, i, k));
      }
      for (const std::size_t parity : {0U, 1U}) {
        const float cost = found[i].costs[parity][level.quantizer_index];
        const std::int32_t magnitude = found[i].magnitudes[parity][level.quantizer_index];
        check_equal(cost, least[parity]);
        if (std::isinf(cost)) continue;
        check_equal(static_cast<std::size_t>(magnitude % 2), parity);
        check_equal(cost_of(level, i, magnitude), cost);
      }
    }
  }

  // Where the cheapest option of a level lies.
  [[nodiscard]] std::int32_t likely_place(std::size_t i) const {
    std::pair<float, std::int32_t> best{std::numeric_limits<float>::infinity(), 0};
    for (const std::size_t parity : {0U, 1U}) {
      for (const std::uint32_t quantizer : {0U, 1U}) {
        const float cost = found[i].costs[parity][quantizer];
        const std::int32_t place = place_of(found[i].magnitudes[parity][quantizer], quantizer);
        if (cost < best.first) best = {cost, own.is_negative(i) ? -place : place};
      }
    }
    return std::clamp(best.second, -127, 127);
  }

  // All levels from `first` on, of the block weighed last. Their neighbours to the left are where
  // they are likely to lie or, in blocks before, where they do.
  void check_levels(std::size_t first) {
    const BlockView view = walk.block_view();
    const std::size_t begin = view.inputs->begin;
    const auto place_before = [&](std::size_t i, std::size_t back) {
      if (i >= back) return likely_place(i - back);
      return begin + i < back ? 0 : walk.place_before(begin + i + 1 - back);
    };
    const auto size = [](std::int32_t place) {
      return static_cast<std::uint32_t>(std::abs(place));
    };
    for (std::size_t i = first; i < found.size(); ++i) {
      const LevelSight sight{.left = size(place_before(i, 1)),
                             .left_left = size(place_before(i, 2)),
                             .left_signum = signum_class(place_before(i, 1))};
      check_level(LevelCursor<PlainPath>(view, i, sight, {}).features(), i);
    }
  }
};

Offsets random_offsets(Random& random) {
  Offsets offsets;
  for (std::int8_t& offset : offsets.values)
    offset = static_cast<std::int8_t>(random.between(-40, 40));
  return offsets;
}

template <class Contexts>
void check_definition(std::uint64_t seed) {
  Random random(seed);
  for (const float price : {0.0F, 0.03F, 0.3F}) {
    for (const bool is_weighed : {false, true}) {
      for (const bool is_sparse : {false, true}) {
        Weighing<Contexts> own(random, 300, price, is_weighed, random_offsets(random));
        own.is_sparse = is_sparse;
        own.weigh(0);
        check_equal(own.found.size(), kBlockLevels + kLookahead);
        own.check_levels(0);
      }
    }
  }
}

void test_options_are_those_of_their_definition() {
  check_definition<FastContexts>(231);
  check_definition<MixedContexts>(232);
}

bool equal_options(const Options& one, const Options& other) {
  return one.costs == other.costs && one.magnitudes == other.magnitudes;
}

// The first levels of a block are as the search before saw them, whatever has been coded since; the
// others go on behind those. Last blocks of less and of more levels than were looked ahead to.
template <class Contexts>
void check_taking_over(std::uint64_t seed) {
  Random random(seed);
  for (const std::size_t n_levels : {193U, 202U, 208U, 209U, 250U, 256U}) {
    for (const bool is_sparse : {false, true}) {
      Weighing<Contexts> own(random, n_levels, 0.05F, false, random_offsets(random));
      own.is_sparse = is_sparse;
      own.weigh(0);
      for (std::size_t begin = 64; begin < n_levels; begin += 64) {
        own.code(random, begin - 64);
        const std::vector<Options> before = own.found;
        own.weigh(begin);
        check_equal(own.found.size(), std::min<std::size_t>(80, n_levels - begin));
        const std::size_t n_known = std::min<std::size_t>(16, own.found.size());
        check_equal(before.size(), 64 + n_known);
        for (std::size_t i = 0; i < n_known; ++i)
          check(equal_options(own.found[i], before[64 + i]), "options taken over");
        own.check_levels(n_known);
      }
    }
  }
}

void test_options_looked_ahead_to_are_taken_over() {
  check_taking_over<FastContexts>(233);
  check_taking_over<MixedContexts>(234);
}

// A block that is sparse where the one before was not, and one behind another that was left out.
void test_options_that_do_not_fit_are_weighed_anew() {
  Random random(235);
  Weighing<FastContexts> own(random, 300, 0.05F, false, {});
  own.weigh(0);
  own.code(random, 0);
  own.is_sparse = true;
  own.weigh(64);
  own.check_levels(0);
  own.code(random, 64);
  own.code(random, 128);
  own.weigh(192);
  own.check_levels(0);
}

// With bits for nothing: of all magnitudes, those that lie nearest, but zeros near zero.
void test_price_zero_offers_the_nearest_of_each_parity() {
  Random random(236);
  Weighing<FastContexts> own(random, 300, 0.0F, false, {});
  own.weigh(64);
  for (std::size_t i = 0; i < own.found.size(); ++i) {
    const float distance = std::fabs(own.values[64 + i]);
    for (const std::uint32_t quantizer : {0U, 1U}) {
      float least[] = {distance * distance, std::numeric_limits<float>::infinity()};
      for (std::int32_t k = 1; k < 100 && distance >= kZeroDistance; ++k) {
        const float error = distance - 0.5F * static_cast<float>(place_of(k, quantizer));
        least[k % 2] = std::min(least[k % 2], error * error);
      }
      check_equal(own.found[i].costs[0][quantizer], least[0]);
      check_equal(own.found[i].costs[1][quantizer], least[1]);
    }
  }
}

}  // namespace
}  // namespace fl_deepcabac::testing

int main() {
  using namespace fl_deepcabac::testing;
  return run_tests({
      {"options_are_those_of_their_definition", test_options_are_those_of_their_definition},
      {"options_looked_ahead_to_are_taken_over", test_options_looked_ahead_to_are_taken_over},
      {"options_that_do_not_fit_are_weighed_anew", test_options_that_do_not_fit_are_weighed_anew},
      {"price_zero_offers_the_nearest_of_each_parity",
       test_price_zero_offers_the_nearest_of_each_parity},
  });
}
