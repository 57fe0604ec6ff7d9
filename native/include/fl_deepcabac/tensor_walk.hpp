// SPDX-License-Identifier: Apache-2.0
// The order in which a tensor's levels are coded, and what their contexts see (spec 5.1, 7.2).
//
// Levels run in row-major order in blocks of 64. A walk goes along one part of a tensor; it keeps
// clipped copies of the places of the levels behind it, in half steps, running magnitude scales of
// the row and of every column, and a view of the part's history. What does not change within a
// block is worked out for all its levels at once.
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
#include "fl_deepcabac/trellis.hpp"

namespace fl_deepcabac {

inline constexpr std::size_t kBlockLevels = 64;

class LevelView;

// How far beyond a block an encoder's search may look.
inline constexpr std::size_t kLookahead = 4;

// Neighbours on a path that an encoder's search has not chosen yet, in the place of those that the
// walk knows. Magnitudes are in half steps.
struct LevelSight {
  std::uint32_t quantizer;
  std::uint32_t left;         // of the place before
  std::uint32_t left_left;    // of the one before that
  std::uint32_t left_signum;  // signum class of the place before
  std::uint32_t near_up;      // of the three levels one row up; only where rows are not far
};

// Where the row scale of a codeword's first tensor begins: a quarter of a step, in units of 2^-8.
inline constexpr std::int32_t kFirstRowScale = 64;

class TensorWalk {
 public:
  // `history` of the part; `row_scale` where the part before left it.
  TensorWalk(TensorShape shape, std::uint32_t first_column, HistoryView history,
             std::int32_t row_scale, TrellisPath path);

  [[nodiscard]] std::size_t n_levels() const noexcept { return n_levels_; }
  [[nodiscard]] std::int32_t row_scale() const noexcept { return row_scale_; }
  [[nodiscard]] std::uint32_t trellis_state() const noexcept { return path_.state(); }
  [[nodiscard]] bool is_dependent() const noexcept { return path_.is_dependent(); }
  [[nodiscard]] HistoryView history() const noexcept { return history_; }

  // Context inputs of the flag "this block is coded"; blocks are visited in order (spec 7.3).
  [[nodiscard]] BlockFeatures block_features(std::size_t begin, std::size_t end) const noexcept;

  // Prepare the inputs that do not change within a block; with `all_classes` also those that
  // `LevelView::features` looks at.
  void begin_block(std::size_t begin, std::size_t end, bool all_classes) noexcept;

  // Context inputs of the level at `index`, given the levels before it; valid until the walk moves.
  [[nodiscard, gnu::always_inline]] LevelView level(std::size_t index) const noexcept;
  [[nodiscard, gnu::always_inline]] LevelView level(std::size_t index,
                                                    const LevelSight& sight) const noexcept;

  [[gnu::always_inline]] void set_level(std::size_t index, std::int32_t level) noexcept {
    set_place(index, place_of(level, path_.quantizer()));
    path_.advance(level);
  }
  // Zeros need no place: nothing else was there before.
  void skip_zeros(std::size_t n_levels) noexcept { path_.advance_zeros(n_levels); }
  // For an encoder that tries levels out: the place alone, while the path stays where it is.
  void set_place(std::size_t index, std::int32_t place) noexcept {
    const std::int32_t clipped = std::clamp(place, -kClip, kClip);
    clipped_[n_padding_ + index] = static_cast<std::int8_t>(clipped);
    magnitudes_[n_padding_ + index] = static_cast<std::uint8_t>(clipped < 0 ? -clipped : clipped);
  }

  // Move the scales to the levels of the block. A block that is not coded holds zeros and leaves
  // them alone.
  void end_block(std::size_t begin, std::size_t end, bool is_coded) noexcept;

  // For an encoder's search. Rows are far where the three levels one row up lie before the block.
  [[nodiscard]] bool is_far() const noexcept { return is_far_; }
  // Of the three levels one row up, in half steps.
  [[nodiscard]] std::uint32_t up_near(std::size_t index) const noexcept {
    const std::uint8_t* up = magnitudes_.data() + n_padding_ + index - row_stride_;
    return 2U * up[0] + up[-1] + up[1];
  }
  // Of the level before `index`, in half steps, clipped.
  [[nodiscard]] std::int32_t place_before(std::size_t index) const noexcept {
    return clipped_[n_padding_ + index - 1];
  }

 private:
  friend class LevelView;

  // Spatial estimate = (8 * column scale + 3 * row scale + 13 * near) / 2^5, in units of 1/32
  // step: weights found by search on recorded updates (docs/decisions/0003).
  static constexpr std::uint32_t kColumnWeight = 8;
  static constexpr std::uint32_t kRowWeight = 3;
  static constexpr std::uint32_t kNearWeight = 13;
  static constexpr int kSpatialShift = 5;
  static constexpr std::int32_t kClip = 127;
  static constexpr int kPlaceBits = 7;   // half steps to the units of row and column scales
  static constexpr int kColumnRate = 4;  // a column scale moves by 1/16
  static constexpr int kRowRate = 5;     // the row scale moves by 1/32
  // With rows at least this long, the row above a block is complete when the block begins.
  static constexpr std::ptrdiff_t kFarStride = kBlockLevels + kLookahead + 1;

  static void move_scale(std::int32_t& scale, std::int32_t magnitude, int rate) noexcept {
    scale += ((magnitude << kPlaceBits) - scale) >> rate;
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

  // Classes of one level that do not change within a block (spec 7.2).
  struct FixedClasses {
    std::uint8_t history;
    std::uint8_t signed_average;
    std::uint8_t column;
    std::uint8_t around;
    std::uint8_t around_sign;
  };
  [[nodiscard]] FixedClasses fixed_classes(std::size_t index, std::uint32_t scales) const noexcept;

  HistoryView history_;
  std::size_t n_levels_;
  std::size_t n_columns_;
  std::ptrdiff_t row_stride_;             // n_columns, but at least 2, so that up[1] lies behind
  std::size_t n_padding_;                 // row_stride + 1 zeros stand for levels before the first
  bool is_far_;                           // row_stride_ >= kFarStride
  std::vector<std::int8_t> clipped_;      // padding, then the places so far, clipped to +-127
  std::vector<std::uint8_t> magnitudes_;  // of clipped_
  // Mean magnitude of each column, 2^-8; empty for vectors.
  std::vector<std::int32_t> column_scales_;
  std::int32_t row_scale_;   // mean magnitude along the rows, 2^-8
  TrellisPath path_;         // before the next level
  bool left_coded_ = false;  // whether the block before is coded
  std::size_t block_begin_ = 0;
  std::size_t block_column_;     // column of the block's first level
  std::uint32_t block_row_ = 0;  // 3 * row scale at the start of the block
  // Of each level of the block: 8 * column scale + 3 * row scale, and the same with 13 * near of
  // the row above added where rows are far.
  std::array<std::uint32_t, kBlockLevels + kLookahead> block_scales_{};
  std::array<std::uint32_t, kBlockLevels + kLookahead> block_estimates_{};
  std::array<FixedClasses, kBlockLevels + kLookahead> block_classes_{};
};

// Context inputs of one level, worked out when asked for.
class LevelView {
 public:
  LevelView(const TensorWalk& walk, std::size_t index, const LevelSight& sight) noexcept
      : walk_(walk), index_(index), sight_(sight) {
    std::uint32_t estimate = walk.block_estimates_[index - walk.block_begin_];
    estimate += TensorWalk::kNearWeight * left_near();
    if (!walk.is_far_) estimate += TensorWalk::kNearWeight * sight.near_up;
    spatial_ = estimate >> TensorWalk::kSpatialShift;
  }

  [[nodiscard]] std::uint32_t quantizer() const noexcept { return sight_.quantizer; }
  [[nodiscard]] std::uint32_t history() const noexcept { return kHistoryClassOfCode[code()]; }
  [[nodiscard]] std::uint32_t spatial() const noexcept { return spatial_class(spatial_); }
  [[nodiscard]] std::uint32_t magnitude() const noexcept {
    return half_octave_class((kHistoryValues[code()] + spatial_) >> 3, kMagnitudeClasses);
  }
  [[nodiscard]] std::uint32_t sign() const noexcept { return sign_class(signed_code()); }
  [[nodiscard]] std::uint32_t left_sign() const noexcept { return sight_.left_signum; }

  // The same under another quantiser of the trellis.
  [[nodiscard]] LevelView under(std::uint32_t quantizer) const noexcept {
    LevelView view = *this;
    view.sight_.quantizer = quantizer;
    return view;
  }

  // All of them at once, for a profile that looks at most.
  [[nodiscard]] LevelFeatures features() const noexcept {
    const TensorWalk::FixedClasses& fixed = walk_.block_classes_[index_ - walk_.block_begin_];
    const std::uint32_t up = walk_.is_far_ ? walk_.up_near(index_) : sight_.near_up;
    return {.quantizer_index = quantizer(),
            .history_class = fixed.history,
            .spatial_class = spatial(),
            .magnitude_class = magnitude(),
            .sign_class = sign(),
            .left_signum = left_sign(),
            .signed_class = fixed.signed_average,
            .left_class = half_octave_class(left_near() / 2, kNearClasses),
            .up_class = half_octave_class(up / 2, kNearClasses),
            .column_class = fixed.column,
            .row_class = half_octave_class(walk_.block_row_ >> 3, kScaleClasses),
            .around_class = fixed.around,
            .around_sign_class = fixed.around_sign,
            .up_signum = signum_class(
                *(walk_.clipped_.data() + walk_.n_padding_ + index_ - walk_.row_stride_))};
  }

 private:
  [[nodiscard]] std::uint32_t code() const noexcept { return walk_.history_.magnitude[index_]; }
  [[nodiscard]] std::int8_t signed_code() const noexcept {
    return walk_.history_.signed_level[index_];
  }
  [[nodiscard]] std::uint32_t left_near() const noexcept {
    return 2U * sight_.left + sight_.left_left;
  }
  const TensorWalk& walk_;
  std::size_t index_;
  LevelSight sight_;
  std::uint32_t spatial_;  // in units of 1/32 step
};

inline LevelView TensorWalk::level(std::size_t index, const LevelSight& sight) const noexcept {
  return {*this, index, sight};
}

inline LevelView TensorWalk::level(std::size_t index) const noexcept {
  const std::uint8_t* here = magnitudes_.data() + n_padding_ + index;
  return level(index, {.quantizer = path_.quantizer(),
                       .left = here[-1],
                       .left_left = here[-2],
                       .left_signum = signum_class(clipped_[n_padding_ + index - 1]),
                       .near_up = is_far_ ? 0 : up_near(index)});
}

}  // namespace fl_deepcabac
