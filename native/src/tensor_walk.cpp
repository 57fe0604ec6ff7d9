// SPDX-License-Identifier: Apache-2.0
#include "fl_deepcabac/tensor_walk.hpp"

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

// A comparison a class instead of a look-up a level, so that it runs in vectors.
void classify_spatially(const BlockInputs::Estimates& estimates,
                        BlockInputs::Classes& classes) noexcept {
  BlockInputs::Classes values;
  for (std::size_t i = 0; i < values.size(); ++i) {
    constexpr std::uint16_t kLast = 255;
    values[i] = narrow(std::min<std::uint16_t>(estimates[i] >> kEstimateShift, kLast));
  }
  classes.fill(0);
  for (std::size_t least = 1; least < kSpatialThresholds.size(); ++least) {
    for (std::size_t i = 0; i < values.size(); ++i)
      classes[i] = narrow(classes[i] + (values[i] >= kSpatialThresholds[least] ? 1U : 0U));
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
  const std::size_t n_block = std::min(end + kLookahead, n_levels_) - begin;
  const std::uint32_t row = kRowWeight * static_cast<std::uint32_t>(row_scale_);
  const auto row_part = static_cast<std::uint16_t>(row >> kRowShift);
  const std::uint8_t* above = magnitudes_.data() + at(begin) - stride_;
  std::uint16_t* estimates = inputs_.estimates.data();
  for (std::size_t i = 0; i < n_block; ++i) {
    const auto near = static_cast<std::uint16_t>(2 * above[i] + above[i - 1] + above[i + 1]);
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
  classify_spatially(inputs_.estimates, inputs_.spatial_classes);
  if (!all_classes) return;
  inputs_.row_class = half_octave_class(row >> kRowShift, kScaleClasses);
  for_each_run(n_block, [&](std::size_t first, std::size_t column, std::size_t length) {
    for (std::size_t i = 0; i < length; ++i) {
      const std::int16_t scale =
          column_scales_.empty() ? std::int16_t{0} : column_scales_[column + i];
      inputs_.classes[first + i] =
          fixed_classes(begin + first + i, static_cast<std::uint32_t>(scale));
    }
  });
}

FixedClasses TensorWalk::fixed_classes(std::size_t index,
                                       std::uint32_t column_scale) const noexcept {
  // A part's ends stand for their missing neighbours.
  const std::size_t before = index == 0 ? 0 : index - 1;
  const std::size_t after = index + 1 == n_levels_ ? index : index + 1;
  const auto& codes = history_.magnitude;
  const auto& signed_codes = history_.signed_level;
  const std::uint32_t around = kHistoryValues[codes[before]] + kHistoryValues[codes[after]];
  const auto around_sign =
      static_cast<std::int8_t>((signed_codes[before] + signed_codes[after]) / 2);
  const std::uint8_t* above = magnitudes_.data() + at(index) - stride_;
  const std::uint32_t up = (2U * above[0] + above[-1] + above[1]) / 2;
  return {.history = kHistoryClassOfCode[codes[index]],
          .signed_average = narrow(signed_class(signed_codes[index])),
          .column = narrow(spatial_class(column_scale >> 2)),
          .up = narrow(near_class(up)),
          .around = narrow(average_class(around)),
          .around_sign = narrow(sign_class(around_sign)),
          .up_signum = narrow(signum_class(places_[at(index) - stride_]))};
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
