// SPDX-License-Identifier: Apache-2.0
// One context set of the profile "max": several contexts a bin, mixed (spec 7.7).
//
// The first context of every bin is the one the profile "fast" uses; the others look at one source
// each.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "fl_deepcabac/contexts.hpp"
#include "fl_deepcabac/mixer.hpp"

namespace fl_deepcabac {

inline constexpr std::size_t kMagnitudeInputs = 5;
inline constexpr std::size_t kSignInputs = 3;

class MixedContexts {
 public:
  static constexpr bool kLooksAtAll = true;

  // Every bin of a level looks at most inputs, so all are worked out once.
  template <class View>
  [[nodiscard]] static LevelFeatures inputs_of(const View& view) noexcept {
    return view.features();
  }
  template <class View>
  [[nodiscard]] static LevelFeatures search_inputs_of(const View& view) noexcept {
    return view.features();
  }
  [[nodiscard]] static const LevelFeatures& nonzero_inputs_of(const LevelFeatures& level) noexcept {
    // NOLINTNEXTLINE(bugprone-return-const-ref-from-parameter): as its callers know
    return level;
  }

  [[nodiscard]] SteadyEstimate block_coded(const BlockFeatures& block) noexcept {
    return plain_.block_coded(block);
  }
  [[nodiscard]] SteadyEstimate left_half(const HalfFeatures& half) noexcept {
    return plain_.left_half(half);
  }
  [[nodiscard]] SteadyEstimate right_half(const HalfFeatures& half) noexcept {
    return plain_.right_half(half);
  }
  [[nodiscard]] PlainEstimate remainder_prefix(int position) noexcept {
    return plain_.remainder_prefix(position);
  }

  [[nodiscard]] MixedEstimate<kMagnitudeInputs> significant(const LevelFeatures& level) noexcept {
    return mixed_magnitude(level, significant_index(level.quantizer_index),
                           plain_.significant(level).model);
  }
  [[nodiscard]] MixedEstimate<kMagnitudeInputs> greater(const LevelFeatures& level,
                                                        int k) noexcept {
    return mixed_magnitude(level, greater_index(k, level.quantizer_index),
                           plain_.greater(level, k).model);
  }
  [[nodiscard]] MixedEstimate<kSignInputs> negative(const LevelFeatures& level) noexcept {
    return {
        &sign_mixers_[level.history_class],
        {plain_.negative(level).model, &sign_by_average_[level.history_class][level.signed_class],
         &sign_by_neighbours_[level.left_signum][level.up_signum][level.around_sign_class]}};
  }

  // By the first of its contexts alone, for an encoder's search, where a bin is about the same for
  // all choices.
  [[nodiscard]] PlainEstimate roughly_significant(const LevelFeatures& level) noexcept {
    return plain_.significant(level);
  }
  [[nodiscard]] PlainEstimate roughly_greater(const LevelFeatures& level, int k) noexcept {
    return plain_.greater(level, k);
  }
  [[nodiscard]] PlainEstimate roughly_negative(const LevelFeatures& level) noexcept {
    return plain_.negative(level);
  }

  // Every model once, then every mixer, in the order of the saved state (spec 10.2).
  template <class Self, class Visitor>
  static void visit_models(Self& self, Visitor&& visit) {
    FastContexts::visit_models(self.plain_, visit);
    for (auto& bin : self.magnitude_) {
      visit_all(bin.by_average, visit);
      visit_all(bin.by_neighbours, visit);
      visit_all(bin.by_scales, visit);
      visit_all(bin.by_around, visit);
    }
    visit_all(self.sign_by_average_, visit);
    visit_all(self.sign_by_neighbours_, visit);
  }
  template <class Self, class Visitor>
  static void visit_mixers(Self& self, Visitor&& visit) {
    for (auto& mixers : self.magnitude_mixers_) {
      for (auto& mixer : mixers)
        visit(mixer);
    }
    for (auto& mixer : self.sign_mixers_)
      visit(mixer);
  }

  [[nodiscard]] bool operator==(const MixedContexts&) const noexcept = default;

 private:
  // Bins that share a layout: "greater than k", then "significant", of quantiser 0 first.
  static constexpr std::size_t kMagnitudeBins = kGreaterBins + 1 + kQuantizers;
  [[nodiscard]] static constexpr std::size_t significant_index(std::uint32_t quantizer) noexcept {
    return kGreaterBins + 1 + quantizer;
  }

  struct MagnitudeModels {
    ModelGrid<kHistoryClasses, kSignedClasses> by_average;  // [magnitude average][signed average]
    ModelGrid<kNearClasses, kNearClasses> by_neighbours;    // [left two][upper three]
    ModelGrid<kScaleClasses, kScaleClasses> by_scales;      // [column][row]
    ModelGrid<kHistoryClasses, kHistoryClasses> by_around;  // [own average][averages at both sides]

    [[nodiscard]] bool operator==(const MagnitudeModels&) const noexcept = default;
  };

  [[nodiscard]] MixedEstimate<kMagnitudeInputs> mixed_magnitude(const LevelFeatures& level,
                                                                std::size_t bin,
                                                                BitModel* plain) noexcept {
    MagnitudeModels& models = magnitude_[bin];
    return {&magnitude_mixers_[bin][level.history_class],
            {plain, &models.by_average[level.history_class][level.signed_class],
             &models.by_neighbours[level.left_class][level.up_class],
             &models.by_scales[level.column_class][level.row_class],
             &models.by_around[level.history_class][level.around_class]}};
  }

  FastContexts plain_;
  std::array<MagnitudeModels, kMagnitudeBins> magnitude_;
  // [magnitude average][signed average]
  ModelGrid<kHistoryClasses, kSignedClasses> sign_by_average_;
  // [left][up][around]
  std::array<ModelGrid<kSignumClasses, kSignClasses>, kSignumClasses> sign_by_neighbours_;
  std::array<std::array<MixerWeights<kMagnitudeInputs>, kHistoryClasses>, kMagnitudeBins>
      magnitude_mixers_;
  std::array<MixerWeights<kSignInputs>, kHistoryClasses> sign_mixers_;
};

}  // namespace fl_deepcabac
