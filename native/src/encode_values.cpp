// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

#include "fl_deepcabac/level_codec.hpp"
#include "fl_deepcabac/update_coder.hpp"

namespace fl_deepcabac {
namespace {

// The largest magnitude of each tensor; kNonFinite or kLevelRange where a value has no level.
Result find_largest(const StreamState& state, std::span<const float> values,
                    std::span<const std::uint32_t> step_bits, std::span<float> largest) noexcept {
  // Magnitudes compare as their bits do, NaN above all: a loop without a branch, in vectors.
  constexpr std::uint32_t kMagnitude = 0x7FFFFFFF;
  std::size_t begin = 0;
  for (std::size_t tensor = 0; tensor < largest.size(); ++tensor) {
    const auto own = values.subspan(begin, state.shapes[tensor].n_levels());
    std::int32_t bits = 0;
    for (const float value : own) {
      bits = std::max(bits,
                      static_cast<std::int32_t>(std::bit_cast<std::uint32_t>(value) & kMagnitude));
    }
    largest[tensor] = std::bit_cast<float>(bits);
    const float limit = static_cast<float>(kMaxLevel) * std::bit_cast<float>(step_bits[tensor]);
    // Written so that NaN fails too.
    if (!(largest[tensor] <= limit)) {
      const auto at = std::find_if(own.begin(), own.end(),
                                   [limit](float value) { return !(std::fabs(value) <= limit); });
      return {std::isfinite(*at) ? Status::kLevelRange : Status::kNonFinite,
              static_cast<std::int64_t>(begin) + (at - own.begin())};
    }
    begin += own.size();
  }
  return {};
}

}  // namespace

Result encode_values(StreamState& state, std::span<const float> values,
                     std::span<const std::uint32_t> step_bits, const Choice& choice,
                     CodedLevels& coded, const Execution& execution) {
  if (values.size() != state.n_levels())
    return {Status::kLengthMismatch, static_cast<std::int64_t>(values.size())};
  if (!choice.importance.empty() && choice.importance.size() != values.size())
    return {Status::kLengthMismatch, static_cast<std::int64_t>(choice.importance.size())};
  if (const Result result = check_steps(state, step_bits); !result.ok()) return result;
  std::vector<float> largest(state.shapes.size(), 0.0F);
  if (const Result result = find_largest(state, values, step_bits, largest); !result.ok())
    return result;
  const ValuesToQuantise source(values, largest, step_bits, choice);
  return run_encoder(state, source, step_bits, coded, execution);
}

}  // namespace fl_deepcabac
