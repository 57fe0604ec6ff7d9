// SPDX-License-Identifier: Apache-2.0
#include "fl_deepcabac/reconstruction.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>

namespace fl_deepcabac {
namespace {

constexpr float kGainUnits = 64.0F;
constexpr float kShiftUnits = 128.0F;
constexpr float kHistoryUnit = 1.0F / (1 << kHistoryBits);
constexpr float kFixedUnit = 1.0F / 256;

// gain / 64 times an average in units of 1/32, in units of 1/256, truncating towards zero.
constexpr std::int16_t gained(std::int32_t gain, std::int32_t signed_code) noexcept {
  const auto size = static_cast<std::uint32_t>(signed_code < 0 ? -signed_code : signed_code);
  const auto value = static_cast<std::int32_t>(history_value(size));
  return static_cast<std::int16_t>(gain * (signed_code < 0 ? -value : value) / 8);
}

constexpr float signed_value(std::int8_t code) noexcept {
  const std::int32_t wide = code;
  const auto value =
      static_cast<float>(kHistoryValues[static_cast<std::size_t>(wide < 0 ? -wide : wide)]);
  return wide < 0 ? -value * kHistoryUnit : value * kHistoryUnit;
}

std::int8_t rounded(double value, float units) noexcept {
  const double scaled = std::nearbyint(value * static_cast<double>(units));
  // Sums of absurd importance may overflow.
  if (!std::isfinite(scaled)) return 0;
  return static_cast<std::int8_t>(std::clamp(scaled, -double{kMaxOffset}, double{kMaxOffset}));
}

Offsets solve(const OffsetSums& sums) noexcept {
  Offsets offsets;
  if (sums.zero_square > 0)
    offsets.values[Offsets::kZeroGain] = rounded(sums.zero_product / sums.zero_square, kGainUnits);
  // Both shifts follow from the gain, which leaves one equation.
  double square = sums.square;
  double product = sums.product;
  for (std::size_t i = 0; i < 2; ++i) {
    if (sums.count[i] <= 0) continue;
    square -= sums.outward_average[i] * sums.outward_average[i] / sums.count[i];
    product -= sums.outward_average[i] * sums.rest[i] / sums.count[i];
  }
  const double gain = square > 1e-9 * sums.square && square > 0 ? product / square : 0.0;
  offsets.values[Offsets::kGain] = rounded(gain, kGainUnits);
  for (std::size_t i = 0; i < 2; ++i) {
    if (sums.count[i] <= 0) continue;
    const double shift = (sums.rest[i] - gain * sums.outward_average[i]) / sums.count[i];
    offsets.values[Offsets::kShiftOne + i] = rounded(shift, kShiftUnits);
  }
  return offsets;
}

// What offsets add to the squared error of none, in squared steps.
double added_error(const OffsetSums& sums, const Offsets& offsets) noexcept {
  const double zero_gain = offsets[Offsets::kZeroGain] / double{kGainUnits};
  const double gain = offsets[Offsets::kGain] / double{kGainUnits};
  double error = zero_gain * (zero_gain * sums.zero_square - 2 * sums.zero_product) +
                 gain * (gain * sums.square - 2 * sums.product);
  for (std::size_t i = 0; i < 2; ++i) {
    const double shift = offsets.values[Offsets::kShiftOne + i] / double{kShiftUnits};
    error +=
        shift * (shift * sums.count[i] - 2 * sums.rest[i] + 2 * gain * sums.outward_average[i]);
  }
  return error;
}

// About what it takes to spell offsets out, in bits.
double offset_bits(const Offsets& offsets, const Offsets& own) noexcept {
  double bits = 6;  // neither kept nor copied
  for (std::size_t i = 0; i < kOffsets; ++i) {
    const int difference = std::abs(offsets.values[i] - own.values[i]);
    bits += 1 + (difference == 0 ? 0 : 2 + 2 * std::log2(difference));
  }
  return bits;
}

}  // namespace

OffsetTable::OffsetTable(const Offsets& offsets) noexcept
    : shift_one_(2 * offsets[Offsets::kShiftOne]), shift_more_(2 * offsets[Offsets::kShiftMore]) {
  for (std::int32_t code = -127; code <= 127; ++code) {
    zero_[static_cast<std::uint8_t>(code)] = gained(offsets[Offsets::kZeroGain], code);
    other_[static_cast<std::uint8_t>(code)] = gained(offsets[Offsets::kGain], code);
  }
}

void OffsetSums::add(std::span<const float> values, std::span<const float> importance,
                     std::span<const std::int32_t> levels,
                     std::span<const std::int8_t> signed_history, float step,
                     bool is_dependent) noexcept {
  // Zeros by their signed code: all that have the same have the same average.
  struct Zeros {
    double weight = 0;
    double value = 0;
  };
  std::array<Zeros, 256> zeros{};
  TrellisPath path(is_dependent);
  const float per_step = 1.0F / step;
  for (std::size_t i = 0; i < levels.size(); ++i) {
    const std::int32_t place = place_of(levels[i], path.quantizer());
    if (is_dependent) path.advance(levels[i]);
    // Most levels: nothing to fit, and one sum for all of them would be a chain of additions.
    if (place == 0 && signed_history[i] == 0) continue;
    const float weight = importance.empty() ? 1.0F : importance[i];
    const float value = values[i] * per_step;
    if (place == 0) {
      Zeros& same = zeros[static_cast<std::uint8_t>(signed_history[i])];
      same.weight += static_cast<double>(weight);
      same.value += static_cast<double>(weight * value);
      continue;
    }
    const float average = signed_value(signed_history[i]);
    const float rest_of_value = value - 0.5F * static_cast<float>(place);
    const float outward = place < 0 ? -weight : weight;
    const std::size_t shift = place >= -2 && place <= 2 ? 0 : 1;
    square += static_cast<double>(weight * average * average);
    product += static_cast<double>(weight * average * rest_of_value);
    count[shift] += static_cast<double>(weight);
    rest[shift] += static_cast<double>(outward * rest_of_value);
    outward_average[shift] += static_cast<double>(outward * average);
  }
  for (std::int32_t code = -127; code <= 127; ++code) {
    const Zeros& same = zeros[static_cast<std::uint8_t>(code)];
    const auto average = static_cast<double>(signed_value(static_cast<std::int8_t>(code)));
    zero_square += same.weight * average * average;
    zero_product += same.value * average;
  }
}

void OffsetSums::add(const OffsetSums& other) noexcept {
  zero_square += other.zero_square;
  zero_product += other.zero_product;
  square += other.square;
  product += other.product;
  for (std::size_t i = 0; i < 2; ++i) {
    count[i] += other.count[i];
    rest[i] += other.rest[i];
    outward_average[i] += other.outward_average[i];
  }
}

Offsets choose_offsets(const OffsetSums& sums, const Offsets& own, const Offsets& previous,
                       float price) noexcept {
  constexpr double kCopyBits = 3;
  const Offsets best = solve(sums);
  const double kept = added_error(sums, own);
  const double copied = added_error(sums, previous) + double{price} * kCopyBits;
  const double spelt_out = added_error(sums, best) + double{price} * offset_bits(best, own);
  if (spelt_out < std::min(kept, copied)) return best;
  return copied < kept ? previous : own;
}

void reconstruct(std::span<const std::int32_t> levels, std::span<const std::int8_t> signed_history,
                 float step, bool is_dependent, const Offsets& offsets,
                 std::span<float> values) noexcept {
  const OffsetTable table(offsets);
  const float unit = step * kFixedUnit;
  std::array<float, 256> zeros{};
  for (std::int32_t code = -127; code <= 127; ++code) {
    zeros[static_cast<std::uint8_t>(code)] =
        static_cast<float>(table.zero(static_cast<std::int8_t>(code))) * unit;
  }
  TrellisPath path(is_dependent);
  for (std::size_t i = 0; i < levels.size(); ++i) {
    values[i] = zeros[static_cast<std::uint8_t>(signed_history[i])];
    if (levels[i] != 0) {
      const std::int32_t place = place_of(levels[i], path.quantizer());
      values[i] = static_cast<float>(table.fixed_value(place, signed_history[i])) * unit;
    }
    if (is_dependent) path.advance(levels[i]);
  }
}

}  // namespace fl_deepcabac
