// SPDX-License-Identifier: Apache-2.0
#include "fl_deepcabac/tensor_walk.hpp"

#include <iterator>

namespace fl_deepcabac {
namespace {

// A block is sparse where its magnitude averages, as codes, and the row scale together promise so
// little: with both right, about one step in the whole block (docs/decisions/0007).
constexpr std::uint32_t kSparseRow = 8;
constexpr std::uint32_t kSparseBelow = 64;

}  // namespace

TensorWalk::TensorWalk(TensorShape shape, std::uint32_t first_column, HistoryView history,
                       std::int32_t row_scale, TrellisPath path)
    : history_(history),
      n_levels_(history.magnitude.size()),
      n_columns_(shape.n_columns),
      // A part shorter than a row has no row above: no need to make room for one.
      row_stride_(std::max<std::ptrdiff_t>(
          std::min<std::ptrdiff_t>(shape.n_columns, std::ssize(history.magnitude) + 1), 2)),
      n_padding_(static_cast<std::size_t>(row_stride_) + 1),
      is_far_(row_stride_ >= kFarStride),
      clipped_(n_padding_ + n_levels_, 0),
      magnitudes_(n_padding_ + n_levels_, 0),
      column_scales_(shape.n_rows > 1 ? shape.n_columns : 0, 0),
      row_scale_(row_scale),
      path_(path),
      block_column_(first_column) {}

BlockFeatures TensorWalk::block_features(std::size_t begin, std::size_t end) const noexcept {
  // Where rows are shorter than a block, the part of the row above that lies in this block is not
  // known yet.
  const auto stride = static_cast<std::size_t>(row_stride_);
  const std::size_t here = n_padding_ + begin;
  const std::size_t up_begin = here - std::min(stride, here);
  const std::size_t up_end = std::min(n_padding_ + end - std::min(stride, n_padding_ + end), here);
  std::uint32_t up = 0;
  for (std::size_t i = up_begin; i < up_end; ++i)
    up |= magnitudes_[i];

  std::uint32_t activity = 0;
  for (std::size_t i = begin; i < end; ++i)
    activity += history_.magnitude[i];
  return {
      .left_coded = left_coded_,
      .up_coded = up != 0,
      .activity_class = half_octave_class(activity >> kHistoryBits, kActivityClasses),
      .is_sparse = activity + kSparseRow * static_cast<std::uint32_t>(row_scale_) < kSparseBelow};
}

void TensorWalk::begin_block(std::size_t begin, std::size_t end, bool all_classes) noexcept {
  const std::size_t n_block = std::min(end + kLookahead, n_levels_) - begin;
  block_begin_ = begin;
  block_row_ = kRowWeight * static_cast<std::uint32_t>(row_scale_);
  if (column_scales_.empty()) {
    block_scales_.fill(block_row_);
  } else {
    for_each_run(n_block, [&](std::size_t first, std::size_t column, std::size_t length) {
      for (std::size_t i = 0; i < length; ++i) {
        const auto scale = static_cast<std::uint32_t>(column_scales_[column + i]);
        block_scales_[first + i] = kColumnWeight * scale + block_row_;
      }
    });
  }
  if (all_classes) {
    for (std::size_t i = 0; i < n_block; ++i)
      block_classes_[i] = fixed_classes(begin + i, block_scales_[i]);
  }
  if (!is_far_) {
    block_estimates_ = block_scales_;
    return;
  }
  for (std::size_t i = 0; i < n_block; ++i)
    block_estimates_[i] = block_scales_[i] + kNearWeight * up_near(begin + i);
}

TensorWalk::FixedClasses TensorWalk::fixed_classes(std::size_t index,
                                                   std::uint32_t scales) const noexcept {
  // A part's ends stand for their missing neighbours.
  const std::size_t before = index == 0 ? 0 : index - 1;
  const std::size_t after = index + 1 == n_levels_ ? index : index + 1;
  const auto& codes = history_.magnitude;
  const auto& signed_codes = history_.signed_level;
  const std::uint32_t around = kHistoryValues[codes[before]] + kHistoryValues[codes[after]];
  const auto around_sign =
      static_cast<std::int8_t>((signed_codes[before] + signed_codes[after]) / 2);
  const auto narrow = [](std::uint32_t value) { return static_cast<std::uint8_t>(value); };
  return {
      .history = kHistoryClassOfCode[codes[index]],
      .signed_average = narrow(signed_class(signed_codes[index])),
      .column = narrow(half_octave_class((scales - block_row_) >> kSpatialShift, kScaleClasses)),
      .around = narrow(half_octave_class(around, kHistoryClasses)),
      .around_sign = narrow(sign_class(around_sign))};
}

void TensorWalk::end_block(std::size_t begin, std::size_t end, bool is_coded) noexcept {
  const std::size_t n_block = end - begin;
  left_coded_ = is_coded;
  if (is_coded) {
    const std::uint8_t* sizes = magnitudes_.data() + n_padding_ + begin;
    for (std::size_t i = 0; i < n_block; ++i)
      move_scale(row_scale_, sizes[i], kRowRate);
    if (!column_scales_.empty()) {
      for_each_run(n_block, [&](std::size_t first, std::size_t column, std::size_t length) {
        for (std::size_t i = 0; i < length; ++i)
          move_scale(column_scales_[column + i], sizes[first + i], kColumnRate);
      });
    }
  }
  block_column_ = (block_column_ + n_block) % n_columns_;
}

}  // namespace fl_deepcabac
