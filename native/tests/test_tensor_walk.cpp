// SPDX-License-Identifier: Apache-2.0
// Compares the walk with matrices worked out by hand from spec 7.2, and its ways with each other.
#include "fl_deepcabac/tensor_walk.hpp"

#include <algorithm>
#include <cstdlib>
#include <utility>
#include <vector>

#include "check.hpp"
#include "first_level.hpp"
#include "random.hpp"
#include "walk_checks.hpp"
#include "walk_setting.hpp"

namespace fl_deepcabac::testing {
namespace {

void test_joined_columns_by_hand() {
  const std::pair<std::uint32_t, std::uint32_t> cases[] = {{1, 96},
                                                           {2, 96},
                                                           {5, 100},
                                                           {7, 98},
                                                           {32, 96},
                                                           {33, 99},
                                                           {47, 141},
                                                           {48, 96},
                                                           {49, 98},
                                                           {64, 128},
                                                           {94, 188},
                                                           {95, 190},
                                                           {96, 96},
                                                           {97, 97},
                                                           {1000, 1000},
                                                           {0, 96},
                                                           {1U << 31, 1U << 31}};
  for (const auto& [n_columns, joined] : cases)
    check_equal(joined_columns(n_columns), joined);
}

// What an encoder's search says the neighbours are takes the place of what the walk holds, step by
// step or all at once.
void test_sight_replaces_the_neighbours() {
  for (const TensorShape& shape : {TensorShape{6, 20}, TensorShape{3, 80}}) {
    Random random(73);
    History history(shape.n_levels());
    TensorWalk found = walk_of(shape, history, {0, 64, true});
    found.prepare_block(0, 64, true);
    TensorWalk expected = walk_of(shape, history, {0, 64, true});
    expected.prepare_block(0, 64, true);
    auto cursor = expected.cursor(0, expected.path());
    LevelSight passed;
    for (std::size_t i = 0; i < 63; ++i) {
      const std::int32_t level = i % 9 == 5 ? 100 * random.between(-1, 1) : random.between(-2, 2);
      passed = passed.passed(place_of(level, cursor.quantizer()));
      if (level == 0) {
        cursor.pass_zero();
      } else {
        cursor.pass(level);
      }
      const auto size = [&](std::size_t index) {
        return static_cast<std::uint32_t>(std::abs(expected.place_before(index + 1)));
      };
      const LevelSight sight{.left = size(i),
                             .left_left = i == 0 ? 0 : size(i - 1),
                             .left_signum = signum_class(expected.place_before(i + 1))};
      check_equal(passed.left, sight.left);
      check_equal(passed.left_left, sight.left_left);
      check_equal(passed.left_signum, sight.left_signum);
      const LevelCursor<TrellisPath> seen(found.block_view(), i + 1, sight, cursor.path());
      check_features(seen.features(), cursor.features());
      check_equal(found.place_before(i + 1), 0);
      check_equal(found.path().state(), 0U);
    }
  }
}

// Places that are tried out are neighbours like those that were coded, clipped likewise.
void test_tried_places_are_seen_and_leave_the_path_alone() {
  History history(192);
  TensorWalk walk = walk_of({2, 96}, history, {0, 64, true});
  walk.prepare_block(0, 64, true);
  TensorWalk expected = walk_of({2, 96}, history, {0, 64, true});
  expected.prepare_block(0, 64, true);
  auto cursor = expected.cursor(10, PlainPath{});
  for (std::size_t i = 10; i < 30; ++i) {
    const std::int32_t level = i % 3 == 0 ? -100 : static_cast<std::int32_t>(i) - 9;
    walk.set_place(i, 2 * level);
    cursor.pass(level);
    check_equal(walk.place_before(i + 1), std::clamp(2 * level, -127, 127));
    check_features(walk.cursor(i + 1, PlainPath{}).features(), cursor.features());
    walk.set_place(i + 1, 7);
    walk.set_place(i + 1, 0);
  }
  check_equal(walk.path().state(), 0U);
}

void test_first_level_sees_nothing() {
  for (const TensorShape& shape : {TensorShape{1, 1}, TensorShape{4, 6}}) {
    History history(shape.n_levels());
    TensorWalk walk = walk_of(shape, history);
    walk.prepare_block(0, shape.n_levels(), true);
    check_features(walk.cursor(0, walk.path()).features(), first_level());
    TensorWalk next = walk_of(shape, history, {0, kFirstRowScale, false});
    next.prepare_block(0, shape.n_levels(), true);
    check_features(next.cursor(0, next.path()).features(), first_level(kFirstRowScale));
  }
}

// Codes blocks whose levels are zero but for some; the next block is prepared.
void code_levels(TensorWalk& walk, std::size_t n_blocks,
                 const std::vector<std::pair<std::size_t, std::int32_t>>& levels) {
  for (std::size_t begin = 0; begin < kBlockLevels * n_blocks; begin += kBlockLevels) {
    for (const auto& [index, level] : levels) {
      if (index >= begin && index < begin + kBlockLevels) walk.set_place(index, 2 * level);
    }
    walk.end_block(begin, begin + kBlockLevels, true);
  }
  const std::size_t begin = kBlockLevels * n_blocks;
  walk.prepare_block(begin, std::min(begin + kBlockLevels, walk.n_levels()), true);
}

// Columns 40 to 42 of rows of 96: 1 -2 0 / 0 3 1 / 0 0 -1. Three blocks are coded before the one
// that holds the last row's levels. Rows: the first block has a mean of 6 / 64 half steps, 12, of
// which the scale takes 7 * 12 >> 3 = 10; the second one holds zeros, so 10 + (7 * -10 >> 3) = 1;
// the third one has a mean of 8 / 64, 16, so 1 + (7 * 15 >> 3) = 14.
void test_matrix_by_hand() {
  History history(288);
  history.magnitude[234] = 40;     // 48 / 32 levels
  history.signed_level[234] = -9;  // reaches the thresholds 2 and 8
  history.magnitude[233] = 3;
  TensorWalk walk = walk_of({3, 96}, history);
  code_levels(walk, 3, {{40, 1}, {41, -2}, {137, 3}, {138, 1}});
  check_equal(walk.row_scale(), 14);
  const BlockFeatures block = walk.block_features(192, 256);
  check(block.left_coded && block.up_coded, "coded neighbours");
  check_equal(block.activity_class, 1U);  // 43 / 32
  check(!block.is_sparse, "43 and eight times 14 to promise levels");

  // Up = 2 * 2 + 6 + 0. Column 42: 256 >> 4 = 16. (16 + (42 >> 3) + (130 >> 3)) >> 2 = 9.
  const LevelFeatures last = walk.cursor(234, walk.path()).features();
  check_equal(last.left_class, 0U);
  check_equal(last.up_class, 5U);
  check_equal(last.spatial_class, 7U);
  check_equal(last.magnitude_class, 6U);  // of (48 + 9) >> 3 = 7
  check_equal(last.left_signum, 1U);
  check_equal(last.up_signum, 2U);
  check_equal(last.history_class, 12U);
  check_equal(last.sign_class, 2U);
  check_equal(last.column_class, 5U);  // of 4
  check_equal(last.row_class, 5U);     // of 5
  check_equal(last.around_class, 4U);  // of 3 + 0

  // Before it: up = 2 * 6 + 0 + 2, column 41: 512 >> 4 = 32, then 32 + ((768 - 32) >> 4) = 78;
  // (78 + 5 + (182 >> 3)) >> 2 = 26.
  const LevelFeatures before = walk.cursor(233, walk.path()).features();
  check_equal(before.up_class, 6U);  // of 7
  check_equal(before.spatial_class, 10U);
  check_equal(before.column_class, 9U);     // of 19
  check_equal(before.magnitude_class, 4U);  // of (3 + 26) >> 3 = 3
  walk.set_place(233, -4);
  const LevelFeatures beside = walk.cursor(234, walk.path()).features();
  check_equal(beside.left_class, 5U);  // of 2 * 4 / 2
  check_equal(beside.left_signum, 0U);
  check_equal(beside.spatial_class, 8U);  // of (16 + 5 + 16 + (104 >> 3)) >> 2 = 12
}

// 32 rows of 3 are joined: "one row up" is 96 levels before, and columns are counted to 96.
void test_joined_rows_by_hand() {
  History history(150);
  TensorWalk walk = walk_of({50, 3}, history);
  code_levels(walk, 1, {{5, 2}});
  check_equal(walk.row_scale(), 7);  // of a mean of 128 * 4 / 64 = 8
  check(walk.block_features(64, 128).is_sparse, "eight times 7 to promise few levels");
  // At 101: up = 2 * 4, column 5 = 512 >> 4: (32 + (21 >> 3) + (104 >> 3)) >> 2 = 11.
  const LevelFeatures below = walk.cursor(101, walk.path()).features();
  check_equal(below.up_signum, 2U);
  check_equal(below.up_class, 5U);
  check_equal(below.column_class, 7U);  // of 8
  check_equal(below.spatial_class, 7U);
  // Three levels on, in the same column of the tensor: nothing of both.
  const LevelFeatures next = walk.cursor(104, walk.path()).features();
  check_equal(next.up_signum, 1U);
  check_equal(next.up_class, 0U);
  check_equal(next.column_class, 0U);
  check_equal(next.spatial_class, 0U);  // 2 >> 2
}

// A level 4 in a block: its column scale is 8 * 128 >> 4 = 64, the row scale 7 * 16 >> 3 = 14; and
// 14 + (7 * -14 >> 3) = 1 behind a coded block of zeros.
void test_scales_by_hand() {
  History history(192);
  TensorWalk walk = walk_of({2, 96}, history);
  code_levels(walk, 1, {{63, 4}});
  check(walk.block_features(64, 128).left_coded, "the block before to be coded");
  check(!walk.block_features(64, 128).up_coded, "columns 0 to 31 to hold nothing");
  check_equal(walk.row_scale(), 14);
  check_equal(walk.cursor(74, walk.path()).features().row_class, 5U);  // of 42 >> 3
  walk.end_block(64, 128, true);
  walk.prepare_block(128, 192, true);
  check(walk.block_features(128, 192).up_coded, "the row above to hold a level");
  check_equal(walk.row_scale(), 1);
  check_equal(walk.cursor(159, walk.path()).features().row_class, 0U);
  check_equal(walk.cursor(159, walk.path()).features().column_class, 9U);  // of 16
  check_equal(walk.cursor(158, walk.path()).features().column_class, 0U);
}

void test_blocks_that_are_not_coded_leave_the_scales_alone() {
  History history(192);
  TensorWalk walk = walk_of({3, 96}, history);
  for (std::size_t i = 0; i < 64; ++i)
    walk.set_place(i, 10);
  walk.end_block(0, 64, true);
  walk.prepare_block(64, 128, true);
  const LevelFeatures before = walk.cursor(96, walk.path()).features();
  walk.end_block(64, 128, false);
  walk.prepare_block(128, 192, true);
  const LevelFeatures after = walk.cursor(144, walk.path()).features();
  check_equal(before.row_class, 15U);    // of 3 * 1120 >> 3 = 420, beyond the last class
  check_equal(before.column_class, 9U);  // of 80 >> 2
  check(before.row_class > 0 && before.column_class > 0, "scales from the coded block");
  check_equal(after.row_class, before.row_class);
  check_equal(after.column_class, before.column_class);
  check(!walk.block_features(128, 192).left_coded, "the block before not to be coded");
}

}  // namespace
}  // namespace fl_deepcabac::testing

int main() {
  using namespace fl_deepcabac::testing;
  return run_tests({
      {"joined_columns_by_hand", test_joined_columns_by_hand},
      {"tried_places_are_seen_and_leave_the_path_alone",
       test_tried_places_are_seen_and_leave_the_path_alone},
      {"joined_rows_by_hand", test_joined_rows_by_hand},
      {"sight_replaces_the_neighbours", test_sight_replaces_the_neighbours},
      {"first_level_sees_nothing", test_first_level_sees_nothing},
      {"matrix_by_hand", test_matrix_by_hand},
      {"scales_by_hand", test_scales_by_hand},
      {"blocks_that_are_not_coded_leave_the_scales_alone",
       test_blocks_that_are_not_coded_leave_the_scales_alone},
  });
}
