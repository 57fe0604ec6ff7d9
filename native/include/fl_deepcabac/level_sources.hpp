// SPDX-License-Identifier: Apache-2.0
// Where the levels of an update come from: given, chosen from values, or decoded.
//
// A source tells which tensors are all zero, fills the blocks of a part before they are coded, and
// knows the values that offsets are fitted to.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

#include "fl_deepcabac/level_codec.hpp"
#include "fl_deepcabac/level_target.hpp"
#include "fl_deepcabac/parts.hpp"
#include "fl_deepcabac/rate_distortion.hpp"
#include "fl_deepcabac/reconstruction.hpp"
#include "fl_deepcabac/tensor_walk.hpp"
#include "fl_deepcabac/trellis_chooser.hpp"

namespace fl_deepcabac {

// What a source is asked for about one part.
struct PartSetting {
  const Part& part;
  std::uint32_t step_bits;
  const Offsets& offsets;  // as known before the part is coded
};

class GivenLevels {
 public:
  // `values`: what the levels stand for, so that offsets can be fitted; empty where they are to
  // stay.
  GivenLevels(std::span<const std::int32_t> levels, std::span<const float> values,
              float price) noexcept
      : levels_(levels), values_(values), price_(price) {}

  [[nodiscard]] static bool is_dependent() noexcept { return false; }
  [[nodiscard]] bool is_zero(std::size_t /*tensor*/, std::size_t begin,
                             std::size_t n_levels) const noexcept {
    return !any_level(levels_.subspan(begin, n_levels));
  }
  template <class Contexts, class Body>
  void with_chooser(Contexts& /*contexts*/, TensorWalk& /*walk*/, const PartSetting& setting,
                    Body&& body) const {
    body(Copier{levels_.subspan(setting.part.begin, setting.part.n_levels)});
  }
  [[nodiscard]] std::span<const float> values(const Part& part) const noexcept {
    return values_.empty() ? values_ : values_.subspan(part.begin, part.n_levels);
  }
  [[nodiscard]] static std::span<const float> importance(const Part& /*part*/) noexcept {
    return {};
  }
  // Levels without values stay where they are.
  [[nodiscard]] bool fits_offsets() const noexcept { return !values_.empty(); }
  [[nodiscard]] float price() const noexcept { return price_; }

 private:
  struct Copier {
    static constexpr bool kPicks = false;
    static constexpr bool kKnowsLevels = true;

    std::span<const std::int32_t> own;

    [[nodiscard]] BlockPlan operator()(std::size_t begin, std::size_t end,
                                       const BlockFeatures& /*block*/,
                                       std::span<std::int32_t> levels) const {
      const auto block = own.subspan(begin, end - begin);
      if (!any_level(block)) return BlockPlan::kZero;
      std::copy(block.begin(), block.end(), levels.begin());
      return BlockPlan::kGiven;
    }
  };

  [[nodiscard]] static bool any_level(std::span<const std::int32_t> levels) noexcept {
    return std::any_of(levels.begin(), levels.end(), [](std::int32_t level) { return level != 0; });
  }

  std::span<const std::int32_t> levels_;
  std::span<const float> values_;
  float price_;
};

class ValuesToQuantise {
 public:
  // `largest`: the largest magnitude of each tensor.
  ValuesToQuantise(std::span<const float> values, std::span<const float> largest,
                   std::span<const std::uint32_t> step_bits, const Choice& choice) noexcept
      : values_(values),
        importance_(choice.importance),
        largest_(largest),
        step_bits_(step_bits),
        price_(choice.price),
        is_dependent_(choice.is_dependent),
        fits_offsets_(choice.fits_offsets) {}

  [[nodiscard]] bool is_dependent() const noexcept { return is_dependent_; }
  [[nodiscard]] bool is_zero(std::size_t tensor, std::size_t /*begin*/,
                             std::size_t /*n_levels*/) const noexcept {
    // The trellis has places at half steps too.
    const float zero_below = is_dependent_ ? kZeroBelow / 2 : kZeroBelow;
    return largest_[tensor] / std::bit_cast<float>(step_bits_[tensor]) < zero_below;
  }
  template <class Contexts, class Body>
  void with_chooser(Contexts& contexts, TensorWalk& walk, const PartSetting& setting,
                    Body&& body) const {
    const LevelTargets targets(values(setting.part), importance(setting.part),
                               std::bit_cast<float>(setting.step_bits), walk.history().signed_level,
                               setting.offsets);
    if (is_dependent_) {
      body(TrellisChooser<Contexts>(contexts, walk, targets, price_));
    } else {
      body(LevelChooser<Contexts>(contexts, walk, targets, price_));
    }
  }
  [[nodiscard]] std::span<const float> values(const Part& part) const noexcept {
    return values_.subspan(part.begin, part.n_levels);
  }
  [[nodiscard]] std::span<const float> importance(const Part& part) const noexcept {
    return importance_.empty() ? importance_ : importance_.subspan(part.begin, part.n_levels);
  }
  [[nodiscard]] bool fits_offsets() const noexcept { return fits_offsets_; }
  [[nodiscard]] float price() const noexcept { return price_; }

 private:
  std::span<const float> values_;
  std::span<const float> importance_;
  std::span<const float> largest_;
  std::span<const std::uint32_t> step_bits_;
  float price_;
  bool is_dependent_;
  bool fits_offsets_;
};

class UnknownLevels {
 public:
  [[nodiscard]] static bool is_dependent() noexcept { return false; }
  [[nodiscard]] static bool is_zero(std::size_t /*tensor*/, std::size_t /*begin*/,
                                    std::size_t /*n_levels*/) noexcept {
    return false;
  }
  template <class Contexts, class Body>
  void with_chooser(Contexts& /*contexts*/, TensorWalk& /*walk*/, const PartSetting& /*setting*/,
                    Body&& body) const {
    body(Nothing{});
  }
  [[nodiscard]] static std::span<const float> values(const Part& /*part*/) noexcept { return {}; }
  [[nodiscard]] static std::span<const float> importance(const Part& /*part*/) noexcept {
    return {};
  }
  [[nodiscard]] static bool fits_offsets() noexcept { return false; }
  [[nodiscard]] static float price() noexcept { return 0.0F; }

 private:
  struct Nothing {
    static constexpr bool kPicks = false;
    static constexpr bool kKnowsLevels = false;

    [[nodiscard]] BlockPlan operator()(std::size_t /*begin*/, std::size_t /*end*/,
                                       const BlockFeatures& /*block*/,
                                       std::span<std::int32_t> /*levels*/) const noexcept {
      return BlockPlan::kGiven;
    }
  };
};

}  // namespace fl_deepcabac
