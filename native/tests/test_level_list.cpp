// SPDX-License-Identifier: Apache-2.0
#include "fl_deepcabac/level_list.hpp"

#include <algorithm>
#include <utility>
#include <vector>

#include "check.hpp"
#include "level_lists.hpp"
#include "random.hpp"

namespace fl_deepcabac::testing {
namespace {

using Levels = std::vector<std::int32_t>;
// Position in the part, and place in half steps.
using Places = std::vector<std::pair<std::size_t, std::int32_t>>;

Places places_of(const LevelList& list, std::size_t n_levels, TrellisPath& path) {
  Places places;
  list.for_each_block([&](const BlockList& block, std::size_t begin) {
    const std::size_t length = std::min(kBlockLevels, n_levels - begin);
    block.for_each_place(length, path, [&](std::size_t i, std::int32_t place) {
      places.emplace_back(begin + i, place);
    });
  });
  return places;
}

void test_lists_by_hand() {
  Levels levels(130, 0);
  levels[0] = 3;
  levels[63] = -1;
  levels[129] = 7;
  const LevelList list = list_of(levels);
  check_equal(list.n_nonzero(), 3U);
  check_equal(Levels(list.levels().begin(), list.levels().end()), Levels{3, -1, 7});
  std::vector<std::uint64_t> masks;
  std::vector<std::size_t> begins;
  list.for_each_block([&](const BlockList& block, std::size_t begin) {
    masks.push_back(block.nonzero);
    begins.push_back(begin);
  });
  check_equal(masks, std::vector<std::uint64_t>{(std::uint64_t{1} << 63) | 1, 0, 2});
  check_equal(begins, std::vector<std::size_t>{0, 64, 128});
}

void test_levels_come_back() {
  Random random(201);
  for (const std::size_t n_levels : {0U, 1U, 63U, 64U, 65U, 128U, 1000U}) {
    for (const float density : {0.0F, 0.02F, 0.5F, 1.0F}) {
      Levels levels(n_levels, 0);
      std::size_t n_nonzero = 0;
      for (std::int32_t& level : levels) {
        if (random.chance(density)) level = random.between(-9, 9);
        n_nonzero += level != 0 ? 1U : 0U;
      }
      const LevelList list = list_of(levels);
      check_equal(list.n_nonzero(), n_nonzero);
      check_equal(levels_of(list, n_levels), levels);
    }
  }
}

void test_zeros_are_as_many_blocks_as_levels_need() {
  for (const std::size_t n_levels : {0U, 1U, 64U, 65U, 128U, 129U}) {
    const LevelList list = LevelList::zeros(n_levels);
    std::size_t n_blocks = 0;
    list.for_each_block([&](const BlockList& block, std::size_t begin) {
      check_equal(block.nonzero, std::uint64_t{0});
      check_equal(begin, 64 * n_blocks);
      ++n_blocks;
    });
    check_equal(n_blocks, (n_levels + 63) / 64);
    check_equal(list.n_nonzero(), 0U);
    check_equal(levels_of(list, n_levels), Levels(n_levels, 0));
  }
}

// Twice the levels without a trellis. With one the states are 0, 4, 6, 7, 17, 26, 13, 16, 8, 4, 2,
// 1 and 22 behind the last level (spec 5.6), and odd ones take half a step off.
void test_places_by_hand() {
  const Levels levels{1, 1, 1, 0, 0, 0, 5, -2, 0, 0, 0, -1};
  TrellisPath plain(false);
  check_equal(places_of(list_of(levels), levels.size(), plain),
              (Places{{0, 2}, {1, 2}, {2, 2}, {6, 10}, {7, -4}, {11, -2}}));
  check_equal(plain.state(), 0U);
  TrellisPath path(true);
  check_equal(places_of(list_of(levels), levels.size(), path),
              (Places{{0, 2}, {1, 2}, {2, 2}, {6, 9}, {7, -4}, {11, -1}}));
  check_equal(path.state(), 22U);
}

// Across blocks, over runs of zeros of any length, and behind the last level.
void test_places_follow_the_path_level_by_level() {
  Random random(202);
  for (int round = 0; round < 400; ++round) {
    const bool is_dependent = round % 2 == 1;
    Levels levels(random.below(300), 0);
    const float density = random.chance(0.5F) ? 0.05F : 0.6F;
    for (std::int32_t& level : levels)
      level = random.chance(density) ? random.between(-20, 20) : 0;
    TrellisPath slow(is_dependent);
    TrellisPath path(is_dependent);
    for (int i = 0; i < 5; ++i) {  // begins in any state
      const std::int32_t level = random.between(0, 1);
      slow.advance(level);
      path.advance(level);
    }
    Places expected;
    for (std::size_t i = 0; i < levels.size(); ++i) {
      if (levels[i] != 0) expected.emplace_back(i, place_of(levels[i], slow.quantizer()));
      slow.advance(levels[i]);
    }
    check_equal(places_of(list_of(levels), levels.size(), path), expected);
    check_equal(path.state(), slow.state());
  }
}

}  // namespace
}  // namespace fl_deepcabac::testing

int main() {
  using namespace fl_deepcabac::testing;
  return run_tests({
      {"lists_by_hand", test_lists_by_hand},
      {"levels_come_back", test_levels_come_back},
      {"zeros_are_as_many_blocks_as_levels_need", test_zeros_are_as_many_blocks_as_levels_need},
      {"places_by_hand", test_places_by_hand},
      {"places_follow_the_path_level_by_level", test_places_follow_the_path_level_by_level},
  });
}
