// SPDX-License-Identifier: Apache-2.0
// The order in which a tensor's levels are coded, and what their contexts see (spec 5.1, 7.2).
//
// Levels run in row-major order in blocks of 64. A walk keeps a clipped copy of the levels behind
// it, running magnitude scales of the row and of every column, and a view of the tensor's history.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "fl_deepcabac/contexts.hpp"
#include "fl_deepcabac/history.hpp"
#include "fl_deepcabac/stream_state.hpp"

namespace fl_deepcabac {

inline constexpr std::size_t kBlockLevels = 64;

class TensorWalk {
 public:
  TensorWalk(TensorShape shape, HistoryView history);

  [[nodiscard]] std::size_t n_levels() const noexcept { return n_levels_; }

  // Context inputs of the flag "this block is coded"; blocks are visited in order (spec 7.3).
  [[nodiscard]] BlockFeatures block_features(std::size_t begin, std::size_t end) const noexcept;

  // Prepare the inputs that do not change within a block.
  void begin_block(std::size_t begin, std::size_t end) noexcept;

  // Inputs of the level at `index`, given the levels before it.
  [[nodiscard]] LevelFeatures level_features(std::size_t index) const noexcept {
    const std::int8_t* here = clipped_.data() + n_padding_ + index;
    const std::int8_t* up = here - row_stride_;
    const std::uint32_t left_near = 2 * magnitude(here[-1]) + magnitude(here[-2]);
    const std::uint32_t up_near = 2 * magnitude(up[0]) + magnitude(up[-1]) + magnitude(up[1]);
    const std::uint32_t scales = block_scales_[index - block_begin_];
    const std::uint32_t spatial = (scales + kNearWeight * (left_near + up_near)) >> kSpatialShift;
    const std::uint32_t average = kHistoryValues[history_.magnitude[index]];
    const std::int8_t signed_code = history_.signed_level[index];
    return {.history_class = class_of(average, kHistoryClasses),
            .spatial_class = class_of(spatial, kSpatialClasses),
            .magnitude_class = class_of((average + spatial) >> 3, kMagnitudeClasses),
            .sign_class = sign_class(signed_code),
            .left_signum = signum_class(here[-1]),
            .signed_class = signed_class(signed_code),
            .left_class = class_of(left_near, kNearClasses),
            .up_class = class_of(up_near, kNearClasses),
            .column_class = class_of((scales - block_row_) >> kSpatialShift, kScaleClasses),
            .row_class = class_of(block_row_ >> 3, kScaleClasses),
            .around_class = around_class(index),
            .around_sign_class = around_sign_class(index),
            .up_signum = signum_class(up[0])};
  }

  void set_level(std::size_t index, std::int32_t level) noexcept {
    clipped_[n_padding_ + index] = static_cast<std::int8_t>(std::clamp(level, -kClip, kClip));
  }

  // Move the scales to the levels of the block. A block that is not coded holds zeros and leaves
  // them alone.
  void end_block(std::size_t begin, std::size_t end, bool is_coded) noexcept;

 private:
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

  [[nodiscard]] static std::uint32_t magnitude(std::int8_t clipped) noexcept {
    return static_cast<std::uint32_t>(clipped < 0 ? -clipped : clipped);
  }
  // 4 where the average is near zero, up to 8 and down to 0 as it moves to +1 and -1 (spec 7.2).
  [[nodiscard]] static std::uint32_t sign_class(std::int8_t code) noexcept {
    const std::uint32_t distance = magnitude(code);
    std::uint32_t strength = 0;
    for (const std::uint32_t threshold : {2U, 8U, 16U, 32U})
      strength += distance >= threshold ? 1U : 0U;
    return code < 0 ? 4 - strength : 4 + strength;
  }
  // 8 where the average is near zero, then two classes an octave either way (spec 7.7).
  [[nodiscard]] static std::uint32_t signed_class(std::int8_t code) noexcept {
    const std::uint32_t strength =
        std::min(half_octave(history_value(magnitude(code))) / 2, kSignedClasses / 2);
    return code < 0 ? kSignedClasses / 2 - strength : kSignedClasses / 2 + strength;
  }
  [[nodiscard]] static std::uint32_t class_of(std::uint32_t value,
                                              std::uint32_t n_classes) noexcept {
    return std::min(half_octave(value), n_classes - 1);
  }
  // Of the history codes on both sides; a tensor's ends stand for themselves.
  [[nodiscard]] std::uint32_t around_class(std::size_t index) const noexcept {
    const std::size_t before = index == 0 ? 0 : index - 1;
    const std::size_t after = index + 1 == n_levels_ ? index : index + 1;
    return class_of(
        kHistoryValues[history_.magnitude[before]] + kHistoryValues[history_.magnitude[after]],
        kHistoryClasses);
  }
  [[nodiscard]] std::uint32_t around_sign_class(std::size_t index) const noexcept {
    const std::size_t before = index == 0 ? 0 : index - 1;
    const std::size_t after = index + 1 == n_levels_ ? index : index + 1;
    return sign_class(static_cast<std::int8_t>(
        (history_.signed_level[before] + history_.signed_level[after]) / 2));
  }
  static void move_scale(std::int32_t& scale, std::int32_t magnitude, int rate) noexcept {
    scale += ((magnitude << kScaleBits) - scale) >> rate;
  }

  HistoryView history_;
  std::size_t n_levels_;
  std::size_t n_columns_;
  std::ptrdiff_t row_stride_;         // n_columns, but at least 2, so that up[1] lies behind
  std::size_t n_padding_;             // row_stride + 1 zeros stand for levels before the first
  std::vector<std::int8_t> clipped_;  // padding, then the levels so far, clipped to +-127
  // Mean magnitude of each column, 2^-8; empty for vectors.
  std::vector<std::int32_t> column_scales_;
  std::int32_t row_scale_ = 0;  // mean magnitude along the rows, 2^-8
  bool left_coded_ = false;     // whether the block before is coded
  std::size_t block_begin_ = 0;
  std::size_t block_column_ = 0;  // column of the block's first level
  std::uint32_t block_row_ = 0;   // 3 * row scale at the start of the block
  // 8 * column scale + 3 * row scale of each level of the block.
  std::array<std::uint32_t, kBlockLevels> block_scales_{};
};

}  // namespace fl_deepcabac
