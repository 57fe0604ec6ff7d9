// SPDX-License-Identifier: Apache-2.0
#include "fl_deepcabac/tensor_walk.hpp"

#include <bit>
#include <cstring>

namespace fl_deepcabac {
namespace {

// A block is sparse where its magnitude averages, as codes, and the row scale together promise so
// little: with both right, about one step in the whole block (docs/decisions/0007).
constexpr std::uint32_t kSparseRow = 8;
constexpr std::uint32_t kSparseBelow = 64;
// Levels between two slides of the window on places.
constexpr std::size_t kLeastWindow = 4096;

[[nodiscard]] std::uint8_t narrow(std::uint32_t value) noexcept {
  return static_cast<std::uint8_t>(value);
}

// Least estimate of each spatial class, in units of 1/32 step.
consteval std::array<std::uint8_t, kSpatialClasses> make_spatial_thresholds() {
  std::array<std::uint8_t, kSpatialClasses> thresholds{};
  std::uint32_t value = 0;
  for (std::uint32_t least = 0; least < kSpatialClasses; ++least) {
    while (half_octave_class(value, kSpatialClasses) < least)
      ++value;
    thresholds[least] = static_cast<std::uint8_t>(value);
  }
  return thresholds;
}
constexpr auto kSpatialThresholds = make_spatial_thresholds();

// A comparison a class instead of a look-up a level, sixteen levels at once; up to `n_levels` and
// to the end of a vector.
void classify_spatially(const BlockInputs::Estimates& estimates, std::size_t n_levels,
                        BlockInputs::Bytes& classes) noexcept {
  constexpr std::size_t kLanes = 16;
  static_assert(BlockInputs::kCapacity % kLanes == 0);
  using Vector [[gnu::vector_size(kLanes)]] = std::uint8_t;
  for (std::size_t begin = 0; begin < n_levels; begin += kLanes) {
    std::array<std::uint8_t, kLanes> values;
    for (std::size_t i = 0; i < kLanes; ++i) {
      constexpr std::uint16_t kLast = 255;
      values[i] = narrow(std::min<std::uint16_t>(estimates[begin + i] >> kEstimateShift, kLast));
    }
    const auto own = std::bit_cast<Vector>(values);
    Vector sum{};
    for (std::size_t least = 1; least < kSpatialThresholds.size(); ++least)
      sum -= (own >= kSpatialThresholds[least]);  // true is -1
    std::memcpy(classes.data() + begin, &sum, kLanes);
  }
}

}  // namespace

TensorWalk::TensorWalk(TensorShape shape, std::uint32_t first_column, HistoryView history,
                       std::int32_t row_scale, TrellisPath path)
    : history_(history),
      n_levels_(history.magnitude.size()),
      n_columns_(joined_columns(shape.n_columns)),
      // A part shorter than a row has no row above: no need to make room for one.
      stride_(std::min<std::size_t>(n_columns_, std::max<std::size_t>(n_levels_ + 1, kLeastWidth))),
      n_padding_(stride_ + 2),
      places_(n_padding_ + std::min(n_levels_, std::max(stride_, kLeastWindow)) + kBlockLevels, 0),
      magnitudes_(places_.size(), 0),
      column_scales_(shape.n_rows > 1 ? n_columns_ : 0, 0),
      row_scale_(row_scale),
      path_(path),
      block_column_(first_column) {}

BlockFeatures TensorWalk::block_features(std::size_t begin, std::size_t end) const noexcept {
  const std::uint8_t* above = magnitudes_.data() + at(begin) - stride_;
  const std::uint8_t* codes = history_.magnitude.data() + begin;
  std::uint8_t up = 0;
  std::uint32_t activity = 0;
  for (std::size_t i = 0; i < end - begin; ++i) {
    up = static_cast<std::uint8_t>(up | above[i]);
    activity += codes[i];
  }
  return {
      .left_coded = left_coded_,
      .up_coded = up != 0,
      .activity_class = half_octave_class(activity >> kHistoryBits, kActivityClasses),
      .is_sparse = activity + kSparseRow * static_cast<std::uint32_t>(row_scale_) < kSparseBelow};
}

void TensorWalk::prepare_block(std::size_t begin, std::size_t end, bool all_classes) noexcept {
  if (prepared_ == begin) return;
  prepared_ = begin;
  inputs_.begin = begin;
  // Only the trellis looks ahead.
  const std::size_t lookahead = path_.is_dependent() ? kLookahead : 0;
  const std::size_t n_block = std::min(end + lookahead, n_levels_) - begin;
  const std::uint32_t row = kRowWeight * static_cast<std::uint32_t>(row_scale_);
  const auto row_part = static_cast<std::uint16_t>(row >> kRowShift);
  const std::uint8_t* above = magnitudes_.data() + at(begin) - stride_;
  std::uint16_t* estimates = inputs_.estimates.data();
  for (std::size_t i = 0; i < n_block; ++i) {
    const std::uint8_t* here = above + i;
    const auto near = static_cast<std::uint16_t>(2 * here[0] + here[-1] + here[1]);
    const auto weighed = static_cast<std::uint16_t>(kNearWeight * near);
    estimates[i] = static_cast<std::uint16_t>((weighed >> kNearShift) + row_part);
  }
  if (!column_scales_.empty()) {
    for_each_run(n_block, [&](std::size_t first, std::size_t column, std::size_t length) {
      const std::int16_t* scales = column_scales_.data() + column;
      for (std::size_t i = 0; i < length; ++i)
        estimates[first + i] = static_cast<std::uint16_t>(estimates[first + i] + scales[i]);
    });
  }
  classify_spatially(inputs_.estimates, n_block, inputs_.spatial_classes);
  if (!all_classes) return;
  inputs_.row_class = half_octave_class(row >> kRowShift, kScaleClasses);
  prepare_columns(n_block);
  prepare_rows_above(n_block);
  prepare_averages_around(n_block);
}

void TensorWalk::prepare_columns(std::size_t n_block) noexcept {
  if (column_scales_.empty()) return;
  for_each_run(n_block, [&](std::size_t first, std::size_t column, std::size_t length) {
    const std::int16_t* scales = column_scales_.data() + column;
    std::uint8_t* columns = inputs_.columns.data() + first;
    for (std::size_t i = 0; i < length; ++i) {
      constexpr std::int16_t kLast = 255;
      const auto scale = static_cast<std::int16_t>(scales[i] >> kEstimateShift);
      columns[i] = static_cast<std::uint8_t>(std::min(scale, kLast));
    }
  });
}

void TensorWalk::prepare_rows_above(std::size_t n_block) noexcept {
  const std::size_t above = at(inputs_.begin) - stride_;
  const std::uint8_t* magnitudes = magnitudes_.data() + above;
  const std::int8_t* places = places_.data() + above;
  for (std::size_t i = 0; i < n_block; ++i) {
    const std::uint8_t* here = magnitudes + i;
    const auto weighed = static_cast<std::uint16_t>(2 * here[0] + here[-1] + here[1]);
    inputs_.ups[i] = narrow(weighed / 2U);
    inputs_.up_signums[i] = narrow(1U + (places[i] > 0 ? 1U : 0U) - (places[i] < 0 ? 1U : 0U));
  }
}

void TensorWalk::prepare_averages_around(std::size_t n_block) noexcept {
  const auto prepare = [&](std::size_t i, std::size_t before, std::size_t after) {
    const std::uint8_t* codes = history_.magnitude.data();
    const std::int8_t* signed_codes = history_.signed_level.data();
    const auto sum = static_cast<std::int8_t>((signed_codes[before] + signed_codes[after]) / 2);
    inputs_.around_classes[i] =
        narrow(average_class(kHistoryValues[codes[before]] + kHistoryValues[codes[after]]));
    inputs_.around_sign_classes[i] = narrow(sign_class(sum));
  };
  // A part's ends stand for their missing neighbours.
  const std::size_t begin = inputs_.begin;
  const std::size_t end = begin + n_block;
  const std::size_t inner_begin = std::max<std::size_t>(begin, 1);
  const std::size_t inner_end = std::min(end, n_levels_ - 1);
  if (begin == 0) prepare(0, 0, std::min<std::size_t>(1, n_levels_ - 1));
  for (std::size_t index = inner_begin; index < inner_end; ++index)
    prepare(index - begin, index - 1, index + 1);
  if (end == n_levels_) prepare(n_block - 1, std::max<std::size_t>(end, 2) - 2, end - 1);
}

void TensorWalk::end_block(std::size_t begin, std::size_t end, bool is_coded) noexcept {
  const std::size_t n_block = end - begin;
  left_coded_ = is_coded;
  if (is_coded) {
    const std::uint8_t* sizes = magnitudes_.data() + at(begin);
    std::uint32_t sum = 0;
    for (std::size_t i = 0; i < n_block; ++i)
      sum += sizes[i];
    const auto mean =
        static_cast<std::int32_t>((sum << kPlaceBits) / std::max<std::size_t>(n_block, 1));
    row_scale_ += (kRowGain * (mean - row_scale_)) >> kRowRate;
    if (!column_scales_.empty()) {
      for_each_run(n_block, [&](std::size_t first, std::size_t column, std::size_t length) {
        std::int16_t* scales = column_scales_.data() + column;
        for (std::size_t i = 0; i < length; ++i) {
          const auto distance =
              static_cast<std::int16_t>((sizes[first + i] << kPlaceBits) - scales[i]);
          scales[i] = static_cast<std::int16_t>(scales[i] + (distance >> kColumnRate));
        }
      });
    }
  }
  block_column_ = (block_column_ + n_block) % n_columns_;
  if (at(end) + kBlockLevels > places_.size()) slide(end);
}

// Let the window begin at a later level.
void TensorWalk::slide(std::size_t begin) {
  const auto keep_last = [&](auto& window) {
    const auto last = window.begin() + static_cast<std::ptrdiff_t>(at(begin));
    const auto kept =
        std::copy(last - static_cast<std::ptrdiff_t>(n_padding_), last, window.begin());
    std::fill(kept, window.end(), 0);
  };
  keep_last(places_);
  keep_last(magnitudes_);
  window_begin_ = begin;
}

}  // namespace fl_deepcabac
