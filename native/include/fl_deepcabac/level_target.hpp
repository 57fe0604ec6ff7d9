// SPDX-License-Identifier: Apache-2.0
// What an encoder's choice of a level aims at: a value in steps, as seen past the offsets.
//
// The offsets of a packet are fitted after its levels are chosen; those of the packet before stand
// in for them.
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>

#include "fl_deepcabac/reconstruction.hpp"

namespace fl_deepcabac {

struct LevelTarget {
  float zero_error;  // of the level zero, in steps, with sign
  float distance;    // to the offset of other places
  bool is_negative;  // on which side of it
  float importance;  // what the squared error counts
};

// The values of one part. `importance`: empty where all count 1.
class LevelTargets {
 public:
  LevelTargets(std::span<const float> values, std::span<const float> importance, float step,
               std::span<const std::int8_t> signed_history, const Offsets& offsets) noexcept
      : values_(values),
        importance_(importance),
        signed_history_(signed_history),
        per_step_(1.0F / step) {
    const OffsetTable table(offsets);
    shift_one_ = static_cast<float>(table.shift_one()) * kUnit;
    shift_more_ = static_cast<float>(table.shift_more()) * kUnit;
    for (std::int32_t code = -127; code <= 127; ++code) {
      const auto signed_code = static_cast<std::int8_t>(code);
      zero_[static_cast<std::uint8_t>(code)] = static_cast<float>(table.zero(signed_code)) * kUnit;
      other_[static_cast<std::uint8_t>(code)] =
          static_cast<float>(table.other(signed_code)) * kUnit;
    }
  }

  [[nodiscard, gnu::always_inline]] LevelTarget operator[](std::size_t i) const noexcept {
    const float value = values_[i] * per_step_;
    const auto code = static_cast<std::uint8_t>(signed_history_[i]);
    const float other = value - other_[code];
    return {.zero_error = value - zero_[code],
            .distance = std::fabs(other),
            .is_negative = other < 0.0F,
            .importance = importance_.empty() ? 1.0F : importance_[i]};
  }
  // Distance of a place above zero, given in half steps, from the same offset.
  [[nodiscard]] float reach(std::int32_t place) const noexcept {
    return 0.5F * static_cast<float>(place) + (place <= 2 ? shift_one_ : shift_more_);
  }
  // A distance less the shift of the places around it; in steps.
  [[nodiscard]] float unshifted(float distance) const noexcept {
    return distance < 1.5F ? distance - shift_one_ : distance - shift_more_;
  }

 private:
  static constexpr float kUnit = 1.0F / 256;

  std::span<const float> values_;
  std::span<const float> importance_;
  std::span<const std::int8_t> signed_history_;
  float per_step_;
  float shift_one_ = 0.0F;
  float shift_more_ = 0.0F;
  // Offsets of zeros and of other places, by signed code; in steps.
  std::array<float, 256> zero_{};
  std::array<float, 256> other_{};
};

}  // namespace fl_deepcabac
