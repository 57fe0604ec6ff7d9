// SPDX-License-Identifier: Apache-2.0
// The order in which a tensor's levels are coded, and what their contexts see (spec 5.1, 7.2).
//
// Levels run in row-major order in blocks of 64. A walk keeps a clipped copy of the levels behind
// it, running magnitude scales of the row and of every column, and a view of the tensor's history.
// What does not change within a block is worked out for all its levels at once.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "fl_deepcabac/contexts.hpp"
#include "fl_deepcabac/feature_classes.hpp"
#include "fl_deepcabac/history.hpp"
#include "fl_deepcabac/stream_state.hpp"

namespace fl_deepcabac {

inline constexpr std::size_t kBlockLevels = 64;

class LevelView;

class TensorWalk {
 public:
  TensorWalk(TensorShape shape, HistoryView history);

  [[nodiscard]] std::size_t n_levels() const noexcept { return n_levels_; }

  // Context inputs of the flag "this block is coded"; blocks are visited in order (spec 7.3).
  [[nodiscard]] BlockFeatures block_features(std::size_t begin, std::size_t end) const noexcept;

  // Prepare the inputs that do not change within a block.
  void begin_block(std::size_t begin, std::size_t end) noexcept;

  // Context inputs of the level at `index`, given the levels before it; valid until the walk moves.
  [[nodiscard]] LevelView level(std::size_t index) const noexcept;

  void set_level(std::size_t index, std::int32_t level) noexcept {
    const std::int32_t clipped = std::clamp(level, -kClip, kClip);
    clipped_[n_padding_ + index] = static_cast<std::int8_t>(clipped);
    magnitudes_[n_padding_ + index] = static_cast<std::uint8_t>(clipped < 0 ? -clipped : clipped);
  }

  // Move the scales to the levels of the block. A block that is not coded holds zeros and leaves
  // them alone.
  void end_block(std::size_t begin, std::size_t end, bool is_coded) noexcept;

 private:
  friend class LevelView;

  static constexpr std::int32_t kClip = 127;
  // Spatial estimate = (8 * column scale + 3 * row scale + 26 * near) / 2^5, in units of 1/32
  // level: weights found by search on recorded updates (docs/decisions/0003).
  static constexpr std::uint32_t kColumnWeight = 8;
  static constexpr std::uint32_t kRowWeight = 3;
  static constexpr std::uint32_t kNearWeight = 26;
  static constexpr int kSpatialShift = 5;
  static constexpr int kScaleBits = 8;   // fixed-point bits of row and column scales
  static constexpr int kColumnRate = 4;  // a column scale moves by 1/16
  static constexpr int kRowRate = 5;     // the row scale moves by 1/32
  // With rows at least this long, the row above a block is complete when the block begins.
  static constexpr std::ptrdiff_t kFarStride = kBlockLevels + 1;

  static void move_scale(std::int32_t& scale, std::int32_t magnitude, int rate) noexcept {
    scale += ((magnitude << kScaleBits) - scale) >> rate;
  }
  // Of the three levels one row up.
  [[nodiscard]] std::uint32_t up_near(std::size_t index) const noexcept {
    const std::uint8_t* up = magnitudes_.data() + n_padding_ + index - row_stride_;
    return 2U * up[0] + up[-1] + up[1];
  }
  // Calls work(offset in the block, column, length) for each run of the block within one row.
  template <class Work>
  void for_each_run(std::size_t n_block, Work&& work) const {
    std::size_t column = block_column_;
    for (std::size_t done = 0; done < n_block; column = 0) {
      const std::size_t length = std::min(n_block - done, n_columns_ - column);
      work(done, column, length);
      done += length;
    }
  }

  HistoryView history_;
  std::size_t n_levels_;
  std::size_t n_columns_;
  std::ptrdiff_t row_stride_;             // n_columns, but at least 2, so that up[1] lies behind
  std::size_t n_padding_;                 // row_stride + 1 zeros stand for levels before the first
  bool is_far_;                           // row_stride_ >= kFarStride
  std::vector<std::int8_t> clipped_;      // padding, then the levels so far, clipped to +-127
  std::vector<std::uint8_t> magnitudes_;  // of clipped_
  // Mean magnitude of each column, 2^-8; empty for vectors.
  std::vector<std::int32_t> column_scales_;
  std::int32_t row_scale_ = 0;  // mean magnitude along the rows, 2^-8
  bool left_coded_ = false;     // whether the block before is coded
  std::size_t block_begin_ = 0;
  std::size_t block_column_ = 0;  // column of the block's first level
  std::uint32_t block_row_ = 0;   // 3 * row scale at the start of the block
  // Of each level of the block: 8 * column scale + 3 * row scale, and the same with 26 * near of
  // the row above added where rows are far.
  std::array<std::uint32_t, kBlockLevels> block_scales_{};
  std::array<std::uint32_t, kBlockLevels> block_estimates_{};
};

// Context inputs of one level, worked out when asked for.
class LevelView {
 public:
  LevelView(const TensorWalk& walk, std::size_t index) noexcept
      : walk_(walk), index_(index), here_(walk.magnitudes_.data() + walk.n_padding_ + index) {
    std::uint32_t estimate = walk.block_estimates_[index - walk.block_begin_];
    estimate += TensorWalk::kNearWeight * left_near();
    if (!walk.is_far_) estimate += TensorWalk::kNearWeight * walk.up_near(index);
    spatial_ = estimate >> TensorWalk::kSpatialShift;
  }

  [[nodiscard]] std::uint32_t history() const noexcept { return kHistoryClassOfCode[code()]; }
  [[nodiscard]] std::uint32_t spatial() const noexcept { return spatial_class(spatial_); }
  [[nodiscard]] std::uint32_t magnitude() const noexcept {
    return half_octave_class((kHistoryValues[code()] + spatial_) >> 3, kMagnitudeClasses);
  }
  [[nodiscard]] std::uint32_t sign() const noexcept { return sign_class(signed_code()); }
  [[nodiscard]] std::uint32_t left_sign() const noexcept { return signum_class(clipped(-1)); }

  // All of them at once, for a profile that looks at most.
  [[nodiscard]] LevelFeatures features() const noexcept {
    const std::uint32_t scales = walk_.block_scales_[index_ - walk_.block_begin_];
    return {.history_class = history(),
            .spatial_class = spatial(),
            .magnitude_class = magnitude(),
            .sign_class = sign(),
            .left_signum = left_sign(),
            .signed_class = signed_class(signed_code()),
            .left_class = half_octave_class(left_near(), kNearClasses),
            .up_class = half_octave_class(walk_.up_near(index_), kNearClasses),
            .column_class = half_octave_class(
                (scales - walk_.block_row_) >> TensorWalk::kSpatialShift, kScaleClasses),
            .row_class = half_octave_class(walk_.block_row_ >> 3, kScaleClasses),
            .around_class = around(),
            .around_sign_class = around_sign(),
            .up_signum = signum_class(clipped(-walk_.row_stride_))};
  }

 private:
  [[nodiscard]] std::uint32_t code() const noexcept { return walk_.history_.magnitude[index_]; }
  [[nodiscard]] std::int8_t signed_code() const noexcept {
    return walk_.history_.signed_level[index_];
  }
  [[nodiscard]] std::int8_t clipped(std::ptrdiff_t offset) const noexcept {
    return *(walk_.clipped_.data() + walk_.n_padding_ + index_ + offset);
  }
  [[nodiscard]] std::uint32_t left_near() const noexcept { return 2U * here_[-1] + here_[-2]; }
  // The history on both sides; a tensor's ends stand for themselves.
  [[nodiscard]] std::size_t before() const noexcept { return index_ == 0 ? 0 : index_ - 1; }
  [[nodiscard]] std::size_t after() const noexcept {
    return index_ + 1 == walk_.n_levels_ ? index_ : index_ + 1;
  }
  [[nodiscard]] std::uint32_t around() const noexcept {
    const auto& codes = walk_.history_.magnitude;
    return half_octave_class(kHistoryValues[codes[before()]] + kHistoryValues[codes[after()]],
                             kHistoryClasses);
  }
  [[nodiscard]] std::uint32_t around_sign() const noexcept {
    const auto& codes = walk_.history_.signed_level;
    return sign_class(static_cast<std::int8_t>((codes[before()] + codes[after()]) / 2));
  }

  const TensorWalk& walk_;
  std::size_t index_;
  const std::uint8_t* here_;  // magnitude at `index_`
  std::uint32_t spatial_;     // in units of 1/32 level
};

inline LevelView TensorWalk::level(std::size_t index) const noexcept {
  return {*this, index};
}

}  // namespace fl_deepcabac
