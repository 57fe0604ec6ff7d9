// SPDX-License-Identifier: Apache-2.0
// Compares the walk with a slow one written from spec 7.2 alone, and with a matrix worked out by
// hand.
#include "fl_deepcabac/tensor_walk.hpp"

#include "check.hpp"
#include "first_level.hpp"
#include "random.hpp"
#include "slow_walk.hpp"

namespace fl_deepcabac::testing {
namespace {

void check_features(const LevelFeatures& found, const LevelFeatures& expected) {
  check_equal(found.quantizer_index, expected.quantizer_index);
  check_equal(found.history_class, expected.history_class);
  check_equal(found.spatial_class, expected.spatial_class);
  check_equal(found.magnitude_class, expected.magnitude_class);
  check_equal(found.sign_class, expected.sign_class);
  check_equal(found.left_signum, expected.left_signum);
  check_equal(found.signed_class, expected.signed_class);
  check_equal(found.left_class, expected.left_class);
  check_equal(found.up_class, expected.up_class);
  check_equal(found.column_class, expected.column_class);
  check_equal(found.row_class, expected.row_class);
  check_equal(found.around_class, expected.around_class);
  check_equal(found.around_sign_class, expected.around_sign_class);
  check_equal(found.up_signum, expected.up_signum);
}

void check_features(const BlockFeatures& found, const BlockFeatures& expected) {
  check_equal(found.left_coded, expected.left_coded);
  check_equal(found.up_coded, expected.up_coded);
  check_equal(found.activity_class, expected.activity_class);
  check_equal(found.is_sparse, expected.is_sparse);
}

// Levels below their classes' bounds, or the context tables would be left.
void check_bounds(const LevelFeatures& level) {
  check(level.history_class < kHistoryClasses && level.spatial_class < kSpatialClasses &&
            level.magnitude_class < kMagnitudeClasses && level.sign_class < kSignClasses &&
            level.left_signum < kSignumClasses && level.signed_class < kSignedClasses &&
            level.left_class < kNearClasses && level.up_class < kNearClasses &&
            level.column_class < kScaleClasses && level.row_class < kScaleClasses &&
            level.around_class < kHistoryClasses && level.around_sign_class < kSignClasses &&
            level.up_signum < kSignumClasses,
        "classes below their bounds");
}

// One block of both walks.
void compare_block(TensorWalk& walk, SlowWalk& slow, std::size_t begin, std::size_t end,
                   std::int32_t largest, Random& random) {
  walk.begin_block(begin, end, true);
  check_features(walk.block_features(begin, end), slow.block_features(begin, end));
  const bool is_coded = random.chance(0.7F);
  for (std::size_t i = begin; is_coded && i < end; ++i) {
    const LevelFeatures found = walk.level(i).features();
    check_bounds(found);
    check_features(found, slow.level_features(i));
    const std::int32_t level = random.chance(0.6F) ? 0 : random.between(-largest, largest);
    walk.set_level(i, level);
    slow.set_level(i, level);
  }
  if (!is_coded) walk.skip_zeros(end - begin);
  walk.end_block(begin, end, is_coded);
  slow.end_block(begin, end, is_coded);
  check_equal(static_cast<std::uint32_t>(walk.row_scale()), slow.row_scale());
  check_equal(walk.trellis_state(), slow.trellis_state());
}

void compare_with_slow_walk(TensorShape shape, const Setting& setting, std::size_t n_levels,
                            std::int32_t largest, Random& random) {
  History history(n_levels);
  const bool is_quiet = random.chance(0.3F);
  for (std::size_t i = 0; i < n_levels; ++i) {
    if (is_quiet && random.chance(0.95F)) continue;
    history.magnitude[i] = static_cast<std::uint8_t>(random.below(random.chance(0.5F) ? 20 : 256));
    history.signed_level[i] = static_cast<std::int8_t>(random.between(-127, 127));
  }
  TensorWalk walk = walk_of(shape, history, setting);
  SlowWalk slow(shape, setting, history);
  check_equal(walk.n_levels(), n_levels);
  check_equal(walk.is_dependent(), setting.is_dependent);
  for (std::size_t begin = 0; begin < n_levels; begin += kBlockLevels) {
    const std::size_t end = std::min(begin + kBlockLevels, n_levels);
    compare_block(walk, slow, begin, end, largest, random);
  }
}

constexpr TensorShape kShapes[] = {{1, 1},  {1, 2},  {1, 63}, {1, 64},  {1, 65},  {1, 300},
                                   {5, 1},  {70, 1}, {4, 2},  {100, 2}, {2, 3},   {3, 5},
                                   {40, 7}, {3, 64}, {5, 65}, {9, 63},  {4, 129}, {2, 200},
                                   {4, 67}, {4, 68}, {4, 69}, {4, 70}};

void test_walk_equals_the_slow_walk_on_every_kind_of_shape() {
  Random random(71);
  for (const TensorShape& shape : kShapes) {
    for (const std::int32_t largest : {1, 3, 127, 1 << 24}) {
      for (const bool is_dependent : {false, true})
        compare_with_slow_walk(shape, {0, 64, is_dependent}, shape.n_levels(), largest, random);
    }
  }
}

// A part begins in the middle of a row and sees nothing of the levels before it.
void test_walk_equals_the_slow_walk_on_parts() {
  Random random(72);
  for (const TensorShape& shape : kShapes) {
    for (int i = 0; i < 4; ++i) {
      const auto n_tensor = static_cast<std::uint32_t>(shape.n_levels());
      const std::uint32_t begin = random.below(n_tensor);
      const std::size_t n_levels = 1 + random.below(n_tensor - begin);
      const Setting setting{begin % shape.n_columns, random.between(0, 16000), random.chance(0.5F)};
      compare_with_slow_walk(shape, setting, n_levels, 3, random);
    }
  }
}

// What an encoder's search says the neighbours are takes the place of what the walk holds.
void test_sight_replaces_the_neighbours() {
  for (const TensorShape& shape : {TensorShape{6, 20}, TensorShape{3, 80}}) {
    Random random(73);
    History history(shape.n_levels());
    TensorWalk found = walk_of(shape, history, {0, 64, true});
    found.begin_block(0, 64, true);
    TensorWalk expected = walk_of(shape, history, {0, 64, true});
    expected.begin_block(0, 64, true);
    for (std::size_t i = 0; i < 63; ++i) {
      const std::int32_t level = random.between(-2, 2);
      expected.set_level(i, level);
      found.set_place(i, expected.place_before(i + 1));
      check_equal(found.trellis_state(), 0U);
      const auto size = [&](std::size_t index) {
        return static_cast<std::uint32_t>(std::abs(expected.place_before(index + 1)));
      };
      const LevelSight sight{.quantizer = quantizer_of(expected.trellis_state()),
                             .left = size(i),
                             .left_left = i == 0 ? 0 : size(i - 1),
                             .left_signum = signum_class(expected.place_before(i + 1)),
                             .near_up = expected.is_far() ? 0 : expected.up_near(i + 1)};
      check_features(found.level(i + 1, sight).features(), expected.level(i + 1).features());
    }
  }
}

void test_first_level_sees_nothing() {
  for (const TensorShape& shape : {TensorShape{1, 1}, TensorShape{4, 6}}) {
    History history(shape.n_levels());
    TensorWalk walk = walk_of(shape, history);
    walk.begin_block(0, shape.n_levels(), true);
    check_features(walk.level(0).features(), first_level());
    TensorWalk next = walk_of(shape, history, {0, kFirstRowScale, false});
    next.begin_block(0, shape.n_levels(), true);
    check_features(next.level(0).features(), first_level(kFirstRowScale));
  }
}

// Rows 1 -2 0 / 0 3 1 / 0 0 -1 after no history; at the last level: left = 2 * 0 + 0, up = 2 * 1 +
// 3 + 0.
void test_matrix_by_hand() {
  constexpr TensorShape kShape{3, 3};
  constexpr std::int32_t kLevels[] = {1, -2, 0, 0, 3, 1, 0, 0, -1};
  History history(9);
  history.magnitude[8] = 40;     // 48 / 32 levels
  history.signed_level[8] = -9;  // reaches the thresholds 2 and 8
  history.magnitude[7] = 3;
  TensorWalk walk = walk_of(kShape, history);
  walk.begin_block(0, 9, true);
  const BlockFeatures block = walk.block_features(0, 9);
  check(!block.left_coded && !block.up_coded, "nothing coded before");
  check_equal(block.activity_class, 1U);  // 43 / 32
  check(block.is_sparse, "43 and a row scale of 0 to promise few levels");
  for (std::size_t i = 0; i < 8; ++i)
    walk.set_level(i, kLevels[i]);

  const LevelFeatures last = walk.level(8).features();
  check_equal(last.left_class, 0U);
  check_equal(last.up_class, 5U);
  check_equal(last.spatial_class, 5U);  // 13 * 10 / 32 = 4, whose class is 5
  check_equal(last.left_signum, 1U);
  check_equal(last.up_signum, 2U);
  check_equal(last.history_class, 12U);
  check_equal(last.sign_class, 2U);
  check_equal(last.column_class, 0U);
  check_equal(last.row_class, 0U);

  const LevelFeatures middle = walk.level(4).features();  // left 0, 0; up -2, with 1 and 0
  check_equal(middle.left_class, 0U);
  check_equal(middle.up_class, 5U);
  check_equal(middle.up_signum, 0U);
  const LevelFeatures second =
      walk.level(2).features();  // left -2, 1; "up and right" is the first level
  check_equal(second.left_class, 5U);
  check_equal(second.left_signum, 0U);
  check_equal(second.up_class, 1U);
}

// After a coded block of one level 4 the row scale is 8 * 128 >> 5 = 32, its column's 8 * 128 >> 4
// = 64.
void test_scales_by_hand() {
  History history(128);
  TensorWalk walk = walk_of({2, 64}, history);
  walk.begin_block(0, 64, true);
  walk.set_level(63, 4);
  walk.end_block(0, 64, true);
  walk.begin_block(64, 128, true);
  check(walk.block_features(64, 128).left_coded, "the block before to be coded");
  check(walk.block_features(64, 128).up_coded, "the row above to hold a level");
  check_equal(walk.level(64 + 10).features().row_class, half_octave(3 * 32 >> 3));
  check_equal(walk.level(64 + 10).features().column_class, 0U);
  check_equal(walk.level(64 + 63).features().column_class, half_octave(8 * 64 >> 5));
}

void test_blocks_that_are_not_coded_leave_the_scales_alone() {
  History history(192);
  TensorWalk walk = walk_of({3, 64}, history);
  walk.begin_block(0, 64, true);
  for (std::size_t i = 0; i < 64; ++i)
    walk.set_level(i, 5);
  walk.end_block(0, 64, true);
  walk.begin_block(64, 128, true);
  const LevelFeatures before = walk.level(64).features();
  walk.end_block(64, 128, false);
  walk.begin_block(128, 192, true);
  const LevelFeatures after = walk.level(128).features();
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
      {"walk_equals_the_slow_walk_on_every_kind_of_shape",
       test_walk_equals_the_slow_walk_on_every_kind_of_shape},
      {"walk_equals_the_slow_walk_on_parts", test_walk_equals_the_slow_walk_on_parts},
      {"sight_replaces_the_neighbours", test_sight_replaces_the_neighbours},
      {"first_level_sees_nothing", test_first_level_sees_nothing},
      {"matrix_by_hand", test_matrix_by_hand},
      {"scales_by_hand", test_scales_by_hand},
      {"blocks_that_are_not_coded_leave_the_scales_alone",
       test_blocks_that_are_not_coded_leave_the_scales_alone},
  });
}
