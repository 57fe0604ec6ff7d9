// SPDX-License-Identifier: Apache-2.0
// The inputs of contexts (spec 7.2) without shortcuts, for one part: nothing is clipped to a table,
// kept in a window or worked out for a block at once. The state of dependent quantisation (spec
// 5.6) is moved along with it.
//
// Numbers have 64 bits and signs, and shifts of negative ones are floors. Part of the plain
// decoder; test_tensor_walk_slow.cpp compares the walk of the core with it directly, too.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <utility>
#include <vector>

#include "plain_numbers.hpp"

namespace fl_deepcabac::testing {

// A tensor as spec 5.1 sees it.
struct PlainShape {
  std::size_t n_rows = 0;
  std::size_t n_columns = 0;

  [[nodiscard]] std::size_t n_levels() const { return n_rows * n_columns; }
  [[nodiscard]] bool has_more_rows() const { return n_rows > 1; }
};

struct PlainLevelClasses {
  std::size_t quantizer = 0;
  std::size_t history = 0;
  std::size_t spatial = 0;
  std::size_t magnitude = 0;
  std::size_t sign = 0;
  std::size_t left_signum = 0;
  std::size_t signed_average = 0;
  std::size_t left = 0;
  std::size_t up = 0;
  std::size_t column = 0;
  std::size_t row = 0;
  std::size_t around = 0;
  std::size_t around_sign = 0;
  std::size_t up_signum = 0;
};

struct PlainBlockClasses {
  bool left = false;
  bool up = false;
  std::size_t activity = 0;
  bool is_sparse = false;
};

// Where and with what a part begins. The codes of the history are those of its positions.
struct PlainPartStart {
  PlainShape shape;
  std::size_t position = 0;  // in the tensor
  bool is_dependent = false;
  std::vector<std::int64_t> magnitude_codes;
  std::vector<std::int64_t> signed_codes;
};

class PlainWalk {
 public:
  // `row` is the scale of the context set, which goes on from part to part.
  PlainWalk(PlainPartStart start, std::int64_t& row)
      : start_(std::move(start)), places_(start_.magnitude_codes.size(), 0), row_(row) {
    while (u_ < 96)
      u_ += start_.shape.n_columns;
    columns_.assign(u_, 0);
  }

  [[nodiscard]] std::size_t n_levels() const { return places_.size(); }
  [[nodiscard]] std::int64_t quantizer() const { return state_ & 1; }
  [[nodiscard]] std::int64_t trellis_state() const { return state_; }
  [[nodiscard]] std::int64_t row() const { return row_; }
  [[nodiscard]] std::int64_t magnitude_code(std::size_t i) const {
    return start_.magnitude_codes.at(i);
  }
  // In half steps, not clipped.
  [[nodiscard]] std::int64_t place(std::size_t i) const { return places_.at(i); }

  void set_level(std::size_t i, std::int64_t level) {
    places_.at(i) = 2 * level - quantizer() * sign_of(level);
    if (!start_.is_dependent) return;
    const std::int64_t odd_state = (state_ & 1) != 0 ? 18 : 0;
    const std::int64_t odd_level = level % 2 != 0 ? 4 : 0;
    state_ = (state_ >> 1) ^ odd_state ^ odd_level;
  }

  [[nodiscard]] PlainLevelClasses level_classes(std::size_t index) const {
    const auto i = static_cast<std::int64_t>(index);
    const auto u = static_cast<std::int64_t>(u_);
    const std::int64_t last = static_cast<std::int64_t>(n_levels()) - 1;
    const std::int64_t left = 2 * M(i - 1) + M(i - 2);
    const std::int64_t up = 2 * M(i - u) + M(i - u - 1) + M(i - u + 1);
    const std::int64_t K = columns_.at(column_of(index));
    const std::int64_t R = (3 * row_) >> 3;
    const std::int64_t spatial = (K + R + ((13 * up) >> 3) + ((13 * left) >> 3)) >> 2;
    const std::int64_t before = std::max<std::int64_t>(i - 1, 0);
    const std::int64_t after = std::min(i + 1, last);
    return {.quantizer = static_cast<std::size_t>(quantizer()),
            .history = class_below(a(i), 24),
            .spatial = class_below(spatial, 16),
            .magnitude = class_below((a(i) + spatial) >> 3, 24),
            .sign = sign_class(code_of_s(i)),
            .left_signum = signum_class(L(i - 1)),
            .signed_average = signed_class(code_of_s(i)),
            .left = class_below(left / 2, 12),
            .up = class_below(up / 2, 12),
            .column = class_below(K >> 2, 16),
            .row = class_below(R, 16),
            .around = class_below(a(before) + a(after), 24),
            .around_sign = sign_class((code_of_s(before) + code_of_s(after)) / 2),
            .up_signum = signum_class(L(i - u))};
  }

  // Of the block of positions `begin` to `end` - 1.
  [[nodiscard]] PlainBlockClasses block_classes(std::size_t begin, std::size_t end) const {
    const std::int64_t sum = sum_of_codes(begin, end);
    bool up = false;
    for (std::size_t i = begin; i < end; ++i)
      up = up || L(static_cast<std::int64_t>(i) - static_cast<std::int64_t>(u_)) != 0;
    return {.left = left_is_coded_,
            .up = up,
            .activity = class_below(sum >> 5, 8),
            .is_sparse = sum + 8 * row_ < 64};
  }

  [[nodiscard]] std::int64_t sum_of_codes(std::size_t begin, std::size_t end) const {
    std::int64_t sum = 0;
    for (std::size_t i = begin; i < end; ++i)
      sum += magnitude_code(i);
    return sum;
  }

  // After the levels of the block have been set, zeros too.
  void end_block(std::size_t begin, std::size_t end, bool is_coded) {
    left_is_coded_ = is_coded;
    if (!is_coded) return;
    std::int64_t S = 0;
    for (std::size_t i = begin; i < end; ++i) {
      const std::int64_t size = M(static_cast<std::int64_t>(i));
      S += size;
      std::int64_t& column = columns_.at(column_of(i));
      if (start_.shape.has_more_rows()) column += (128 * size - column) >> 4;
    }
    row_ += (7 * (128 * S / static_cast<std::int64_t>(end - begin) - row_)) >> 3;
  }

 private:
  [[nodiscard]] std::int64_t L(std::int64_t i) const {
    if (i < 0) return 0;
    return std::clamp<std::int64_t>(places_.at(static_cast<std::size_t>(i)), -127, 127);
  }
  [[nodiscard]] std::int64_t M(std::int64_t i) const { return std::abs(L(i)); }
  [[nodiscard]] std::size_t column_of(std::size_t i) const { return (start_.position + i) % u_; }
  [[nodiscard]] std::int64_t a(std::int64_t i) const {
    return history_value(magnitude_code(static_cast<std::size_t>(i)));
  }
  [[nodiscard]] std::int64_t code_of_s(std::int64_t i) const {
    return start_.signed_codes.at(static_cast<std::size_t>(i));
  }
  [[nodiscard]] static std::size_t sign_class(std::int64_t code) {
    std::int64_t t = 0;
    for (const std::int64_t threshold : {2, 8, 16, 32})
      t += std::abs(code) >= threshold ? 1 : 0;
    return static_cast<std::size_t>(code >= 0 ? 4 + t : 4 - t);
  }
  [[nodiscard]] static std::size_t signed_class(std::int64_t code) {
    const std::int64_t size = std::abs(signed_value(code));
    const std::int64_t t = std::min<std::int64_t>(half_octave(size) / 2, 8);
    return static_cast<std::size_t>(code >= 0 ? 8 + t : 8 - t);
  }

  PlainPartStart start_;
  std::vector<std::int64_t> places_;
  std::size_t u_ = 0;  // columns of joined rows
  std::vector<std::int64_t> columns_;
  std::int64_t& row_;
  std::int64_t state_ = 0;
  bool left_is_coded_ = false;
};

}  // namespace fl_deepcabac::testing
