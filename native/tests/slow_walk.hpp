// SPDX-License-Identifier: Apache-2.0
// The walk of spec 7.2 written without shortcuts, and histories to walk over.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "fl_deepcabac/tensor_walk.hpp"

namespace fl_deepcabac::testing {

struct History {
  std::vector<std::uint8_t> magnitude;
  std::vector<std::int8_t> signed_level;

  explicit History(std::size_t n_levels) : magnitude(n_levels, 0), signed_level(n_levels, 0) {}
  HistoryView view() { return {magnitude, signed_level}; }
};

// Where a walk begins.
struct Setting {
  std::uint32_t first_column = 0;
  std::int32_t row_scale = 0;
  bool is_dependent = false;
};

inline TensorWalk walk_of(TensorShape shape, History& history, const Setting& setting = {}) {
  return {shape, setting.first_column, history.view(), setting.row_scale,
          TrellisPath(setting.is_dependent)};
}

// H and C of spec 7.2, from its words.
inline std::uint32_t slow_half_octave(std::int64_t value) {
  if (value < 2) return static_cast<std::uint32_t>(value);
  std::int64_t t = 0;
  while (value >> (t + 1) != 0)
    ++t;
  return static_cast<std::uint32_t>(1 + 2 * t + ((value >> (t - 1)) & 1));
}
inline std::uint32_t capped(std::int64_t value, std::uint32_t n_classes) {
  return std::min(slow_half_octave(value), n_classes - 1);
}

// Spec 7.2 with signed indices and no shortcuts: nothing is clipped to a table, kept in a window or
// worked out for a block at once. Numbers have 64 bits, and shifts of negative ones are floors.
class SlowWalk {
 public:
  SlowWalk(TensorShape shape, const Setting& setting, const History& history)
      : has_columns_(shape.n_rows > 1),
        is_dependent_(setting.is_dependent),
        first_column_(setting.first_column),
        history_(history),
        places_(history.magnitude.size(), 0),
        row_(setting.row_scale) {
    while (width_ < 96)
      width_ += shape.n_columns;
    column_.assign(static_cast<std::size_t>(width_), 0);
  }

  void set_level(std::size_t i, std::int32_t level) {
    const std::int64_t sign = level > 0 ? 1 : (level < 0 ? -1 : 0);
    places_[i] = std::clamp<std::int64_t>(2 * std::int64_t{level} - sign * quantizer(), -127, 127);
    advance(level);
  }

  [[nodiscard]] LevelFeatures level_features(std::size_t index) const {
    const auto i = static_cast<std::int64_t>(index);
    const auto last = static_cast<std::int64_t>(places_.size()) - 1;
    const std::int64_t left = 2 * M(i - 1) + M(i - 2);
    const std::int64_t up = 2 * M(i - width_) + M(i - width_ - 1) + M(i - width_ + 1);
    const std::int64_t K = has_columns_ ? column_[column_of(index)] : 0;
    const std::int64_t R = (3 * row_) >> 3;
    const std::int64_t spatial = (K + R + ((13 * up) >> 3) + ((13 * left) >> 3)) >> 2;
    const std::int64_t before = std::max<std::int64_t>(i - 1, 0);
    const std::int64_t after = std::min(i + 1, last);
    return {.quantizer_index = static_cast<std::uint32_t>(quantizer()),
            .history_class = capped(average(i), 24),
            .spatial_class = capped(spatial, 16),
            .magnitude_class = capped((average(i) + spatial) >> 3, 24),
            .sign_class = sign_class(signed_code(i)),
            .left_signum = signum(P(i - 1)),
            .signed_class = signed_class(signed_code(i)),
            .left_class = capped(left / 2, 12),
            .up_class = capped(up / 2, 12),
            .column_class = capped(K >> 2, 16),
            .row_class = capped(R, 16),
            .around_class = capped(average(before) + average(after), 24),
            .around_sign_class = sign_class((signed_code(before) + signed_code(after)) / 2),
            .up_signum = signum(P(i - width_))};
  }

  [[nodiscard]] BlockFeatures block_features(std::size_t begin, std::size_t end) const {
    bool up = false;
    std::int64_t codes = 0;
    for (std::size_t i = begin; i < end; ++i) {
      up |= P(static_cast<std::int64_t>(i) - width_) != 0;
      codes += history_.magnitude[i];
    }
    return {.left_coded = left_coded_,
            .up_coded = up,
            .activity_class = capped(codes >> 5, 8),
            .is_sparse = codes + 8 * row_ < 64};
  }

  void end_block(std::size_t begin, std::size_t end, bool is_coded) {
    left_coded_ = is_coded;
    if (!is_coded) {
      for (std::size_t i = begin; i < end; ++i)
        advance(0);
      return;
    }
    std::int64_t sum = 0;
    for (std::size_t i = begin; i < end; ++i) {
      const std::int64_t size = M(static_cast<std::int64_t>(i));
      sum += size;
      std::int64_t& column = column_[column_of(i)];
      column += (128 * size - column) >> 4;
    }
    row_ += (7 * (128 * sum / static_cast<std::int64_t>(end - begin) - row_)) >> 3;
  }
  [[nodiscard]] std::int64_t row_scale() const { return row_; }
  [[nodiscard]] std::uint32_t trellis_state() const { return state_; }

 private:
  [[nodiscard]] std::int64_t quantizer() const { return state_ % 2; }
  void advance(std::int32_t level) {
    if (!is_dependent_) return;
    state_ = (state_ / 2) ^ (state_ % 2 != 0 ? 18U : 0U) ^ (level % 2 != 0 ? 4U : 0U);
  }
  // Place and its magnitude, in half steps; zero before the part.
  [[nodiscard]] std::int64_t P(std::int64_t i) const {
    return i < 0 ? 0 : places_[static_cast<std::size_t>(i)];
  }
  [[nodiscard]] std::int64_t M(std::int64_t i) const { return std::abs(P(i)); }
  [[nodiscard]] std::size_t column_of(std::size_t i) const {
    return (first_column_ + i) % static_cast<std::size_t>(width_);
  }
  // What a code stands for (spec 7.4).
  [[nodiscard]] static std::int64_t value_of(std::int64_t code) {
    return code < 32 ? code : (16 + code % 16) << (code / 16 - 1);
  }
  [[nodiscard]] std::int64_t average(std::int64_t i) const {
    return value_of(history_.magnitude[static_cast<std::size_t>(i)]);
  }
  [[nodiscard]] std::int64_t signed_code(std::int64_t i) const {
    return history_.signed_level[static_cast<std::size_t>(i)];
  }
  [[nodiscard]] static std::uint32_t signum(std::int64_t number) {
    return number < 0 ? 0 : (number == 0 ? 1 : 2);
  }
  [[nodiscard]] static std::uint32_t sign_class(std::int64_t code) {
    std::uint32_t t = 0;
    for (const std::int64_t threshold : {2, 8, 16, 32})
      t += std::abs(code) >= threshold ? 1U : 0U;
    return code >= 0 ? 4 + t : 4 - t;
  }
  [[nodiscard]] static std::uint32_t signed_class(std::int64_t code) {
    const std::uint32_t t = std::min(slow_half_octave(value_of(std::abs(code))) / 2, 8U);
    return code >= 0 ? 8 + t : 8 - t;
  }

  bool has_columns_;
  bool is_dependent_;
  std::size_t first_column_;
  const History& history_;
  std::vector<std::int64_t> places_;
  std::int64_t width_ = 0;  // of joined rows
  std::vector<std::int64_t> column_;
  std::int64_t row_;
  std::uint32_t state_ = 0;
  bool left_coded_ = false;
};

}  // namespace fl_deepcabac::testing
