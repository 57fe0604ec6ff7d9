// SPDX-License-Identifier: Apache-2.0
// What the contexts of the very first level of a stream see: no neighbour and no history.
#pragma once

#include "fl_deepcabac/contexts.hpp"

namespace fl_deepcabac::testing {

constexpr LevelFeatures first_level() noexcept {
  LevelFeatures features{};
  features.sign_class = kSignClasses / 2;
  features.left_signum = 1;
  features.signed_class = kSignedClasses / 2;
  features.around_sign_class = kSignClasses / 2;
  features.up_signum = 1;
  return features;
}

}  // namespace fl_deepcabac::testing
