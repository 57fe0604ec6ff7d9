// SPDX-License-Identifier: Apache-2.0
// All contexts of the plain decoder by the names and indices of spec 7.3 and 7.7, as they begin and
// in the order of the saved state (spec 10.2).
//
// Indices are checked: a class that is out of bounds throws.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <vector>

#include "plain_context.hpp"

namespace fl_deepcabac::testing {

// Where the contexts of one name lie among all of their kind: with up to three indices, the last
// one fastest, behind the tables that were made before with the same `n_before`.
class PlainTable {
 public:
  explicit PlainTable(std::size_t& n_before, std::size_t n_1 = 1, std::size_t n_2 = 1,
                      std::size_t n_3 = 1)
      : first_(n_before), n_1_(n_1), n_2_(n_2), n_3_(n_3) {
    n_before += n_1 * n_2 * n_3;
  }
  [[nodiscard]] std::size_t at(std::size_t i, std::size_t j, std::size_t k) const {
    if (i >= n_1_ || j >= n_2_ || k >= n_3_) throw std::out_of_range("a context's indices");
    return first_ + (i * n_2_ + j) * n_3_ + k;
  }

 private:
  std::size_t first_;
  std::size_t n_1_;
  std::size_t n_2_;
  std::size_t n_3_;
};

struct PlainContexts {
  std::vector<PlainContext> all;

  [[nodiscard]] PlainContext& at(const PlainTable& table, std::size_t i = 0, std::size_t j = 0,
                                 std::size_t k = 0) {
    return all.at(table.at(i, j, k));
  }
};

inline constexpr std::size_t kPlainPrefix = 24;  // `s` never exceeds it (spec 5.5)

struct PlainTensorContexts : PlainContexts {
  std::size_t n = 0;
  PlainTable dependent{n};
  PlainTable tensor_zero{n, 2};
  PlainTable repeats{n, 2};
  PlainTable prefix{n, kPlainPrefix};
  PlainTable negative{n};
  PlainTable has_low_bits{n};
  PlainTable keeps_offsets{n};
  PlainTable copies_offsets{n};
  PlainTable offset_prefix{n, kPlainPrefix};

  PlainTensorContexts() { all.resize(n); }
};

// What the profile `max` has for one j of spec 7.7, and for the sign of a level.
struct PlainBinTables {
  PlainTable by_average;
  PlainTable by_neighbours;
  PlainTable by_scales;
  PlainTable by_around;

  explicit PlainBinTables(std::size_t& n)
      : by_average(n, 24, 17),
        by_neighbours(n, 12, 12),
        by_scales(n, 16, 16),
        by_around(n, 24, 24) {}
};
struct PlainSignTables {
  PlainTable by_average;
  PlainTable by_neighbours;

  explicit PlainSignTables(std::size_t& n) : by_average(n, 24, 17), by_neighbours(n, 3, 3, 9) {}
};

// One set of level contexts. What is mixed has no elements in the profile `fast`.
struct PlainLevelContexts : PlainContexts {
  std::size_t n = 0;
  PlainTable block_coded{n, 2, 2, 8};
  PlainTable left_half{n, 6, 3};
  PlainTable right_half{n, 6, 2};
  PlainTable significant{n, 2, 24, 16};
  PlainTable negative{n, 9, 3};
  PlainTable greater{n, 11, 24};  // of g - 1
  PlainTable remainder_prefix{n, kPlainPrefix};
  std::vector<PlainBinTables> bins;   // of j - 1
  std::vector<PlainSignTables> sign;  // one
  std::vector<PlainMixer> mixers;

  explicit PlainLevelContexts(bool is_max);

  [[nodiscard]] bool is_mixed() const { return !mixers.empty(); }
  [[nodiscard]] PlainMixer& bin_mixer(std::size_t j, std::size_t history) {
    return mixers.at(24 * (j - 1) + history);
  }
  [[nodiscard]] PlainMixer& sign_mixer(std::size_t history) { return mixers.at(24 * 13 + history); }
};

// How the contexts of spec 7.3 begin.
inline void begin_at(PlainContext& context, std::int64_t x) {
  context.fast = context.slow = squashed(x) << 16;
  context.count = 4;
}

inline void begin_blocks(PlainLevelContexts& set) {
  for (std::size_t left = 0; left < 2; ++left) {
    for (std::size_t up = 0; up < 2; ++up) {
      for (std::size_t activity = 0; activity < 8; ++activity) {
        const std::size_t x = 500 * left + 150 * up + 110 * activity;
        begin_at(set.at(set.block_coded, left, up, activity), static_cast<std::int64_t>(x) - 640);
      }
    }
  }
  for (std::size_t i = 0; i < 6; ++i) {
    const auto depth = static_cast<std::int64_t>(i);
    for (const std::int64_t balance : {0, 1, 2})
      begin_at(set.at(set.left_half, i, static_cast<std::size_t>(balance)), 150 * balance - 90);
    for (const std::int64_t active : {0, 1}) {
      begin_at(set.at(set.right_half, i, static_cast<std::size_t>(active)),
               std::max<std::int64_t>(60 - 150 * depth - 140 * active, -600));
    }
  }
}

inline void begin_significant_and_negative(PlainLevelContexts& set) {
  for (std::size_t q = 0; q < 2; ++q) {
    for (std::size_t history = 0; history < 24; ++history) {
      for (std::size_t spatial = 0; spatial < 16; ++spatial) {
        const auto x = static_cast<std::int64_t>(128 * spatial + 77 * history + 128 * q);
        begin_at(set.at(set.significant, q, history, spatial),
                 std::min<std::int64_t>(x - 1536, 900));
      }
    }
  }
  for (std::size_t sign = 0; sign < 9; ++sign) {
    for (std::size_t left_signum = 0; left_signum < 3; ++left_signum) {
      begin_at(set.at(set.negative, sign, left_signum),
               140 * (4 - static_cast<std::int64_t>(sign)) +
                   200 * (1 - static_cast<std::int64_t>(left_signum)));
    }
  }
}

inline std::int64_t greater_begins(std::int64_t g, std::int64_t magnitude) {
  const std::int64_t clipped = std::clamp<std::int64_t>(230 * (magnitude - 8), -900, 900);
  if (g == 1) return clipped;
  if (g == 11) return clipped + 128;
  const std::int64_t least = std::min<std::int64_t>(128 * g - 768, 150);
  return std::min<std::int64_t>(std::max(154 * (magnitude - 9), least), 900);
}
inline void begin_greater(PlainLevelContexts& set) {
  for (std::size_t g = 1; g <= 11; ++g) {
    for (std::size_t magnitude = 0; magnitude < 24; ++magnitude) {
      begin_at(set.at(set.greater, g - 1, magnitude),
               greater_begins(static_cast<std::int64_t>(g), static_cast<std::int64_t>(magnitude)));
    }
  }
}

inline PlainLevelContexts::PlainLevelContexts(bool is_max) {
  if (is_max) {
    for (int j = 1; j <= 13; ++j) {
      bins.emplace_back(n);
      mixers.insert(mixers.end(), 24, PlainMixer(5));
    }
    sign.emplace_back(n);
    mixers.insert(mixers.end(), 24, PlainMixer(3));
  }
  all.resize(n);
  begin_blocks(*this);
  begin_significant_and_negative(*this);
  begin_greater(*this);
}

}  // namespace fl_deepcabac::testing
