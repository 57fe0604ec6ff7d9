// SPDX-License-Identifier: Apache-2.0
// The adaptive contexts of a stream, by name (spec 7).
//
// A context is chosen by what both ends already know: levels coded before, and the history. Context
// sets are shared by tensors of one class, so that a small tensor need not learn alone.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "fl_deepcabac/bit_model.hpp"
#include "fl_deepcabac/feature_classes.hpp"
#include "fl_deepcabac/trellis.hpp"

namespace fl_deepcabac {

// Unary "greater than" bins before the remainder, and prefix bins of the remainder (spec 5.3).
inline constexpr int kGreaterBins = 10;
inline constexpr int kMaxPrefix = 24;
// Times that a block of 64 can be halved.
inline constexpr std::size_t kHalvings = 6;

// Where the contexts of "greater than k" lie: quantiser 1 has its own for k = 1, behind the others.
[[nodiscard]] constexpr std::size_t greater_index(int k, std::uint32_t quantizer) noexcept {
  return k == 1 && quantizer != 0 ? std::size_t{kGreaterBins} : static_cast<std::size_t>(k - 1);
}

// What the contexts of one level depend on; classes are below their bounds above.
struct LevelFeatures {
  std::uint32_t quantizer_index;  // of the trellis; 0 without one
  std::uint32_t history_class;    // of the magnitude average
  std::uint32_t spatial_class;    // of the estimate from neighbours, row and column
  std::uint32_t magnitude_class;  // of both together
  std::uint32_t sign_class;       // of the signed average
  std::uint32_t left_signum;      // of the level before

  // Looked at by the profile "max" only.
  std::uint32_t signed_class;       // of the signed average, finer than sign_class
  std::uint32_t left_class;         // of the two levels before
  std::uint32_t up_class;           // of the three levels one row up
  std::uint32_t column_class;       // of the column scale
  std::uint32_t row_class;          // of the row scale
  std::uint32_t around_class;       // of the magnitude averages left and right
  std::uint32_t around_sign_class;  // of the signed averages left and right
  std::uint32_t up_signum;          // of the level one row up

  // The interface of `LevelCursor`, which works these out when asked for.
  [[nodiscard]] std::uint32_t quantizer() const noexcept { return quantizer_index; }
  [[nodiscard]] std::uint32_t history() const noexcept { return history_class; }
  [[nodiscard]] std::uint32_t spatial() const noexcept { return spatial_class; }
  [[nodiscard]] std::uint32_t magnitude() const noexcept { return magnitude_class; }
  [[nodiscard]] std::uint32_t sign() const noexcept { return sign_class; }
  [[nodiscard]] std::uint32_t left_sign() const noexcept { return left_signum; }
};

// What the profile "fast" looks at for a level that is not zero.
struct NonzeroFeatures {
  std::uint32_t quantizer_index;
  std::uint32_t magnitude_class;
  std::uint32_t sign_class;
  std::uint32_t left_signum;

  [[nodiscard]] std::uint32_t quantizer() const noexcept { return quantizer_index; }
  [[nodiscard]] std::uint32_t magnitude() const noexcept { return magnitude_class; }
  [[nodiscard]] std::uint32_t sign() const noexcept { return sign_class; }
  [[nodiscard]] std::uint32_t left_sign() const noexcept { return left_signum; }
};

// The same without a trellis.
struct PlainNonzeroFeatures : NonzeroFeatures {
  [[nodiscard]] static constexpr std::uint32_t quantizer() noexcept { return 0; }
};

// All that the profile "fast" looks at, for an encoder's search.
struct FastFeatures : NonzeroFeatures {
  std::uint32_t history_class;
  std::uint32_t spatial_class;

  [[nodiscard]] std::uint32_t history() const noexcept { return history_class; }
  [[nodiscard]] std::uint32_t spatial() const noexcept { return spatial_class; }
};

// What the contexts of a block depend on.
struct BlockFeatures {
  bool left_coded;               // the block before is coded
  bool up_coded;                 // the levels one row up are not all zero
  std::uint32_t activity_class;  // of the sum of the block's magnitude averages
  bool is_sparse;                // few levels are expected: they are found by halving
};

// What the contexts of a halved run of levels depend on (spec 5.4).
struct HalfFeatures {
  std::uint32_t depth;    // of the run: 0 for a block
  std::uint32_t balance;  // signum class of left minus right, of the sums of magnitude averages
  bool right_active;      // whether the right half's sum is not zero
};

// One context, as what a bin is coded with. Profiles with more than one context a bin offer the
// same two members.
struct PlainEstimate {
  BitModel* model;

  [[nodiscard]] std::uint32_t probability() const noexcept { return model->probability(); }
  [[gnu::always_inline]] void update(bool bin) const noexcept { model->update(bin); }
};

// One context of a bin that is about a whole run of levels: rare ones would suffer from a quick
// estimate.
struct SteadyEstimate {
  BitModel* model;

  [[nodiscard]] std::uint32_t probability() const noexcept { return model->probability(); }
  void update(bool bin) const noexcept { model->update_steadily(bin); }
};

template <std::size_t n_rows, std::size_t n_columns>
using ModelGrid = std::array<std::array<BitModel, n_columns>, n_rows>;

// Calls visit(model) for a model, or for every model of nested arrays of them, in order.
template <class Models, class Visitor>
void visit_all(Models& models, Visitor&& visit) {
  if constexpr (std::is_same_v<std::remove_const_t<Models>, BitModel>) {
    visit(models);
  } else {
    for (auto& part : models)
      visit_all(part, visit);
  }
}

// One context set of the profile "fast": one context a bin (spec 7.3).
class FastContexts {
 public:
  static constexpr bool kLooksAtAll = false;

  FastContexts() noexcept;

  // What the bin `significant` looks at; and what the other bins of a level do, worked out once, as
  // few levels have them.
  template <class View>
  [[nodiscard]] static const View& inputs_of(const View& view) noexcept {
    // NOLINTNEXTLINE(bugprone-return-const-ref-from-parameter): as its callers know
    return view;
  }
  template <class View>
  [[nodiscard]] static auto nonzero_inputs_of(const View& view) noexcept {
    const NonzeroFeatures inputs{view.quantizer(), view.magnitude(), view.sign(), view.left_sign()};
    if constexpr (requires { requires View::kIsPlain; }) {
      return PlainNonzeroFeatures{inputs};
    } else {
      return inputs;
    }
  }
  // All of it, for a search that looks at one level under both quantisers.
  template <class View>
  [[nodiscard]] static FastFeatures search_inputs_of(const View& view) noexcept {
    return {nonzero_inputs_of(view), view.history(), view.spatial()};
  }

  [[nodiscard]] SteadyEstimate block_coded(const BlockFeatures& block) noexcept {
    return {&block_coded_[block.left_coded][block.up_coded][block.activity_class]};
  }
  // Whether the left half of a run that is not all zero holds a level, and whether the right half
  // does where the left one did.
  [[nodiscard]] SteadyEstimate left_half(const HalfFeatures& half) noexcept {
    return {&left_half_[half.depth][half.balance]};
  }
  [[nodiscard]] SteadyEstimate right_half(const HalfFeatures& half) noexcept {
    return {&right_half_[half.depth][half.right_active]};
  }
  template <class Level>
  [[nodiscard]] PlainEstimate significant(const Level& level) noexcept {
    return significant(level.quantizer(), level.history(), level.spatial());
  }
  [[nodiscard]] PlainEstimate significant(std::uint32_t quantizer, std::uint32_t history,
                                          std::uint32_t spatial) noexcept {
    return {&significant_[quantizer][history][spatial]};
  }
  template <class Level>
  [[nodiscard]] PlainEstimate negative(const Level& level) noexcept {
    return {&negative_[level.sign()][level.left_sign()]};
  }
  // Whether the magnitude exceeds `k`, 1 <= k <= kGreaterBins.
  template <class Level>
  [[nodiscard]] PlainEstimate greater(const Level& level, int k) noexcept {
    return {&greater_[greater_index(k, level.quantizer())][level.magnitude()]};
  }
  [[nodiscard]] PlainEstimate remainder_prefix(int position) noexcept {
    return {&remainder_prefix_[static_cast<std::size_t>(position)]};
  }

  // As the profile "max" has them, whose estimates cost more.
  template <class Level>
  [[nodiscard]] PlainEstimate roughly_significant(const Level& level) noexcept {
    return significant(level);
  }
  template <class Level>
  [[nodiscard]] PlainEstimate roughly_greater(const Level& level, int k) noexcept {
    return greater(level, k);
  }
  template <class Level>
  [[nodiscard]] PlainEstimate roughly_negative(const Level& level) noexcept {
    return negative(level);
  }

  // Every model once, in the order of the saved state (spec 10.2).
  template <class Self, class Visitor>
  static void visit_models(Self& self, Visitor&& visit) {
    visit_all(self.block_coded_, visit);
    visit_all(self.left_half_, visit);
    visit_all(self.right_half_, visit);
    visit_all(self.significant_, visit);
    visit_all(self.negative_, visit);
    visit_all(self.greater_, visit);
    visit_all(self.remainder_prefix_, visit);
  }
  template <class Self, class Visitor>
  static void visit_mixers(Self& /*self*/, Visitor&& /*visit*/) {}

  [[nodiscard]] bool operator==(const FastContexts&) const noexcept = default;

 private:
  std::array<ModelGrid<2, kActivityClasses>, 2> block_coded_;  // [left coded][up coded][activity]
  ModelGrid<kHalvings, kSignumClasses> left_half_;             // [depth][balance]
  ModelGrid<kHalvings, 2> right_half_;                         // [depth][right half active]
  // [quantizer][history][spatial]
  std::array<ModelGrid<kHistoryClasses, kSpatialClasses>, kQuantizers> significant_;
  ModelGrid<kSignClasses, kSignumClasses> negative_;        // [signed average][left signum]
  ModelGrid<kGreaterBins + 1, kMagnitudeClasses> greater_;  // [greater_index][magnitude]
  std::array<BitModel, kMaxPrefix> remainder_prefix_;       // [position in the prefix]
};

}  // namespace fl_deepcabac
