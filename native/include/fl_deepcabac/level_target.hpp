// SPDX-License-Identifier: Apache-2.0
// What an encoder's choice of a level aims at: a value in steps, as seen past the offsets.
//
// The offsets of a packet are fitted after its levels are chosen; those of the packet before stand
// in for them.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>

#include "fl_deepcabac/reconstruction.hpp"
#include "fl_deepcabac/tensor_walk.hpp"

namespace fl_deepcabac {

// The targets of a block, and of the levels an encoder looks ahead to.
struct BlockTargets {
  // Whole vectors of them.
  static constexpr std::size_t kCapacity = 80;
  static_assert(kCapacity >= kBlockLevels + kLookahead);

  std::array<float, kCapacity> zero_errors{};  // of the level zero, in steps, with sign
  std::array<float, kCapacity> distances{};    // to the offset of other places, with sign
  // Of a one, in what squared errors count, as seen without offsets; beyond measure where larger
  // levels may be worth what a one is not.
  std::array<float, kCapacity> gains{};
  const float* importances = nullptr;  // what squared errors count; null where all count 1

  [[nodiscard]] float importance(std::size_t i) const noexcept {
    return importances == nullptr ? 1.0F : importances[i];
  }
  [[nodiscard]] float distance(std::size_t i) const noexcept { return std::fabs(distances[i]); }
  [[nodiscard]] bool is_negative(std::size_t i) const noexcept { return distances[i] < 0.0F; }
  // Of leaving level i at zero.
  [[nodiscard]] float zero_cost(std::size_t i) const noexcept {
    return importance(i) * (zero_errors[i] * zero_errors[i]);
  }
  void fill_gains(std::size_t n_levels) noexcept {
    constexpr float kOneIsNearest = 1.5F;
    constexpr float kSteep = 1e30F;
    for (std::size_t i = 0; i < kBlockLevels; ++i) {
      const float distance = std::fabs(distances[i]);
      gains[i] = std::max(2.0F * distance - 1.0F, kSteep * (distance - kOneIsNearest));
    }
    for (std::size_t i = 0; importances != nullptr && i < n_levels; ++i)
      gains[i] *= importances[i];
  }
  // Bit i: whether the level i of the block's first `n_levels` may be other than zero.
  [[nodiscard]] std::uint64_t candidates(std::size_t n_levels, float zero_below) const noexcept {
    return mask_of(n_levels, [&](std::size_t i) { return std::fabs(distances[i]) >= zero_below; });
  }
  // Bit i: whether a one gains so much at the level i.
  [[nodiscard]] std::uint64_t gaining(std::size_t n_levels, float least) const noexcept {
    return mask_of(n_levels, [&](std::size_t i) { return gains[i] >= least; });
  }

 private:
  template <class Test>
  [[nodiscard]] static std::uint64_t mask_of(std::size_t n_levels, Test&& test) noexcept {
    // In vectors, then eight flags at a time: the product gathers their lowest bits in its top
    // byte.
    constexpr std::uint64_t kGather = 0x0102040810204080;
    std::array<std::uint8_t, kBlockLevels> flags;
    for (std::size_t i = 0; i < kBlockLevels; ++i)
      flags[i] = test(i) ? 1 : 0;
    std::uint64_t mask = 0;
    for (std::size_t byte = 0; byte < kBlockLevels / 8; ++byte) {
      std::uint64_t eight = 0;
      for (std::size_t i = 0; i < 8; ++i)
        eight |= std::uint64_t{flags[8 * byte + i]} << (8 * i);
      mask |= ((eight * kGather) >> 56) << (8 * byte);
    }
    return n_levels == kBlockLevels ? mask : mask & ((std::uint64_t{1} << n_levels) - 1);
  }
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

  // Distances of the levels from `begin` on, as many as there are up to `n_wanted`; returns how
  // many.
  std::size_t fill_distances(std::size_t begin, std::size_t n_wanted,
                             BlockTargets& targets) const noexcept {
    const std::size_t n_levels = std::min(n_wanted, values_.size() - begin);
    const float* values = values_.data() + begin;
    const std::int8_t* codes = signed_history_.data() + begin;
    const auto distance = [&](std::size_t i) {
      return values[i] * per_step_ - other_[static_cast<std::uint8_t>(codes[i])];
    };
    constexpr std::size_t kUnrolled = 4;
    std::size_t done = 0;
    for (; done + kUnrolled <= n_levels; done += kUnrolled) {
      for (std::size_t i = done; i < done + kUnrolled; ++i)
        targets.distances[i] = distance(i);
    }
    for (; done < n_levels; ++done)
      targets.distances[done] = distance(done);
    targets.importances = importance_.empty() ? nullptr : importance_.data() + begin;
    return n_levels;
  }
  // The same, and errors of zero.
  std::size_t fill(std::size_t begin, std::size_t n_wanted, BlockTargets& targets) const noexcept {
    const std::size_t n_levels = fill_distances(begin, n_wanted, targets);
    for (std::size_t i = 0; i < n_levels; ++i)
      targets.zero_errors[i] = zero_error(begin + i);
    return n_levels;
  }
  [[nodiscard]] float zero_error(std::size_t i) const noexcept {
    return values_[i] * per_step_ - zero_[static_cast<std::uint8_t>(signed_history_[i])];
  }
  // Distance of a place above zero, given in half steps, from the same offset.
  [[nodiscard]] float reach(std::int32_t place) const noexcept {
    return 0.5F * static_cast<float>(place) + (place <= 2 ? shift_one_ : shift_more_);
  }
  [[nodiscard]] float shift_one() const noexcept { return shift_one_; }
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
