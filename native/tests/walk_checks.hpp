// SPDX-License-Identifier: Apache-2.0
// Whether two walks show contexts the same.
#pragma once

#include "check.hpp"
#include "fl_deepcabac/contexts.hpp"

namespace fl_deepcabac::testing {

inline void check_features(const LevelFeatures& found, const LevelFeatures& expected) {
  check_equal(found.quantizer_index, expected.quantizer_index);
  check_equal(found.history_class, expected.history_class);
  check_equal(found.spatial_class, expected.spatial_class);
  check_equal(found.magnitude_class, expected.magnitude_class);
  check_equal(found.sign_class, expected.sign_class);
  check_equal(found.left_signum, expected.left_signum);
  check_equal(found.signed_class, expected.signed_class);
  check_equal(found.left_class, expected.left_class);
  check_equal(found.up_class, expected.up_class);
  check_equal(found.column_class, expected.column_class);
  check_equal(found.row_class, expected.row_class);
  check_equal(found.around_class, expected.around_class);
  check_equal(found.around_sign_class, expected.around_sign_class);
  check_equal(found.up_signum, expected.up_signum);
}

inline void check_features(const BlockFeatures& found, const BlockFeatures& expected) {
  check_equal(found.left_coded, expected.left_coded);
  check_equal(found.up_coded, expected.up_coded);
  check_equal(found.activity_class, expected.activity_class);
  check_equal(found.is_sparse, expected.is_sparse);
}

// Levels below their classes' bounds, or the context tables would be left.
inline void check_bounds(const LevelFeatures& level) {
  check(level.history_class < kHistoryClasses && level.spatial_class < kSpatialClasses &&
            level.magnitude_class < kMagnitudeClasses && level.sign_class < kSignClasses &&
            level.left_signum < kSignumClasses && level.signed_class < kSignedClasses &&
            level.left_class < kNearClasses && level.up_class < kNearClasses &&
            level.column_class < kScaleClasses && level.row_class < kScaleClasses &&
            level.around_class < kHistoryClasses && level.around_sign_class < kSignClasses &&
            level.up_signum < kSignumClasses,
        "classes below their bounds");
}

}  // namespace fl_deepcabac::testing
