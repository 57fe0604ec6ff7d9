// SPDX-License-Identifier: Apache-2.0
#include "fl_deepcabac/reconstruction.hpp"

#include <algorithm>
#include <bit>

namespace fl_deepcabac {
namespace {

constexpr float kFixedUnit = 1.0F / 256;
// Low averages have gains of four times the unit.
constexpr std::array<std::int32_t, kZeroClasses> kZeroFactors{1, 1, 4};

// gain / 64 times an average in units of 1/32, in units of 1/256, truncating towards zero.
constexpr std::int16_t gained(std::int32_t gain, std::int32_t signed_code) noexcept {
  const auto size = static_cast<std::uint32_t>(signed_code < 0 ? -signed_code : signed_code);
  const auto value = static_cast<std::int32_t>(history_value(size));
  return static_cast<std::int16_t>(gain * (signed_code < 0 ? -value : value) / 8);
}

}  // namespace

OffsetTable::OffsetTable(const Offsets& offsets) noexcept
    : shift_one_(2 * offsets[Offsets::kShiftOne]),
      shift_more_(2 * offsets[Offsets::kShiftMore]),
      near_gain_(offsets[Offsets::kNearGain]) {
  for (std::int32_t code = -127; code <= 127; ++code) {
    const std::size_t of_zeros =
        zero_class(history_value(static_cast<std::uint32_t>(code < 0 ? -code : code)));
    zero_[static_cast<std::uint8_t>(code)] =
        gained(kZeroFactors[of_zeros] * offsets[kZeroGains[of_zeros]], code);
    other_[static_cast<std::uint8_t>(code)] = gained(offsets[Offsets::kGain], code);
  }
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
  if (levels.nonzero == 0 || !table_.looks_near()) {
    levels.for_each_place(values.size(), path, [&](std::size_t i, std::int32_t place) {
      values[i] = static_cast<float>(table_.fixed_value(place, signed_history[i])) * unit_;
    });
    return;
  }
  PlacesOfBlock places;
  levels.for_each_place(values.size(), path, [&](std::size_t i, std::int32_t place) {
    values[i] = static_cast<float>(table_.fixed_value(place, signed_history[i])) * unit_;
    places.set(i, place);
  });
  for (std::uint64_t left = zeros_near(levels.nonzero, values.size()); left != 0;
       left &= left - 1) {
    const auto i = static_cast<std::size_t>(std::countr_zero(left));
    const std::int32_t fixed = table_.zero(signed_history[i]) + table_.near(places.near(i));
    values[i] = static_cast<float>(fixed) * unit_;
  }
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
  // In double: squares of large values overflow a float. In two loops, which both run in vectors.
  std::array<double, kBlockLevels> squares;
  if (one.size() < squares.size()) squares.fill(0.0);
  for (std::size_t i = 0; i < one.size(); ++i) {
    const double difference = static_cast<double>(one[i]) - static_cast<double>(other[i]);
    squares[i] = difference * difference;
  }
  constexpr std::size_t kLanes = 4;
  std::array<double, kLanes> sums{};
  for (std::size_t i = 0; i < squares.size(); i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane)
      sums[lane] += squares[i + lane];
  }
  return sums[0] + sums[1] + sums[2] + sums[3];
}

}  // namespace fl_deepcabac
