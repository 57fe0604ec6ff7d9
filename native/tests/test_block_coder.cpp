// SPDX-License-Identifier: Apache-2.0
#include "fl_deepcabac/block_coder.hpp"

#include <algorithm>
#include <memory>
#include <vector>

#include "check.hpp"
#include "fl_deepcabac/level_syntax.hpp"
#include "fl_deepcabac/mixed_contexts.hpp"
#include "level_bins.hpp"
#include "level_lists.hpp"
#include "random.hpp"
#include "walk_setting.hpp"

namespace fl_deepcabac::testing {
namespace {

using Levels = std::vector<std::int32_t>;

// With no history a row scale of 0 makes blocks sparse, and one of a step makes them dense.
constexpr std::int32_t kSparseScale = 0;
constexpr std::int32_t kDenseScale = 256;

// Hands out levels that are known beforehand.
struct Given {
  static constexpr bool kPicks = false;
  static constexpr bool kKnowsLevels = true;

  std::span<const std::int32_t> all;

  BlockPlan operator()(std::size_t begin, std::size_t end, const BlockFeatures& /*block*/,
                       std::span<std::int32_t> levels) const {
    check_equal(levels.size(), end - begin);
    check(std::all_of(levels.begin(), levels.end(), [](auto level) { return level == 0; }),
          "levels to be zero beforehand");
    const auto own = all.subspan(begin, end - begin);
    std::copy(own.begin(), own.end(), levels.begin());
    return std::any_of(own.begin(), own.end(), [](auto level) { return level != 0; })
               ? BlockPlan::kGiven
               : BlockPlan::kZero;
  }
};

// Says nothing, for a decoder.
struct Unknown {
  static constexpr bool kPicks = false;
  static constexpr bool kKnowsLevels = false;

  BlockPlan operator()(auto&&... /*unused*/) const { return BlockPlan::kGiven; }
};

// Knows levels but hands out each only when its turn comes; blocks are dense then.
struct Live : Given {
  static constexpr bool kPicks = true;

  std::size_t begin_of_block = 0;

  BlockPlan operator()(std::size_t begin, std::size_t end, const BlockFeatures& block,
                       std::span<std::int32_t> levels) {
    begin_of_block = begin;
    const BlockPlan plan = Given::operator()(begin, end, block, levels);
    std::fill(levels.begin(), levels.end(), 0);
    return plan == BlockPlan::kGiven ? BlockPlan::kLive : plan;
  }
  [[nodiscard]] bool is_zero(std::size_t i, std::uint32_t /*probability*/) const {
    return all[begin_of_block + i] == 0;
  }
  std::int32_t pick(std::size_t i, const auto& /*inputs*/, const auto& /*estimate*/) const {
    return all[begin_of_block + i];
  }
};

// Codes a part; its levels as the list holds them.
template <class Bins, class Contexts, class Chooser>
Levels code_part(Bins bins, Contexts& contexts, TensorWalk& walk, Chooser chooser) {
  LevelList list;
  code_blocks(bins, contexts, walk, chooser, list);
  return levels_of(list, walk.n_levels());
}

std::vector<int> bins_of(const Levels& levels, std::int32_t row_scale) {
  History history(levels.size());
  TensorWalk walk =
      walk_of({1, static_cast<std::uint32_t>(levels.size())}, history, {0, row_scale, false});
  const auto contexts = std::make_unique<FastContexts>();
  Recorder recorder;
  check_equal(code_part(RecordedBins<>{recorder}, *contexts, walk, Given{levels}), levels);
  return recorder.bins;
}

Levels one_level(std::size_t n_levels, std::size_t at, std::int32_t level) {
  Levels levels(n_levels, 0);
  levels[at] = level;
  return levels;
}

// Spec 5.4: the flag of the block; for each halving whether the left half holds a level, then,
// where it does, whether the right one does too; sign and magnitude.
void test_sparse_block_by_hand() {
  check_equal(bins_of(Levels(64, 0), kSparseScale), std::vector<int>{0});
  check_equal(bins_of(one_level(64, 5, 1), kSparseScale),
              std::vector<int>{1, 1, 0, 1, 0, 1, 0, 0, 1, 0, 0, 0, 0});
  check_equal(bins_of(one_level(64, 63, -2), kSparseScale),
              std::vector<int>{1, 0, 0, 0, 0, 0, 0, 1, 1, 0});
  Levels two = one_level(64, 0, 1);
  two[32] = -1;
  check_equal(bins_of(two, kSparseScale), std::vector<int>{1, 1, 1,                       //
                                                           1, 0, 1, 0, 1, 0, 1, 0, 1, 0,  //
                                                           0, 0,                          //
                                                           1, 0, 1, 0, 1, 0, 1, 0, 1, 0,  //
                                                           1, 0});
}

// Halves that lie beyond the last level are empty without a bin.
void test_short_sparse_block_by_hand() {
  check_equal(bins_of({3}, kSparseScale), std::vector<int>{1, 0, 1, 1, 0});
  check_equal(bins_of(one_level(5, 4, -1), kSparseScale), std::vector<int>{1, 0, 1, 0});
  check_equal(bins_of(one_level(5, 0, 1), kSparseScale),
              std::vector<int>{1, 1, 0, 1, 0, 1, 0, 0, 0});
  check_equal(bins_of(one_level(33, 32, 1), kSparseScale), std::vector<int>{1, 0, 0, 0});
}

void test_dense_block_codes_level_by_level() {
  check_equal(bins_of({0, 1, 0, -2}, kDenseScale), std::vector<int>{1, 0, 1, 0, 0, 0, 1, 1, 1, 0});
}

struct Case {
  TensorShape shape;
  Setting setting;
  float density;
  bool has_history;
};

// Encodes and decodes a part; both walks must end alike.
template <class Contexts>
void check_comes_back(const Case& part, Random& random) {
  Levels levels(part.shape.n_levels(), 0);
  History history(levels.size());
  for (std::size_t i = 0; i < levels.size(); ++i) {
    if (random.chance(part.density)) levels[i] = random.between(-13, 13);
    if (part.has_history && random.chance(0.3F)) {
      history.magnitude[i] = static_cast<std::uint8_t>(random.below(60));
      history.signed_level[i] = static_cast<std::int8_t>(random.between(-50, 50));
    }
  }
  TensorWalk sender = walk_of(part.shape, history, part.setting);
  const auto written = std::make_unique<Contexts>();
  BinEncoder encoder;
  check_equal(code_part(EncodedBins<>{encoder}, *written, sender, Given{levels}), levels);
  const std::vector<std::uint8_t> payload = encoder.finish();

  TensorWalk receiver = walk_of(part.shape, history, part.setting);
  const auto read = std::make_unique<Contexts>();
  BinDecoder decoder(payload);
  check_equal(code_part(DecodedBins<>{decoder}, *read, receiver, Unknown{}), levels);
  check_equal(decoder.check_end(), Status::kOk);
  check_equal(receiver.row_scale(), sender.row_scale());
  check_equal(receiver.path().state(), sender.path().state());
}

template <class Contexts>
void check_all_come_back(std::uint64_t seed) {
  Random random(seed);
  constexpr TensorShape kShapes[] = {{1, 1},  {1, 2},  {1, 31}, {1, 32}, {1, 33},  {1, 63}, {1, 64},
                                     {1, 65}, {1, 97}, {70, 1}, {40, 5}, {3, 128}, {9, 97}};
  for (const TensorShape& shape : kShapes) {
    for (const float density : {0.0F, 0.01F, 0.05F, 0.5F, 1.0F}) {
      for (const std::int32_t scale : {kSparseScale, kFirstRowScale, kDenseScale}) {
        for (const bool is_dependent : {false, true}) {
          check_comes_back<Contexts>({shape, {0, scale, is_dependent}, density, false}, random);
          check_comes_back<Contexts>({shape, {0, scale, is_dependent}, density, true}, random);
        }
      }
    }
  }
}

void test_blocks_of_any_density_come_back() {
  check_all_come_back<FastContexts>(152);
  check_all_come_back<MixedContexts>(153);
}

// One level in a sparse block, anywhere in a block of any length.
void test_every_position_of_a_sparse_block_comes_back() {
  for (std::size_t n_levels = 1; n_levels <= 64; ++n_levels) {
    for (std::size_t at = 0; at < n_levels; ++at) {
      History history(n_levels);
      const TensorShape shape{1, static_cast<std::uint32_t>(n_levels)};
      FastContexts written;
      FastContexts read;
      BinEncoder encoder;
      const Levels sent = one_level(n_levels, at, 1);
      TensorWalk sender = walk_of(shape, history);
      check_equal(code_part(EncodedBins<>{encoder}, written, sender, Given{sent}), sent);
      const std::vector<std::uint8_t> payload = encoder.finish();
      BinDecoder decoder(payload);
      TensorWalk receiver = walk_of(shape, history);
      check_equal(code_part(DecodedBins<>{decoder}, read, receiver, Unknown{}), sent);
    }
  }
}

// Levels picked one by one are coded like levels that are known before the block.
void test_live_levels_are_coded_like_given_ones() {
  Random random(154);
  for (const TensorShape& shape : {TensorShape{1, 300}, TensorShape{9, 97}, TensorShape{2, 128}}) {
    Levels levels(shape.n_levels());
    for (std::int32_t& level : levels)
      level = random.chance(0.3F) ? random.between(-13, 13) : 0;
    History history(levels.size());
    std::fill(history.magnitude.begin(), history.magnitude.end(), std::uint8_t{2});
    const auto payload_of = [&](auto chooser) {
      FastContexts contexts;
      TensorWalk walk = walk_of(shape, history, {0, kDenseScale, false});
      BinEncoder encoder;
      check_equal(code_part(EncodedBins<>{encoder}, contexts, walk, chooser), levels);
      return encoder.finish();
    };
    check_equal(payload_of(Live{Given{levels}}), payload_of(Given{levels}));
  }
}

// A block of a sparse part makes the next one dense as soon as the row scale says so.
void test_row_scale_ends_sparse_blocks() {
  Levels levels(128, 0);
  std::fill(levels.begin(), levels.begin() + 64, 2);
  History history(128);
  TensorWalk walk = walk_of({1, 128}, history);
  check(walk.block_features(0, 64).is_sparse, "a sparse block");
  Recorder recorder;
  FastContexts contexts;
  code_part(RecordedBins<>{recorder}, contexts, walk, Given{levels});
  check(!walk.block_features(64, 128).is_sparse, "a dense block");
}

}  // namespace
}  // namespace fl_deepcabac::testing

int main() {
  using namespace fl_deepcabac::testing;
  return run_tests({
      {"sparse_block_by_hand", test_sparse_block_by_hand},
      {"short_sparse_block_by_hand", test_short_sparse_block_by_hand},
      {"dense_block_codes_level_by_level", test_dense_block_codes_level_by_level},
      {"blocks_of_any_density_come_back", test_blocks_of_any_density_come_back},
      {"every_position_of_a_sparse_block_comes_back",
       test_every_position_of_a_sparse_block_comes_back},
      {"live_levels_are_coded_like_given_ones", test_live_levels_are_coded_like_given_ones},
      {"row_scale_ends_sparse_blocks", test_row_scale_ends_sparse_blocks},
  });
}
