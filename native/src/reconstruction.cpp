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

// Signed averages by code; in steps.
consteval std::array<float, 256> make_signed_values() {
  std::array<float, 256> values{};
  for (std::int32_t code = -127; code <= 127; ++code) {
    const auto size = static_cast<std::uint32_t>(code < 0 ? -code : code);
    const float value = static_cast<float>(history_value(size)) * kHistoryUnit;
    values[static_cast<std::uint8_t>(code)] = code < 0 ? -value : value;
  }
  return values;
}
constexpr auto kSignedValues = make_signed_values();
// In parts of so many levels every fourth block is enough to fit four numbers to.
constexpr std::size_t kManyLevels = std::size_t{1} << 15;
constexpr std::size_t kSampledStride = 4;

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
                     const LevelList& list, std::span<const std::int8_t> signed_history, float step,
                     bool is_dependent) noexcept {
  TrellisPath path(is_dependent);
  const float per_step = 1.0F / step;
  const std::size_t stride = values.size() >= kManyLevels ? kSampledStride * kBlockLevels : 0;
  const auto weight = static_cast<float>(stride == 0 ? 1 : kSampledStride);
  list.for_each_block([&](const BlockList& levels, std::size_t begin) {
    const std::size_t length = std::min(kBlockLevels, values.size() - begin);
    if (stride != 0 && begin % stride != 0) {
      if (is_dependent) levels.for_each_place(length, path, [](std::size_t, std::int32_t) {});
      return;
    }
    add_block(values.subspan(begin, length),
              importance.empty() ? importance : importance.subspan(begin, length), levels,
              signed_history.subspan(begin, length), {.per_step = per_step, .weight = weight},
              path);
  });
}

void OffsetSums::add_block(std::span<const float> values, std::span<const float> importance,
                           const BlockList& levels, std::span<const std::int8_t> signed_history,
                           const Units& units, TrellisPath& path) noexcept {
  const auto weight_of = [&](std::size_t i) {
    return importance.empty() ? units.weight : units.weight * importance[i];
  };
  std::array<float, kBlockLevels> averages{};
  for (std::size_t i = 0; i < values.size(); ++i)
    averages[i] = kSignedValues[static_cast<std::uint8_t>(signed_history[i])];
  levels.for_each_place(values.size(), path, [&](std::size_t i, std::int32_t place) {
    add_place(place, values[i] * units.per_step, averages[i], weight_of(i));
    averages[i] = 0.0F;  // it is no zero
  });
  // Sums of their own for every lane, so that they need not be added up one after the other.
  constexpr std::size_t kLanes = 8;
  std::array<float, kLanes> squares{};
  std::array<float, kLanes> products{};
  std::size_t i = 0;
  if (importance.empty()) {
    for (; i + kLanes <= values.size(); i += kLanes) {
      for (std::size_t lane = 0; lane < kLanes; ++lane) {
        squares[lane] += units.weight * averages[i + lane] * averages[i + lane];
        products[lane] += units.weight * averages[i + lane] * values[i + lane];
      }
    }
  }
  for (; i < values.size(); ++i) {
    squares[0] += weight_of(i) * averages[i] * averages[i];
    products[0] += weight_of(i) * averages[i] * values[i];
  }
  for (std::size_t lane = 0; lane < kLanes; ++lane) {
    zero_square += static_cast<double>(squares[lane]);
    zero_product += static_cast<double>(products[lane]) * static_cast<double>(units.per_step);
  }
}

void OffsetSums::add_place(std::int32_t place, float value, float average, float weight) noexcept {
  const float rest_of_value = value - 0.5F * static_cast<float>(place);
  const float outward = place < 0 ? -weight : weight;
  const std::size_t shift = place >= -2 && place <= 2 ? 0 : 1;
  square += static_cast<double>(weight * average * average);
  product += static_cast<double>(weight * average * rest_of_value);
  count[shift] += static_cast<double>(weight);
  rest[shift] += static_cast<double>(outward * rest_of_value);
  outward_average[shift] += static_cast<double>(outward * average);
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

Reconstruction::Reconstruction(const Offsets& offsets, float step) noexcept
    : table_(offsets), unit_(step * kFixedUnit) {
  for (std::int32_t code = -127; code <= 127; ++code) {
    zeros_[static_cast<std::uint8_t>(code)] =
        static_cast<float>(table_.zero(static_cast<std::int8_t>(code))) * unit_;
  }
}

void Reconstruction::run(const BlockList& levels, std::span<const std::int8_t> signed_history,
                         TrellisPath& path, std::span<float> values) const noexcept {
  constexpr std::size_t kUnrolled = 8;
  std::size_t done = 0;
  for (; done + kUnrolled <= values.size(); done += kUnrolled) {
    for (std::size_t i = done; i < done + kUnrolled; ++i)
      values[i] = zeros_[static_cast<std::uint8_t>(signed_history[i])];
  }
  for (; done < values.size(); ++done)
    values[done] = zeros_[static_cast<std::uint8_t>(signed_history[done])];
  levels.for_each_place(values.size(), path, [&](std::size_t i, std::int32_t place) {
    values[i] = static_cast<float>(table_.fixed_value(place, signed_history[i])) * unit_;
  });
}

void move_history(HistoryView history, const BlockList& levels, TrellisPath& path) noexcept {
  // Most levels are zero: all averages decay at once, the others are worked out beforehand.
  std::array<std::uint8_t, kBlockLevels> magnitudes;
  std::array<std::int8_t, kBlockLevels> signed_levels;
  levels.for_each_place(history.magnitude.size(), path, [&](std::size_t i, std::int32_t place) {
    magnitudes[i] = history.magnitude[i];
    signed_levels[i] = history.signed_level[i];
    update_history(magnitudes[i], signed_levels[i], place);
  });
  decay_history(history);
  for (std::uint64_t left = levels.nonzero; left != 0; left &= left - 1) {
    const auto i = static_cast<std::size_t>(std::countr_zero(left));
    history.magnitude[i] = magnitudes[i];
    history.signed_level[i] = signed_levels[i];
  }
}

double squared_error(std::span<const float> one, std::span<const float> other) noexcept {
  // In double: squares of large values overflow a float.
  constexpr std::size_t kLanes = 4;
  std::array<double, kLanes> sums{};
  const auto add = [&](std::size_t i, std::size_t lane) {
    const double difference = static_cast<double>(one[i]) - static_cast<double>(other[i]);
    sums[lane] += difference * difference;
  };
  std::size_t i = 0;
  for (; i + kLanes <= one.size(); i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane)
      add(i + lane, lane);
  }
  for (; i < one.size(); ++i)
    add(i, 0);
  return sums[0] + sums[1] + sums[2] + sums[3];
}

}  // namespace fl_deepcabac
