// SPDX-License-Identifier: Apache-2.0
#include "fl_deepcabac/tensor_walk.hpp"

namespace fl_deepcabac {

TensorWalk::TensorWalk(TensorShape shape, HistoryView history)
    : history_(history),
      n_levels_(shape.n_levels()),
      n_columns_(shape.n_columns),
      row_stride_(std::max<std::ptrdiff_t>(shape.n_columns, 2)),
      n_padding_(static_cast<std::size_t>(row_stride_) + 1),
      clipped_(n_padding_ + n_levels_, 0),
      column_scales_(shape.n_rows > 1 ? shape.n_columns : 0, 0) {}

BlockFeatures TensorWalk::block_features(std::size_t begin, std::size_t end) const noexcept {
  // Where rows are shorter than a block, the part of the row above that lies in this block is not
  // known yet.
  const auto stride = static_cast<std::size_t>(row_stride_);
  const std::size_t up_begin = n_padding_ + begin - std::min(stride, n_padding_ + begin);
  const std::size_t up_end =
      std::min(n_padding_ + end - std::min(stride, n_padding_ + end), n_padding_ + begin);
  bool up_coded = false;
  for (std::size_t i = up_begin; i < up_end; ++i)
    up_coded |= clipped_[i] != 0;

  std::uint32_t activity = 0;
  for (std::size_t i = begin; i < end; ++i)
    activity += history_.magnitude[i];
  return {.left_coded = left_coded_,
          .up_coded = up_coded,
          .activity_class = std::min(half_octave(activity >> kHistoryBits), kActivityClasses - 1)};
}

void TensorWalk::begin_block(std::size_t begin, std::size_t end) noexcept {
  block_begin_ = begin;
  block_row_ = kRowWeight * static_cast<std::uint32_t>(row_scale_);
  if (column_scales_.empty()) {
    block_scales_.fill(block_row_);
    return;
  }
  std::size_t column = block_column_;
  for (std::size_t i = 0; i < end - begin; ++i) {
    block_scales_[i] =
        kColumnWeight * static_cast<std::uint32_t>(column_scales_[column]) + block_row_;
    column = column + 1 == n_columns_ ? 0 : column + 1;
  }
}

void TensorWalk::end_block(std::size_t begin, std::size_t end, bool is_coded) noexcept {
  left_coded_ = is_coded;
  const std::size_t first_column = block_column_;
  block_column_ = n_columns_ == 0 ? 0 : (block_column_ + (end - begin)) % n_columns_;
  if (!is_coded) return;
  std::size_t column = first_column;
  for (std::size_t i = begin; i < end; ++i) {
    const auto size = static_cast<std::int32_t>(magnitude(clipped_[n_padding_ + i]));
    move_scale(row_scale_, size, kRowRate);
    if (column_scales_.empty()) continue;
    move_scale(column_scales_[column], size, kColumnRate);
    column = column + 1 == n_columns_ ? 0 : column + 1;
  }
}

}  // namespace fl_deepcabac
