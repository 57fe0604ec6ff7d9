// SPDX-License-Identifier: Apache-2.0
// The order in which a tensor's levels are coded, and what their contexts see (spec 5.1, 7.2).
//
// Levels run in row-major order in blocks of 64. A walk goes along one part of a tensor; it keeps
// clipped copies of the places of the levels behind it, in half steps, running magnitude scales of
// the row and of every column, and a view of the part's history. What does not change within a
// block is worked out for all its levels at once, when the block turns out to need it; a cursor
// then goes from level to level.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "fl_deepcabac/contexts.hpp"
#include "fl_deepcabac/feature_classes.hpp"
#include "fl_deepcabac/history.hpp"
#include "fl_deepcabac/level_list.hpp"
#include "fl_deepcabac/stream_state.hpp"
#include "fl_deepcabac/trellis.hpp"

namespace fl_deepcabac {

// How far beyond a block an encoder's search may look.
inline constexpr std::size_t kLookahead = 16;
// Rows shorter than this are joined, so that the row above a block is complete when the block
// begins, and no column comes up twice in it.
inline constexpr std::uint32_t kLeastWidth = 96;
static_assert(kLeastWidth > kBlockLevels + kLookahead + 1);

// Columns of a tensor after joining rows: the least multiple of its own that is long enough.
[[nodiscard]] constexpr std::uint32_t joined_columns(std::uint32_t n_columns) noexcept {
  if (n_columns == 0) return kLeastWidth;
  return n_columns * std::max((kLeastWidth + n_columns - 1) / n_columns, 1U);
}

// Where the row scale of a codeword's first tensor begins: a quarter of a step, in units of 2^-8.
inline constexpr std::int32_t kFirstRowScale = 64;

// Clipped places are within this, in half steps.
inline constexpr std::int32_t kPlaceClip = 127;

// The levels to the left of one. Magnitudes are in half steps.
struct LevelSight {
  std::uint32_t left = 0;         // of the place before
  std::uint32_t left_left = 0;    // of the one before that
  std::uint32_t left_signum = 1;  // signum class of the place before

  // That of the next level, behind one at this place.
  [[nodiscard]] LevelSight passed(std::int32_t place) const noexcept {
    const std::int32_t clipped = std::clamp(place, -kPlaceClip, kPlaceClip);
    return {.left = static_cast<std::uint32_t>(clipped < 0 ? -clipped : clipped),
            .left_left = left,
            .left_signum = signum_class(clipped)};
  }
};

// Inputs of the levels of a block, and of those an encoder looks ahead to, that do not change
// within it: classes, or bytes that tables take to classes.
struct BlockInputs {
  // Whole vectors of them.
  static constexpr std::size_t kCapacity = 80;
  static_assert(kCapacity >= kBlockLevels + kLookahead);
  using Estimates = std::array<std::uint16_t, kCapacity>;
  using Bytes = std::array<std::uint8_t, kCapacity>;

  std::size_t begin = 0;
  std::uint32_t row_class = 0;
  // Of each level: column scale, row scale and the levels one row up, in units of 1/128 step.
  Estimates estimates{};
  // The class of the spatial estimate where the levels to the left are zero.
  Bytes spatial_classes{};
  // Only "max" looks at these.
  Bytes columns{};     // column scales in units of 1/32 step, at most 255
  Bytes ups{};         // half the weighed magnitudes one row up
  Bytes up_signums{};  // signum classes one row up
  Bytes around_classes{};
  Bytes around_sign_classes{};
};

// Weight of near magnitudes in the spatial estimate, found by search on recorded updates
// (docs/decisions/0003); in units of 1/128 step after the shift.
inline constexpr std::uint32_t kNearWeight = 13;
inline constexpr int kNearShift = 3;
inline constexpr int kEstimateShift = 2;  // 1/128 step to 1/32

// How the levels of a block come to be known when it is encoded.
enum class BlockPlan : std::uint8_t {
  kZero,   // all are zero
  kGiven,  // before its first bin
  kLive,   // each when its turn comes
};

// What a cursor needs of its walk; the pointers are to what belongs to the first level of a block.
struct BlockView {
  const BlockInputs* inputs;
  const std::uint8_t* codes;
  const std::int8_t* signed_codes;
  std::int8_t* places;
  std::uint8_t* magnitudes;

  // What lies to the left of the level at `i`.
  [[nodiscard]] LevelSight sight(std::size_t i) const noexcept {
    const std::uint8_t* here = magnitudes + i;
    return {.left = here[-1], .left_left = here[-2], .left_signum = signum_class((places + i)[-1])};
  }
};

// Context inputs of one level, worked out when asked for; moves from level to level. A local value
// with pointers of its own: the walk's bytes may alias anything, and its members would be read anew
// after every store.
template <class Path>
class LevelCursor {
 public:
  static constexpr bool kIsPlain = std::is_same_v<Path, PlainPath>;

  // `index` within the block.
  LevelCursor(const BlockView& block, std::size_t index, const LevelSight& sight,
              const Path& path) noexcept
      : block_(block), index_(index), sight_(sight), path_(path) {}

  [[nodiscard]] std::uint32_t quantizer() const noexcept { return path_.quantizer(); }
  [[nodiscard]] std::uint32_t history() const noexcept { return kHistoryClassOfCode[code()]; }
  [[nodiscard]] std::uint32_t spatial() const noexcept {
    if (near_left() == 0) return block_.inputs->spatial_classes[index_];
    return spatial_class(estimate());
  }
  [[nodiscard]] std::uint32_t magnitude() const noexcept {
    static_assert(kMagnitudeClasses == kHistoryClasses);
    return average_class((kHistoryValues[code()] + estimate()) >> 3);
  }
  [[nodiscard]] std::uint32_t sign() const noexcept {
    return sign_class(block_.signed_codes[index_]);
  }
  [[nodiscard]] std::uint32_t left_sign() const noexcept { return sight_.left_signum; }

  // All of them at once, for a profile that looks at most.
  [[nodiscard]] LevelFeatures features() const noexcept {
    const BlockInputs& inputs = *block_.inputs;
    return {.quantizer_index = quantizer(),
            .history_class = history(),
            .spatial_class = spatial(),
            .magnitude_class = magnitude(),
            .sign_class = sign(),
            .left_signum = left_sign(),
            .signed_class = signed_class(block_.signed_codes[index_]),
            .left_class = near_class(near_left() / 2),
            .up_class = near_class(inputs.ups[index_]),
            .column_class = kSpatialClassOfValue[inputs.columns[index_]],
            .row_class = inputs.row_class,
            .around_class = inputs.around_classes[index_],
            .around_sign_class = inputs.around_sign_classes[index_],
            .up_signum = inputs.up_signums[index_]};
  }

  // On to the next level; this one is zero, as its place was beforehand.
  [[gnu::always_inline]] void pass_zero() noexcept {
    sight_ = {.left = 0, .left_left = sight_.left, .left_signum = 1};
    path_.advance_zero();
    ++index_;
  }
  [[gnu::always_inline]] void pass(std::int32_t level) noexcept {
    const std::int32_t place = std::clamp(place_of(level, quantizer()), -kPlaceClip, kPlaceClip);
    const auto magnitude = static_cast<std::uint32_t>(place < 0 ? -place : place);
    block_.places[index_] = static_cast<std::int8_t>(place);
    block_.magnitudes[index_] = static_cast<std::uint8_t>(magnitude);
    sight_ = {.left = magnitude, .left_left = sight_.left, .left_signum = place < 0 ? 0U : 2U};
    path_.advance(level);
    ++index_;
  }
  [[nodiscard]] const Path& path() const noexcept { return path_; }

 private:
  [[nodiscard]] std::uint32_t code() const noexcept { return block_.codes[index_]; }
  [[nodiscard]] std::uint32_t near_left() const noexcept {
    return 2U * sight_.left + sight_.left_left;
  }
  // In units of 1/32 step.
  [[nodiscard]] std::uint32_t estimate() const noexcept {
    return (block_.inputs->estimates[index_] + (kNearWeight * near_left() >> kNearShift)) >>
           kEstimateShift;
  }

  BlockView block_;
  std::size_t index_;
  LevelSight sight_;
  Path path_;
};

class TensorWalk {
 public:
  // `history` of the part; `row_scale` where the part before left it.
  TensorWalk(TensorShape shape, std::uint32_t first_column, HistoryView history,
             std::int32_t row_scale, TrellisPath path);

  [[nodiscard]] std::size_t n_levels() const noexcept { return n_levels_; }
  [[nodiscard]] std::int32_t row_scale() const noexcept { return row_scale_; }
  [[nodiscard]] const TrellisPath& path() const noexcept { return path_; }
  [[nodiscard]] HistoryView history() const noexcept { return history_; }

  // Context inputs of the flag "this block is coded"; blocks are visited in order (spec 7.3).
  [[nodiscard]] BlockFeatures block_features(std::size_t begin, std::size_t end) const noexcept;

  // Prepare the inputs that do not change within a block, for cursors on its levels; with
  // `all_classes` also those of `LevelCursor::features`. Does nothing the second time.
  void prepare_block(std::size_t begin, std::size_t end, bool all_classes) noexcept;

  // Of the prepared block.
  [[nodiscard]] BlockView block_view() noexcept {
    const std::size_t begin = inputs_.begin;
    return {&inputs_, history_.magnitude.data() + begin, history_.signed_level.data() + begin,
            places_.data() + at(begin), magnitudes_.data() + at(begin)};
  }
  // Context inputs of the level at `index` of the prepared block, given the levels before it.
  template <class Path>
  [[nodiscard, gnu::always_inline]] LevelCursor<Path> cursor(std::size_t index,
                                                             const Path& path) noexcept {
    const BlockView view = block_view();
    return {view, index - inputs_.begin, view.sight(index - inputs_.begin), path};
  }

  // Of the level before `index`, in half steps, clipped.
  [[nodiscard]] std::int32_t place_before(std::size_t index) const noexcept {
    return places_[at(index) - 1];
  }

  // For an encoder that tries levels out: the place alone, while the path stays where it is.
  void set_place(std::size_t index, std::int32_t place) noexcept {
    const std::int32_t clipped = std::clamp(place, -kPlaceClip, kPlaceClip);
    places_[at(index)] = static_cast<std::int8_t>(clipped);
    magnitudes_[at(index)] = static_cast<std::uint8_t>(clipped < 0 ? -clipped : clipped);
  }

  // The path as levels have moved it, one by one or as a run of zeros, which need no place: nothing
  // else was there before.
  void set_path(const TrellisPath& path) noexcept { path_ = path; }
  void skip_zeros(std::size_t n_levels) noexcept { path_.advance_zeros(n_levels); }

  // Move the scales to the levels of the block. A block that is not coded holds zeros and leaves
  // them alone.
  void end_block(std::size_t begin, std::size_t end, bool is_coded) noexcept;

 private:
  static constexpr std::uint32_t kRowWeight = 3;
  static constexpr int kRowShift = 3;    // the row scale, weighed, to 1/128 step
  static constexpr int kPlaceBits = 7;   // half steps to the units of scales
  static constexpr int kColumnRate = 4;  // a column scale moves by 1/16 a level
  // The row scale moves by 7/8 a block.
  static constexpr std::int32_t kRowGain = 7;
  static constexpr int kRowRate = 3;

  // Calls work(offset in the block, column, length) for each run of the block within one row.
  template <class Work>
  void for_each_run(std::size_t n_block, Work&& work) const {
    const std::size_t first = std::min<std::size_t>(n_block, n_columns_ - block_column_);
    work(std::size_t{0}, block_column_, first);
    if (first < n_block) work(first, std::size_t{0}, n_block - first);
  }
  [[nodiscard]] std::size_t at(std::size_t index) const noexcept {
    return n_padding_ + index - window_begin_;
  }
  void slide(std::size_t begin);
  void prepare_columns(std::size_t n_block) noexcept;
  void prepare_rows_above(std::size_t n_block) noexcept;
  void prepare_averages_around(std::size_t n_block) noexcept;

  HistoryView history_;
  std::size_t n_levels_;
  std::size_t n_columns_;  // joined
  std::size_t stride_;     // to the level one row up: n_columns, or beyond the part
  // A window on the places, clipped to +-127, that slides along the part: from `n_padding_` on
  // those of the level `window_begin_` and later, and before them those that may still be looked
  // at. What lies before the part or is not known yet is zero.
  std::size_t n_padding_;
  std::size_t window_begin_ = 0;
  std::vector<std::int8_t> places_;
  std::vector<std::uint8_t> magnitudes_;  // of places_
  // Mean magnitude of each column, in units of 2^-8 step, at most 127 * 128; none for vectors.
  std::vector<std::int16_t> column_scales_;
  std::int32_t row_scale_;    // mean magnitude along the rows, in units of 2^-8 step
  TrellisPath path_;          // before the next level
  bool left_coded_ = false;   // whether the block before is coded
  std::size_t block_column_;  // column of the block's first level
  static constexpr std::size_t kUnprepared = ~std::size_t{0};
  std::size_t prepared_ = kUnprepared;  // where the block begins that `inputs_` are of
  BlockInputs inputs_;
};

}  // namespace fl_deepcabac
