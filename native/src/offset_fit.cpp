// SPDX-License-Identifier: Apache-2.0
#include "fl_deepcabac/offset_fit.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>

namespace fl_deepcabac {
namespace {

constexpr double kGainUnits = 64.0;
constexpr double kShiftUnits = 128.0;
constexpr double kNearUnits = 256.0;  // of a half step
// As `kZeroGains`.
constexpr std::array<double, kZeroClasses> kZeroUnits{kGainUnits, kGainUnits, kGainUnits / 4};
constexpr float kHistoryUnit = 1.0F / (1 << kHistoryBits);

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
// About so many levels of a part are enough to fit seven numbers to: of a larger part one block of
// several is looked at. Of an odd number, so that they do not always lie in the same columns.
constexpr std::size_t kManyLevels = std::size_t{1} << 12;
constexpr std::size_t kMostStride = 15;

[[nodiscard]] std::size_t class_of(float average) noexcept {
  return zero_class(static_cast<std::uint32_t>(std::fabs(average) * (1 << kHistoryBits)));
}

// Averages of the zeros of a block, else zero, and their values, by class. Sums of their own for
// every lane, so that they need not be added up one after the other.
class ZeroLanes {
 public:
  static constexpr std::size_t kLanes = 4;

  // `kLanes` of them.
  void add(const float* averages, const float* values) noexcept {
    constexpr float kMiddle = static_cast<float>(kMiddleFrom) * kHistoryUnit;
    constexpr float kHigh = static_cast<float>(kHighFrom) * kHistoryUnit;
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      const float average = averages[lane];
      const float size = std::fabs(average);
      const float low = size < kMiddle ? average : 0.0F;
      const float high = size < kHigh ? 0.0F : average;
      const float middle = average - low - high;
      add_to(0, lane, high, values[lane]);
      add_to(1, lane, middle, values[lane]);
      add_to(2, lane, low, values[lane]);
    }
  }
  void add_one(float average, float value, float weight) noexcept {
    const std::size_t of_zeros = class_of(average);
    squares_[of_zeros][0] += weight * average * average;
    products_[of_zeros][0] += weight * average * value;
  }
  [[nodiscard]] double square(std::size_t of_zeros) const noexcept {
    return sum(squares_[of_zeros]);
  }
  [[nodiscard]] double product(std::size_t of_zeros) const noexcept {
    return sum(products_[of_zeros]);
  }

 private:
  using Lanes = std::array<float, kLanes>;

  void add_to(std::size_t of_zeros, std::size_t lane, float average, float value) noexcept {
    squares_[of_zeros][lane] += average * average;
    products_[of_zeros][lane] += average * value;
  }
  [[nodiscard]] static double sum(const Lanes& lanes) noexcept {
    double all = 0;
    for (const float lane : lanes)
      all += static_cast<double>(lane);
    return all;
  }

  std::array<Lanes, kZeroClasses> squares_{};
  std::array<Lanes, kZeroClasses> products_{};
};

std::int8_t rounded(double value, double units) noexcept {
  const double scaled = std::nearbyint(value * units);
  // Sums of absurd importance may overflow.
  if (!std::isfinite(scaled)) return 0;
  return static_cast<std::int8_t>(std::clamp(scaled, -double{kMaxOffset}, double{kMaxOffset}));
}

// What is left of `square` where others explain a part of it; nothing where that is nearly all.
[[nodiscard]] double ratio(double product, double square, double whole_square) noexcept {
  return square > 1e-9 * whole_square && square > 0 ? product / square : 0.0;
}

// The gains of averages follow from that of the places beside, which leaves one equation.
void solve_zeros(const OffsetSums& sums, Offsets& offsets) noexcept {
  double square = sums.near_square;
  double product = sums.near_product;
  for (std::size_t i = 0; i < kZeroClasses; ++i) {
    if (sums.zero_square[i] <= 0) continue;
    square -= sums.near_average[i] * sums.near_average[i] / sums.zero_square[i];
    product -= sums.near_average[i] * sums.zero_product[i] / sums.zero_square[i];
  }
  const double near_gain = ratio(product, square, sums.near_square);
  offsets.values[Offsets::kNearGain] = rounded(near_gain, kNearUnits);
  for (std::size_t i = 0; i < kZeroClasses; ++i) {
    if (sums.zero_square[i] <= 0) continue;
    const double gain =
        (sums.zero_product[i] - near_gain * sums.near_average[i]) / sums.zero_square[i];
    offsets.values[kZeroGains[i]] = rounded(gain, kZeroUnits[i]);
  }
}

// Both shifts follow from the gain, which leaves one equation.
void solve_others(const OffsetSums& sums, Offsets& offsets) noexcept {
  double square = sums.square;
  double product = sums.product;
  for (std::size_t i = 0; i < 2; ++i) {
    if (sums.count[i] <= 0) continue;
    square -= sums.outward_average[i] * sums.outward_average[i] / sums.count[i];
    product -= sums.outward_average[i] * sums.rest[i] / sums.count[i];
  }
  const double gain = ratio(product, square, sums.square);
  offsets.values[Offsets::kGain] = rounded(gain, kGainUnits);
  for (std::size_t i = 0; i < 2; ++i) {
    if (sums.count[i] <= 0) continue;
    const double shift = (sums.rest[i] - gain * sums.outward_average[i]) / sums.count[i];
    offsets.values[Offsets::kShiftOne + i] = rounded(shift, kShiftUnits);
  }
}

// What offsets add to the squared error of none, in squared steps.
double added_error(const OffsetSums& sums, const Offsets& offsets) noexcept {
  const double near_gain = offsets[Offsets::kNearGain] / kNearUnits;
  const double gain = offsets[Offsets::kGain] / kGainUnits;
  double error = near_gain * (near_gain * sums.near_square - 2 * sums.near_product) +
                 gain * (gain * sums.square - 2 * sums.product);
  for (std::size_t i = 0; i < kZeroClasses; ++i) {
    const double zero_gain = offsets[kZeroGains[i]] / kZeroUnits[i];
    error += zero_gain * (zero_gain * sums.zero_square[i] - 2 * sums.zero_product[i] +
                          2 * near_gain * sums.near_average[i]);
  }
  for (std::size_t i = 0; i < 2; ++i) {
    const double shift = offsets.values[Offsets::kShiftOne + i] / kShiftUnits;
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

struct PricedOffsets {
  Offsets offsets;
  double cost;
};

// The best offsets, but as they were where they do not pay for their bits, one by one.
[[nodiscard]] PricedOffsets spell_out(const OffsetSums& sums, const Offsets& own,
                                      double price) noexcept {
  const auto cost_of = [&](const Offsets& offsets) {
    return added_error(sums, offsets) + price * offset_bits(offsets, own);
  };
  PricedOffsets best{};
  solve_zeros(sums, best.offsets);
  solve_others(sums, best.offsets);
  best.cost = cost_of(best.offsets);
  for (std::size_t i = 0; i < kOffsets; ++i) {
    Offsets kept = best.offsets;
    kept.values[i] = own.values[i];
    const double cost = cost_of(kept);
    if (cost < best.cost) best = {kept, cost};
  }
  return best;
}

}  // namespace

void OffsetSums::add(std::span<const float> values, std::span<const float> importance,
                     const LevelList& list, std::span<const std::int8_t> signed_history, float step,
                     bool is_dependent) noexcept {
  TrellisPath path(is_dependent);
  const float per_step = 1.0F / step;
  const std::size_t stride = std::min(values.size() / kManyLevels | 1, kMostStride);
  const auto weight = static_cast<float>(stride);
  std::size_t to_next = 1;
  list.for_each_block([&](const BlockList& levels, std::size_t begin) {
    const std::size_t length = std::min(kBlockLevels, values.size() - begin);
    if (--to_next != 0) {
      if (is_dependent) levels.for_each_place(length, path, [](std::size_t, std::int32_t) {});
      return;
    }
    to_next = stride;
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
  PlacesOfBlock places;
  levels.for_each_place(values.size(), path, [&](std::size_t i, std::int32_t place) {
    add_place(place, values[i] * units.per_step, averages[i], weight_of(i));
    averages[i] = 0.0F;  // it is no zero
    places.set(i, place);
  });
  for (std::uint64_t left = zeros_near(levels.nonzero, values.size()); left != 0;
       left &= left - 1) {
    const auto i = static_cast<std::size_t>(std::countr_zero(left));
    add_near(places.near(i), values[i] * units.per_step, averages[i], weight_of(i));
  }
  ZeroLanes lanes;
  std::size_t i = 0;
  float common = 1.0F;  // what all of the lanes count
  if (importance.empty()) {
    common = units.weight;
    for (; i + ZeroLanes::kLanes <= values.size(); i += ZeroLanes::kLanes)
      lanes.add(averages.data() + i, values.data() + i);
  }
  for (; i < values.size(); ++i)
    lanes.add_one(averages[i], values[i], weight_of(i) / common);
  for (std::size_t of_zeros = 0; of_zeros < kZeroClasses; ++of_zeros) {
    zero_square[of_zeros] += double{common} * lanes.square(of_zeros);
    zero_product[of_zeros] +=
        double{common} * lanes.product(of_zeros) * static_cast<double>(units.per_step);
  }
}

void OffsetSums::add_near(std::int32_t near, float value, float average, float weight) noexcept {
  const double weighed = static_cast<double>(weight) * near;
  near_square += weighed * near;
  near_product += weighed * static_cast<double>(value);
  near_average[class_of(average)] += weighed * static_cast<double>(average);
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
  for (std::size_t i = 0; i < kZeroClasses; ++i) {
    zero_square[i] += other.zero_square[i];
    zero_product[i] += other.zero_product[i];
    near_average[i] += other.near_average[i];
  }
  near_square += other.near_square;
  near_product += other.near_product;
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
  const double kept = added_error(sums, own);
  const double copied = added_error(sums, previous) + double{price} * kCopyBits;
  const PricedOffsets spelt_out = spell_out(sums, own, double{price});
  if (spelt_out.cost < std::min(kept, copied)) return spelt_out.offsets;
  return copied < kept ? previous : own;
}

}  // namespace fl_deepcabac
