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

inline std::uint32_t capped(std::uint32_t value, std::uint32_t n_classes) {
  return std::min(half_octave(value), n_classes - 1);
}

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

// Spec 7.2 with signed indices and no shortcuts.
class SlowWalk {
 public:
  SlowWalk(TensorShape shape, const Setting& setting, const History& history)
      : shape_(shape),
        stride_(std::max<std::int64_t>(shape.n_columns, 2)),
        first_column_(setting.first_column),
        history_(history),
        path_(setting.is_dependent),
        places_(history.magnitude.size(), 0),
        column_(shape.n_columns, 0),
        row_(static_cast<std::uint32_t>(setting.row_scale)) {}

  void set_level(std::size_t i, std::int32_t level) {
    places_[i] = std::clamp(place_of(level, path_.quantizer()), -127, 127);
    path_.advance(level);
  }

  [[nodiscard]] LevelFeatures level_features(std::size_t index) const {
    const auto i = static_cast<std::int64_t>(index);
    const std::uint32_t left = 2 * M(i - 1) + M(i - 2);
    const std::uint32_t up = 2 * M(i - stride_) + M(i - stride_ - 1) + M(i - stride_ + 1);
    const std::uint32_t K = shape_.n_rows > 1 ? 8 * column_[column_of(index)] : 0;
    const std::uint32_t R = 3 * row_;
    const std::uint32_t spatial = (K + R + 13 * (left + up)) >> 5;
    const std::uint32_t a = average(i);
    const std::size_t before = index == 0 ? index : index - 1;
    const std::size_t after = index + 1 == places_.size() ? index : index + 1;
    const int around = (history_.signed_level[before] + history_.signed_level[after]) / 2;
    return {.quantizer_index = path_.quantizer(),
            .history_class = capped(a, 24),
            .spatial_class = capped(spatial, 16),
            .magnitude_class = capped((a + spatial) >> 3, 24),
            .sign_class = sign_class(history_.signed_level[index]),
            .left_signum = signum_class(P(i - 1)),
            .signed_class = signed_class(history_.signed_level[index]),
            .left_class = capped(left / 2, 12),
            .up_class = capped(up / 2, 12),
            .column_class = capped(K >> 5, 16),
            .row_class = capped(R >> 3, 16),
            .around_class = capped(average(static_cast<std::int64_t>(before)) +
                                       average(static_cast<std::int64_t>(after)),
                                   24),
            .around_sign_class = sign_class(around),
            .up_signum = signum_class(P(i - stride_))};
  }

  [[nodiscard]] BlockFeatures block_features(std::size_t begin, std::size_t end) const {
    const auto b = static_cast<std::int64_t>(begin);
    const auto e = static_cast<std::int64_t>(end);
    bool up = false;
    for (std::int64_t j = b - stride_; j <= std::min(e - stride_, b) - 1; ++j)
      up |= P(j) != 0;
    std::uint32_t codes = 0;
    for (std::size_t i = begin; i < end; ++i)
      codes += history_.magnitude[i];
    return {.left_coded = left_coded_,
            .up_coded = up,
            .activity_class = capped(codes >> 5, 8),
            .is_sparse = codes + 8 * row_ < 64};
  }

  void end_block(std::size_t begin, std::size_t end, bool is_coded) {
    left_coded_ = is_coded;
    if (!is_coded) {
      for (std::size_t i = begin; i < end; ++i)
        path_.advance(0);
      return;
    }
    for (std::size_t i = begin; i < end; ++i) {
      const auto scaled = static_cast<std::int32_t>(128 * M(static_cast<std::int64_t>(i)));
      const auto moved = [&](std::uint32_t scale, int rate) {
        const auto from = static_cast<std::int32_t>(scale);
        return static_cast<std::uint32_t>(from + ((scaled - from) >> rate));
      };
      row_ = moved(row_, 5);
      std::uint32_t& column = column_[column_of(i)];
      column = moved(column, 4);
    }
  }
  [[nodiscard]] std::uint32_t row_scale() const { return row_; }
  [[nodiscard]] std::uint32_t trellis_state() const { return path_.state(); }

 private:
  // Place and its magnitude, in half steps; zero before the part.
  [[nodiscard]] std::int32_t P(std::int64_t i) const {
    return i < 0 ? 0 : places_[static_cast<std::size_t>(i)];
  }
  [[nodiscard]] std::uint32_t M(std::int64_t i) const {
    return static_cast<std::uint32_t>(std::abs(P(i)));
  }
  [[nodiscard]] std::size_t column_of(std::size_t i) const {
    return (first_column_ + i) % shape_.n_columns;
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
  std::uint32_t first_column_;
  const History& history_;
  TrellisPath path_;
  std::vector<std::int32_t> places_;
  std::vector<std::uint32_t> column_;
  std::uint32_t row_;
  bool left_coded_ = false;
};

}  // namespace fl_deepcabac::testing
