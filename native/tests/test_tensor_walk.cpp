// SPDX-License-Identifier: Apache-2.0
// Compares the walk with a slow one written from spec 7.2 alone, and with a matrix worked out by
// hand.
#include "fl_deepcabac/tensor_walk.hpp"

#include <cstdlib>

#include "check.hpp"
#include "first_level.hpp"
#include "random.hpp"

namespace fl_deepcabac::testing {
namespace {

struct History {
  std::vector<std::uint8_t> magnitude;
  std::vector<std::int8_t> signed_level;

  explicit History(std::size_t n_levels) : magnitude(n_levels, 0), signed_level(n_levels, 0) {}
  HistoryView view() { return {magnitude, signed_level}; }
};

std::uint32_t capped(std::uint32_t value, std::uint32_t n_classes) {
  return std::min(half_octave(value), n_classes - 1);
}

// Spec 7.2 with signed indices and no shortcuts.
class SlowWalk {
 public:
  SlowWalk(TensorShape shape, const History& history)
      : shape_(shape),
        stride_(std::max<std::int64_t>(shape.n_columns, 2)),
        history_(history),
        levels_(shape.n_levels(), 0),
        column_(shape.n_columns, 0) {}

  void set_level(std::size_t i, std::int32_t level) { levels_[i] = std::clamp(level, -127, 127); }

  [[nodiscard]] LevelFeatures level_features(std::size_t index) const {
    const auto i = static_cast<std::int64_t>(index);
    const std::uint32_t left = 2 * M(i - 1) + M(i - 2);
    const std::uint32_t up = 2 * M(i - stride_) + M(i - stride_ - 1) + M(i - stride_ + 1);
    const std::uint32_t K = shape_.n_rows > 1 ? 8 * column_[index % shape_.n_columns] : 0;
    const std::uint32_t R = 3 * row_;
    const std::uint32_t spatial = (K + R + 26 * (left + up)) >> 5;
    const std::uint32_t a = average(i);
    const std::size_t before = index == 0 ? index : index - 1;
    const std::size_t after = index + 1 == levels_.size() ? index : index + 1;
    const int around = (history_.signed_level[before] + history_.signed_level[after]) / 2;
    return {.history_class = capped(a, 24),
            .spatial_class = capped(spatial, 16),
            .magnitude_class = capped((a + spatial) >> 3, 24),
            .sign_class = sign_class(history_.signed_level[index]),
            .left_signum = signum_class(L(i - 1)),
            .signed_class = signed_class(history_.signed_level[index]),
            .left_class = capped(left, 12),
            .up_class = capped(up, 12),
            .column_class = capped(K >> 5, 16),
            .row_class = capped(R >> 3, 16),
            .around_class = capped(average(static_cast<std::int64_t>(before)) +
                                       average(static_cast<std::int64_t>(after)),
                                   24),
            .around_sign_class = sign_class(around),
            .up_signum = signum_class(L(i - stride_))};
  }

  [[nodiscard]] BlockFeatures block_features(std::size_t begin, std::size_t end) const {
    const auto b = static_cast<std::int64_t>(begin);
    const auto e = static_cast<std::int64_t>(end);
    bool up = false;
    for (std::int64_t j = b - stride_; j <= std::min(e - stride_, b) - 1; ++j)
      up |= L(j) != 0;
    std::uint32_t codes = 0;
    for (std::size_t i = begin; i < end; ++i)
      codes += history_.magnitude[i];
    return {.left_coded = left_coded_, .up_coded = up, .activity_class = capped(codes >> 5, 8)};
  }

  void end_block(std::size_t begin, std::size_t end, bool is_coded) {
    left_coded_ = is_coded;
    if (!is_coded) return;
    for (std::size_t i = begin; i < end; ++i) {
      const auto scaled = static_cast<std::int32_t>(256 * M(static_cast<std::int64_t>(i)));
      const auto moved = [&](std::uint32_t scale, int rate) {
        const auto from = static_cast<std::int32_t>(scale);
        return static_cast<std::uint32_t>(from + ((scaled - from) >> rate));
      };
      row_ = moved(row_, 5);
      std::uint32_t& column = column_[i % shape_.n_columns];
      column = moved(column, 4);
    }
  }

 private:
  [[nodiscard]] std::int32_t L(std::int64_t i) const {
    return i < 0 ? 0 : levels_[static_cast<std::size_t>(i)];
  }
  [[nodiscard]] std::uint32_t M(std::int64_t i) const {
    return static_cast<std::uint32_t>(std::abs(L(i)));
  }
  [[nodiscard]] std::uint32_t average(std::int64_t i) const {
    return history_value(history_.magnitude[static_cast<std::size_t>(i)]);
  }
  [[nodiscard]] static std::uint32_t sign_class(int code) {
    std::uint32_t t = 0;
    for (const int threshold : {2, 8, 16, 32})
      t += std::abs(code) >= threshold ? 1U : 0U;
    return code >= 0 ? 4 + t : 4 - t;
  }
  [[nodiscard]] static std::uint32_t signed_class(int code) {
    const auto size = history_value(static_cast<std::uint32_t>(std::abs(code)));
    const std::uint32_t t = std::min(half_octave(size) / 2, 8U);
    return code >= 0 ? 8 + t : 8 - t;
  }

  TensorShape shape_;
  std::int64_t stride_;
  const History& history_;
  std::vector<std::int32_t> levels_;
  std::vector<std::uint32_t> column_;
  std::uint32_t row_ = 0;
  bool left_coded_ = false;
};

void check_features(const LevelFeatures& found, const LevelFeatures& expected) {
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

void compare_with_slow_walk(TensorShape shape, std::int32_t largest, Random& random) {
  History history(shape.n_levels());
  for (std::size_t i = 0; i < shape.n_levels(); ++i) {
    history.magnitude[i] = static_cast<std::uint8_t>(random.below(random.chance(0.5F) ? 20 : 256));
    history.signed_level[i] = static_cast<std::int8_t>(random.between(-127, 127));
  }
  TensorWalk walk(shape, history.view());
  SlowWalk slow(shape, history);
  check_equal(walk.n_levels(), shape.n_levels());
  for (std::size_t begin = 0; begin < shape.n_levels(); begin += kBlockLevels) {
    const std::size_t end = std::min(begin + kBlockLevels, shape.n_levels());
    walk.begin_block(begin, end);
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
    walk.end_block(begin, end, is_coded);
    slow.end_block(begin, end, is_coded);
  }
}

void test_walk_equals_the_slow_walk_on_every_kind_of_shape() {
  Random random(71);
  constexpr TensorShape kShapes[] = {{1, 1},  {1, 2},  {1, 63}, {1, 64},  {1, 65},  {1, 300},
                                     {5, 1},  {70, 1}, {4, 2},  {100, 2}, {2, 3},   {3, 5},
                                     {40, 7}, {3, 64}, {5, 65}, {9, 63},  {4, 129}, {2, 200}};
  for (const TensorShape& shape : kShapes) {
    for (const std::int32_t largest : {1, 3, 127, 1 << 24}) {
      compare_with_slow_walk(shape, largest, random);
    }
  }
}

void test_first_level_sees_nothing() {
  for (const TensorShape& shape : {TensorShape{1, 1}, TensorShape{4, 6}}) {
    History history(shape.n_levels());
    TensorWalk walk(shape, history.view());
    walk.begin_block(0, shape.n_levels());
    check_features(walk.level(0).features(), first_level());
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
  TensorWalk walk(kShape, history.view());
  walk.begin_block(0, 9);
  const BlockFeatures block = walk.block_features(0, 9);
  check(!block.left_coded && !block.up_coded, "nothing coded before");
  check_equal(block.activity_class, 1U);  // 43 / 32
  for (std::size_t i = 0; i < 8; ++i)
    walk.set_level(i, kLevels[i]);

  const LevelFeatures last = walk.level(8).features();
  check_equal(last.left_class, 0U);
  check_equal(last.up_class, 5U);
  check_equal(last.spatial_class, 5U);  // 26 * 5 / 32 = 4, whose class is 5
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

// After a coded block of one column 4, the row scale is 4 * 256 >> 5 = 32, the column's 4 * 256 >>
// 4 = 64.
void test_scales_by_hand() {
  History history(128);
  TensorWalk walk({2, 64}, history.view());
  walk.begin_block(0, 64);
  walk.set_level(63, 4);
  walk.end_block(0, 64, true);
  walk.begin_block(64, 128);
  check(walk.block_features(64, 128).left_coded, "the block before to be coded");
  check(walk.block_features(64, 128).up_coded, "the row above to hold a level");
  check_equal(walk.level(64 + 10).features().row_class, half_octave(3 * 32 >> 3));
  check_equal(walk.level(64 + 10).features().column_class, 0U);
  check_equal(walk.level(64 + 63).features().column_class, half_octave(8 * 64 >> 5));
}

void test_blocks_that_are_not_coded_leave_the_scales_alone() {
  History history(192);
  TensorWalk walk({3, 64}, history.view());
  walk.begin_block(0, 64);
  for (std::size_t i = 0; i < 64; ++i)
    walk.set_level(i, 5);
  walk.end_block(0, 64, true);
  walk.begin_block(64, 128);
  const LevelFeatures before = walk.level(64).features();
  walk.end_block(64, 128, false);
  walk.begin_block(128, 192);
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
      {"first_level_sees_nothing", test_first_level_sees_nothing},
      {"matrix_by_hand", test_matrix_by_hand},
      {"scales_by_hand", test_scales_by_hand},
      {"blocks_that_are_not_coded_leave_the_scales_alone",
       test_blocks_that_are_not_coded_leave_the_scales_alone},
  });
}
