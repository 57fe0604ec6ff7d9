// SPDX-License-Identifier: Apache-2.0
// What the contexts of the very first level of a stream see: no neighbour and no history, and the
// row scale a walk begins with.
#pragma once

#include "fl_deepcabac/contexts.hpp"

namespace fl_deepcabac::testing {

constexpr LevelFeatures first_level(std::uint32_t row_scale = 0) noexcept {
  LevelFeatures features{};
  features.spatial_class = half_octave_class(3 * row_scale >> 5, kSpatialClasses);
  features.magnitude_class = half_octave_class((3 * row_scale >> 5) >> 3, kMagnitudeClasses);
  features.row_class = half_octave_class(3 * row_scale >> 3, kScaleClasses);
  features.sign_class = kSignClasses / 2;
  features.left_signum = 1;
  features.signed_class = kSignedClasses / 2;
  features.around_sign_class = kSignClasses / 2;
  features.up_signum = 1;
  return features;
}

}  // namespace fl_deepcabac::testing
