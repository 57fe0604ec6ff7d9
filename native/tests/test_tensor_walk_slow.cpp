// SPDX-License-Identifier: Apache-2.0
// Compares the walk with the plain decoder's, which is slow and written from spec 7.2 alone.
#include <algorithm>
#include <vector>

#include "check.hpp"
#include "fl_deepcabac/tensor_walk.hpp"
#include "plain_walk.hpp"
#include "random.hpp"
#include "walk_checks.hpp"
#include "walk_setting.hpp"

namespace fl_deepcabac::testing {
namespace {

using Levels = std::vector<std::int32_t>;

// How a block is passed: level by level, by one cursor; or only where levels are not zero, by a
// new one each, as sparse blocks are.
enum class Passing : std::uint8_t { kAll, kNonzero };

LevelFeatures features_of(const PlainLevelClasses& plain) {
  const auto narrow = [](std::size_t number) { return static_cast<std::uint32_t>(number); };
  return {.quantizer_index = narrow(plain.quantizer),
          .history_class = narrow(plain.history),
          .spatial_class = narrow(plain.spatial),
          .magnitude_class = narrow(plain.magnitude),
          .sign_class = narrow(plain.sign),
          .left_signum = narrow(plain.left_signum),
          .signed_class = narrow(plain.signed_average),
          .left_class = narrow(plain.left),
          .up_class = narrow(plain.up),
          .column_class = narrow(plain.column),
          .row_class = narrow(plain.row),
          .around_class = narrow(plain.around),
          .around_sign_class = narrow(plain.around_sign),
          .up_signum = narrow(plain.up_signum)};
}
BlockFeatures features_of(const PlainBlockClasses& plain) {
  return {.left_coded = plain.left,
          .up_coded = plain.up,
          .activity_class = static_cast<std::uint32_t>(plain.activity),
          .is_sparse = plain.is_sparse};
}

PlainPartStart start_of(TensorShape shape, const Setting& setting, const History& history) {
  return {.shape = {shape.n_rows, shape.n_columns},
          .position = setting.first_column,
          .is_dependent = setting.is_dependent,
          .magnitude_codes = {history.magnitude.begin(), history.magnitude.end()},
          .signed_codes = {history.signed_level.begin(), history.signed_level.end()}};
}

// What the profile "fast" asks for needs no more than the smaller preparation.
void check_fast_features(const LevelCursor<TrellisPath>& found, const LevelFeatures& expected) {
  check_equal(found.quantizer(), expected.quantizer_index);
  check_equal(found.history(), expected.history_class);
  check_equal(found.spatial(), expected.spatial_class);
  check_equal(found.magnitude(), expected.magnitude_class);
  check_equal(found.sign(), expected.sign_class);
  check_equal(found.left_sign(), expected.left_signum);
}

// The levels behind the block, which an encoder's search looks ahead to before it knows them: as if
// they were zero.
void check_lookahead(LevelCursor<TrellisPath> cursor, const PlainWalk& slow, std::size_t begin,
                     std::size_t end, bool all_classes) {
  for (std::size_t i = begin; i < end; ++i) {
    LevelFeatures expected = features_of(slow.level_classes(i));
    expected.quantizer_index = cursor.quantizer();  // the slow walk's path ends with the block
    check_fast_features(cursor, expected);
    if (all_classes) check_features(cursor.features(), expected);
    cursor.pass_zero();
  }
}

void pass_all(TensorWalk& walk, PlainWalk& slow, std::size_t begin, const Levels& levels,
              bool all_classes) {
  const BlockView view = walk.block_view();
  LevelCursor<TrellisPath> cursor(view, 0, view.sight(0), walk.path());
  for (std::size_t i = 0; i < levels.size(); ++i) {
    const LevelFeatures expected = features_of(slow.level_classes(begin + i));
    check_bounds(expected);
    check_fast_features(cursor, expected);
    check_fast_features(walk.cursor(begin + i, cursor.path()), expected);
    if (all_classes) check_features(cursor.features(), expected);
    slow.set_level(begin + i, levels[i]);
    if (levels[i] == 0) {
      cursor.pass_zero();
    } else {
      cursor.pass(levels[i]);
    }
  }
  walk.set_path(cursor.path());
  if (!walk.path().is_dependent()) return;  // only the search through the trellis looks ahead
  const std::size_t end = begin + levels.size();
  check_lookahead(cursor, slow, end, std::min(end + kLookahead, walk.n_levels()), all_classes);
}

void pass_nonzero(TensorWalk& walk, PlainWalk& slow, std::size_t begin, const Levels& levels,
                  bool all_classes) {
  std::size_t done = 0;
  for (std::size_t i = 0; i < levels.size(); ++i) {
    if (levels[i] != 0) {
      walk.skip_zeros(i - done);
      auto cursor = walk.cursor(begin + i, walk.path());
      check_fast_features(cursor, features_of(slow.level_classes(begin + i)));
      if (all_classes)
        check_features(cursor.features(), features_of(slow.level_classes(begin + i)));
      cursor.pass(levels[i]);
      walk.set_path(cursor.path());
      done = i + 1;
    }
    slow.set_level(begin + i, levels[i]);
  }
  walk.skip_zeros(levels.size() - done);
}

// One block of both walks.
void compare_block(TensorWalk& walk, PlainWalk& slow, std::size_t begin, std::size_t end,
                   std::int32_t largest, Random& random) {
  check_features(walk.block_features(begin, end), features_of(slow.block_classes(begin, end)));
  const bool is_coded = random.chance(0.7F);
  const auto passing = random.chance(0.3F) ? Passing::kNonzero : Passing::kAll;
  const float density = passing == Passing::kNonzero ? 0.05F : 0.4F;
  Levels levels(end - begin, 0);
  for (std::int32_t& level : levels)
    level = random.chance(density) ? random.between(-largest, largest) : 0;
  const bool all_classes = random.chance(0.8F);
  // An encoder looks at blocks that turn out not to be worth coding, too.
  if (is_coded || random.chance(0.5F)) walk.prepare_block(begin, end, all_classes);
  if (!is_coded) {
    walk.skip_zeros(end - begin);
    for (std::size_t i = begin; i < end; ++i)
      slow.set_level(i, 0);
  } else if (passing == Passing::kAll) {
    pass_all(walk, slow, begin, levels, all_classes);
  } else {
    pass_nonzero(walk, slow, begin, levels, all_classes);
  }
  walk.end_block(begin, end, is_coded);
  slow.end_block(begin, end, is_coded);
  check_equal(std::int64_t{walk.row_scale()}, slow.row());
  check_equal(std::int64_t{walk.path().state()}, slow.trellis_state());
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
  std::int64_t row = setting.row_scale;
  PlainWalk slow(start_of(shape, setting, history), row);
  check_equal(walk.n_levels(), n_levels);
  check_equal(walk.path().is_dependent(), setting.is_dependent);
  for (std::size_t begin = 0; begin < n_levels; begin += kBlockLevels) {
    const std::size_t end = std::min(begin + kBlockLevels, n_levels);
    compare_block(walk, slow, begin, end, largest, random);
  }
}

constexpr TensorShape kShapes[] = {{1, 1},  {1, 2},  {1, 63}, {1, 64},  {1, 65},  {1, 300},
                                   {5, 1},  {70, 1}, {4, 2},  {100, 2}, {2, 3},   {3, 5},
                                   {40, 7}, {3, 64}, {5, 65}, {9, 63},  {4, 129}, {2, 200},
                                   {9, 48}, {4, 95}, {4, 96}, {4, 97}};

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
      std::uint32_t width = shape.n_columns;
      while (width < 96)
        width += shape.n_columns;
      const Setting setting{begin % width, random.between(0, 16000), random.chance(0.5F)};
      compare_with_slow_walk(shape, setting, n_levels, 3, random);
    }
  }
}

// The walk keeps a window only: of some thousand levels, or of one row where that is longer.
void test_window_slides_along_long_parts() {
  Random random(74);
  for (const std::uint32_t n_columns : {1U, 95U, 96U, 4095U, 4096U, 4097U, 5000U, 30000U}) {
    for (const std::uint32_t first_column : {0U, 37U}) {
      const Setting setting{first_column, 64, random.chance(0.5F)};
      const TensorShape shape{60000 / n_columns, n_columns};
      compare_with_slow_walk(shape, setting, 20000, 5, random);
    }
  }
  compare_with_slow_walk({1, 20000}, {0, 64, true}, 20000, 5, random);
  compare_with_slow_walk({20000, 1}, {0, 64, false}, 20000, 1 << 24, random);
}

}  // namespace
}  // namespace fl_deepcabac::testing

int main() {
  using namespace fl_deepcabac::testing;
  return run_tests({
      {"walk_equals_the_slow_walk_on_every_kind_of_shape",
       test_walk_equals_the_slow_walk_on_every_kind_of_shape},
      {"walk_equals_the_slow_walk_on_parts", test_walk_equals_the_slow_walk_on_parts},
      {"window_slides_along_long_parts", test_window_slides_along_long_parts},
  });
}
