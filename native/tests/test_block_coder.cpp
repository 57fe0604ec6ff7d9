// SPDX-License-Identifier: Apache-2.0
#include "fl_deepcabac/block_coder.hpp"

#include <algorithm>
#include <memory>
#include <vector>

#include "check.hpp"
#include "fl_deepcabac/level_syntax.hpp"
#include "fl_deepcabac/mixed_contexts.hpp"
#include "random.hpp"
#include "slow_walk.hpp"

namespace fl_deepcabac::testing {
namespace {

using Levels = std::vector<std::int32_t>;

// With no history a row scale of 0 makes blocks sparse, and one of a step makes them dense.
constexpr std::int32_t kSparseScale = 0;
constexpr std::int32_t kDenseScale = 256;

bool any_level(std::size_t begin, std::size_t end, const BlockFeatures& /*block*/,
               std::span<std::int32_t> levels) {
  return std::any_of(levels.data() + begin, levels.data() + end,
                     [](std::int32_t level) { return level != 0; });
}

// Records bins instead of coding them.
struct RecordedBins {
  std::vector<int>& coder;

  template <class Estimate>
  bool code(Estimate /*estimate*/, bool bin) {
    coder.push_back(bin ? 1 : 0);
    return bin;
  }
  std::uint32_t code_bypass(std::uint32_t value, int /*n_bins*/) { return value; }
};

std::vector<int> bins_of(Levels levels, std::int32_t row_scale) {
  History history(levels.size());
  TensorWalk walk =
      walk_of({1, static_cast<std::uint32_t>(levels.size())}, history, {0, row_scale, false});
  const auto contexts = std::make_unique<FastContexts>();
  std::vector<int> recorded;
  RecordedBins bins{recorded};
  code_blocks(bins, *contexts, walk, any_level, std::span(levels));
  return recorded;
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
  EncodedBins encoded{encoder};
  Levels sent = levels;
  code_blocks(encoded, *written, sender, any_level, std::span(sent));
  check_equal(sent, levels);
  const std::vector<std::uint8_t> payload = encoder.finish();

  TensorWalk receiver = walk_of(part.shape, history, part.setting);
  const auto read = std::make_unique<Contexts>();
  BinDecoder decoder(payload);
  DecodedBins decoded{decoder};
  Levels received(levels.size(), 0);
  const auto unknown = [](auto&&...) { return false; };
  code_blocks(decoded, *read, receiver, unknown, std::span(received));
  check_equal(received, levels);
  check_equal(decoder.check_end(), Status::kOk);
  check_equal(receiver.row_scale(), sender.row_scale());
  check_equal(receiver.trellis_state(), sender.trellis_state());
}

template <class Contexts>
void check_all_come_back(std::uint64_t seed) {
  Random random(seed);
  constexpr TensorShape kShapes[] = {{1, 1},  {1, 2},  {1, 31}, {1, 32}, {1, 33},  {1, 63}, {1, 64},
                                     {1, 65}, {1, 97}, {70, 1}, {40, 5}, {3, 128}, {9, 69}};
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
      EncodedBins encoded{encoder};
      Levels sent = one_level(n_levels, at, 1);
      TensorWalk sender = walk_of(shape, history);
      code_blocks(encoded, written, sender, any_level, std::span(sent));
      const std::vector<std::uint8_t> payload = encoder.finish();
      BinDecoder decoder(payload);
      DecodedBins decoded{decoder};
      Levels received(n_levels, 0);
      TensorWalk receiver = walk_of(shape, history);
      code_blocks(decoded, read, receiver, [](auto&&...) { return false; }, std::span(received));
      check_equal(received, sent);
    }
  }
}

// A block of a sparse part makes the next one dense as soon as the row scale says so.
void test_row_scale_ends_sparse_blocks() {
  Levels levels(128, 0);
  std::fill(levels.begin(), levels.begin() + 64, 2);
  History history(128);
  TensorWalk walk = walk_of({1, 128}, history);
  check(walk.block_features(0, 64).is_sparse, "a sparse block");
  std::vector<int> recorded;
  RecordedBins bins{recorded};
  FastContexts contexts;
  code_blocks(bins, contexts, walk, any_level, std::span(levels));
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
      {"row_scale_ends_sparse_blocks", test_row_scale_ends_sparse_blocks},
  });
}
