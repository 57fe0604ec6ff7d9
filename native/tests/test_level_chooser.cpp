// SPDX-License-Identifier: Apache-2.0
// How the greedy choice goes about a block: zero, given before its first bin, or live; and that
// what it picks live is the best there is and arrives.
#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "check.hpp"
#include "fl_deepcabac/block_coder.hpp"
#include "fl_deepcabac/mixed_contexts.hpp"
#include "fl_deepcabac/rate_distortion.hpp"
#include "level_lists.hpp"
#include "random.hpp"
#include "walk_setting.hpp"

namespace fl_deepcabac::testing {
namespace {

using Levels = std::vector<std::int32_t>;
using Values = std::vector<float>;

struct Plans {
  int n_zero = 0;
  int n_given = 0;
  int n_live = 0;
};

// Passes a chooser's answers on, counts its plans, and compares what it picks with its neighbours.
template <class Contexts>
class WatchedChooser {
 public:
  static constexpr bool kPicks = true;
  static constexpr bool kKnowsLevels = true;

  WatchedChooser(Contexts& contexts, TensorWalk& walk, const LevelTargets& targets,
                 const Values& values, const Values& importance, float price)
      : chooser_(contexts, walk, targets, price),
        contexts_(contexts),
        values_(values),
        importance_(importance),
        price_(double{price}) {}

  BlockPlan operator()(std::size_t begin, std::size_t end, const BlockFeatures& block,
                       std::span<std::int32_t> levels) {
    begin_ = begin;
    const BlockPlan plan = chooser_(begin, end, block, levels);
    const auto n_nonzero =
        std::count_if(levels.begin(), levels.end(), [](auto level) { return level != 0; });
    check((n_nonzero > 0) == (plan == BlockPlan::kGiven), "levels where they are given only");
    check(plan != BlockPlan::kLive || !block.is_sparse, "no live sparse block");
    plans.n_zero += plan == BlockPlan::kZero ? 1 : 0;
    plans.n_given += plan == BlockPlan::kGiven ? 1 : 0;
    plans.n_live += plan == BlockPlan::kLive ? 1 : 0;
    return plan;
  }
  // All levels go to `pick`, where both answers are at hand.
  static bool is_zero(std::size_t /*i*/, std::uint32_t /*probability*/) { return false; }
  template <class Inputs, class Estimate>
  std::int32_t pick(std::size_t i, const Inputs& nonzero, const Estimate& estimate) {
    const bool is_zero = chooser_.is_zero(i, estimate.probability());
    const std::int32_t level = is_zero ? 0 : chooser_.pick(i, nonzero, estimate);
    const float value = values_[begin_ + i];
    check(level == 0 || (level < 0) == (value < 0.0F), "the value's sign");
    const auto lower = static_cast<std::int32_t>(std::fabs(value));
    if (lower >= kGreaterBins) return level;
    const double chosen = objective(i, nonzero, estimate.probability(), std::abs(level));
    for (const std::int32_t other : {lower <= 1 ? 0 : lower, std::max(lower, 1), lower + 1}) {
      if (other > kGreaterBins) continue;
      // Tables of probabilities are coarse where these are small: a bit is none too many.
      check(chosen <= objective(i, nonzero, estimate.probability(), other) + price_,
            "the least error + price * bits");
    }
    return level;
  }

  Plans plans;

 private:
  template <class Inputs>
  double objective(std::size_t i, const Inputs& inputs, std::uint32_t significant,
                   std::int32_t size) {
    const auto bits = [](bool bin, std::uint32_t probability) {
      return -std::log2((bin ? probability : 65536 - probability) / 65536.0);
    };
    const float value = values_[begin_ + i];
    const double error = double{std::fabs(value)} - size;
    double cost = bits(size != 0, significant);
    if (size != 0) {
      cost += bits(value < 0.0F, contexts_.negative(inputs).probability());
      for (int k = 1; k <= kGreaterBins && k <= size; ++k)
        cost += bits(size > k, contexts_.greater(inputs, k).probability());
    }
    const double weight = importance_.empty() ? 1.0 : double{importance_[begin_ + i]};
    return weight * error * error + price_ * cost;
  }

  LevelChooser<Contexts> chooser_;
  Contexts& contexts_;
  const Values& values_;
  const Values& importance_;
  double price_;
  std::size_t begin_ = 0;
};

struct Unknown {
  static constexpr bool kPicks = false;
  static constexpr bool kKnowsLevels = false;

  BlockPlan operator()(auto&&... /*unused*/) const { return BlockPlan::kGiven; }
};

struct Case {
  TensorShape shape;
  Setting setting;
  Values values;
  Values importance;
  float price;
};

// Chooses and codes a part with a step of 1, and decodes it.
template <class Contexts>
Plans check_arrives(const Case& part, Contexts& written, Contexts& read) {
  const std::size_t n_levels = part.values.size();
  History history(n_levels);
  TensorWalk sender = walk_of(part.shape, history, part.setting);
  const LevelTargets targets(part.values, part.importance, 1.0F, history.signed_level, {});
  WatchedChooser<Contexts> chooser(written, sender, targets, part.values, part.importance,
                                   part.price);
  BinEncoder encoder;
  EncodedBins<> encoded{encoder};
  LevelList sent;
  code_blocks(encoded, written, sender, chooser, sent);
  const std::vector<std::uint8_t> payload = encoder.finish();

  TensorWalk receiver = walk_of(part.shape, history, part.setting);
  BinDecoder decoder(payload);
  DecodedBins<> decoded{decoder};
  LevelList received;
  Unknown unknown;
  code_blocks(decoded, read, receiver, unknown, received);
  check_equal(levels_of(received, n_levels), levels_of(sent, n_levels));
  check_equal(decoder.check_end(), Status::kOk);
  check_equal(receiver.row_scale(), sender.row_scale());
  return chooser.plans;
}

Values random_values(Random& random, std::size_t n_values, float scale) {
  Values values(n_values);
  for (float& value : values)
    value = scale * random.heavy_tailed();
  return values;
}

template <class Contexts>
void check_all_arrive(std::uint64_t seed) {
  Random random(seed);
  const auto written = std::make_unique<Contexts>();
  const auto read = std::make_unique<Contexts>();
  Plans all;
  for (const TensorShape& shape : {TensorShape{1, 1000}, TensorShape{10, 100}, TensorShape{200, 5},
                                   TensorShape{1000, 1}, TensorShape{2, 500}}) {
    for (const float scale : {0.1F, 0.3F, 1.0F, 5.0F}) {
      for (const float price : {0.0F, 0.02F, 0.1F}) {
        Case part{
            shape, {random.below(5), 64, false}, random_values(random, 1000, scale), {}, price};
        for (const bool is_weighed : {false, true}) {
          if (is_weighed) part.importance.assign(1000, 0.5F + random.unit());
          const Plans plans = check_arrives(part, *written, *read);
          all.n_zero += plans.n_zero;
          all.n_given += plans.n_given;
          all.n_live += plans.n_live;
        }
      }
    }
  }
  check(all.n_zero > 50 && all.n_given > 50 && all.n_live > 50, "blocks of every plan");
}

void test_live_levels_are_the_best_and_arrive() {
  check_all_arrive<FastContexts>(211);
  check_all_arrive<MixedContexts>(212);
}

// Plans of one dense block by hand: up to two likely levels are chosen beforehand.
void test_plans_by_hand() {
  const auto plan_of = [](const Values& values, std::int32_t row_scale, float price) {
    FastContexts contexts;
    History history(64);
    TensorWalk walk = walk_of({1, 64}, history, {0, row_scale, false});
    const LevelTargets targets(values, {}, 1.0F, history.signed_level, {});
    LevelChooser<FastContexts> chooser(contexts, walk, targets, price);
    Levels levels(64, 0);
    const BlockPlan plan = chooser(0, 64, walk.block_features(0, 64), levels);
    // What is not given leaves no place behind.
    for (std::size_t i = 0; i < 64; ++i)
      check_equal(walk.place_before(i + 1), std::clamp(2 * levels[i], -127, 127));
    return plan;
  };
  Values values(64, 0.4F);
  check_equal(plan_of(values, 64, 0.1F), BlockPlan::kZero);
  values[7] = 5.0F;
  values[60] = -9.0F;
  check_equal(plan_of(values, 64, 0.1F), BlockPlan::kGiven);
  values[8] = 3.0F;
  check_equal(plan_of(values, 64, 0.1F), BlockPlan::kLive);
  // A sparse block is always known beforehand.
  check_equal(plan_of(values, 0, 0.1F), BlockPlan::kGiven);
  // Values whose bits are not worth it, one by one or all together.
  values.assign(64, 0.6F);
  check_equal(plan_of(values, 64, 1.0F), BlockPlan::kZero);
  values.assign(64, 0.0F);
  values[20] = 1.1F;
  check_equal(plan_of(values, 0, 0.5F), BlockPlan::kZero);
  check_equal(plan_of(values, 0, 0.0F), BlockPlan::kGiven);
}

}  // namespace
}  // namespace fl_deepcabac::testing

int main() {
  using namespace fl_deepcabac::testing;
  return run_tests({
      {"live_levels_are_the_best_and_arrive", test_live_levels_are_the_best_and_arrive},
      {"plans_by_hand", test_plans_by_hand},
  });
}
