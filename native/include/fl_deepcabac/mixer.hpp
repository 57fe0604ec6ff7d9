// SPDX-License-Identifier: Apache-2.0
// Logistic mixing: one probability out of several (spec 7.6).
//
// Every input is taken to its log odds ("stretch"), the log odds are added with learned weights,
// and the sum is taken back ("squash"). After each bin the weights move along the gradient of its
// code length. Tables and weights are integers, defined by integer recurrences, so all machines
// agree.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "fl_deepcabac/bit_model.hpp"
#include "fl_deepcabac/logistic.hpp"

namespace fl_deepcabac {

// From this count on a mixer learns at one rate.
inline constexpr std::uint32_t kSettledMixer = 4096;

// Weights of one mixing decision over n_inputs inputs.
template <std::size_t n_inputs>
struct MixerWeights {
  static constexpr int kWeightBits = 16;
  // Together the inputs start with 1.25 times their mean: they agree more often than their errors
  // do.
  static constexpr std::int32_t kStart =
      (5 << kWeightBits) / (4 * static_cast<std::int32_t>(n_inputs));
  static constexpr std::int32_t kMaxWeight = 8 << kWeightBits;
  // Learning rate 2^-shift on 2^8 log odds times 2^16 error; it halves while the set is young.
  static constexpr int kFirstShift = 14;
  static constexpr int kLastShift = 18;

  std::array<std::int32_t, n_inputs> weights =
      filled(kStart);       // units of 2^-16, within +-kMaxWeight
  std::uint32_t count = 0;  // bins seen; cut to kSettledMixer before each packet

  static constexpr std::array<std::int32_t, n_inputs> filled(std::int32_t value) noexcept {
    std::array<std::int32_t, n_inputs> all{};
    all.fill(value);
    return all;
  }

  [[nodiscard]] bool operator==(const MixerWeights&) const noexcept = default;
  [[nodiscard]] int shift() const noexcept {
    const int age = (count >= 64) + (count >= 256) + (count >= 1024) + (count >= kSettledMixer);
    return kFirstShift + age;
  }
};

// One bin's probability from `n_inputs` contexts.
template <std::size_t n_inputs>
class MixedEstimate {
 public:
  MixedEstimate(MixerWeights<n_inputs>* mixer,
                const std::array<BitModel*, n_inputs>& models) noexcept
      : mixer_(mixer), models_(models) {
    std::int64_t sum = 0;
    for (std::size_t i = 0; i < n_inputs; ++i) {
      log_odds_[i] = kStretch[models_[i]->probability() >> (kProbabilityBits - kStretchTableBits)];
      sum += std::int64_t{mixer_->weights[i]} * log_odds_[i];
    }
    probability_ = squash(sum >> MixerWeights<n_inputs>::kWeightBits);
  }

  [[nodiscard]] std::uint32_t probability() const noexcept { return probability_; }

  void update(bool bin) const noexcept {
    using Weights = MixerWeights<n_inputs>;
    const std::int64_t error = std::int64_t{bin ? kProbabilityOne : 0} - std::int64_t{probability_};
    const int shift = mixer_->shift();
    for (std::size_t i = 0; i < n_inputs; ++i) {
      const std::int64_t moved =
          mixer_->weights[i] + ((error * log_odds_[i] + (std::int64_t{1} << (shift - 1))) >> shift);
      mixer_->weights[i] = static_cast<std::int32_t>(
          std::clamp<std::int64_t>(moved, -Weights::kMaxWeight, Weights::kMaxWeight));
      models_[i]->update(bin);
    }
    ++mixer_->count;
  }

 private:
  MixerWeights<n_inputs>* mixer_;
  std::array<BitModel*, n_inputs> models_;
  std::array<std::int32_t, n_inputs> log_odds_{};
  std::uint32_t probability_ = 0;
};

}  // namespace fl_deepcabac
