// SPDX-License-Identifier: Apache-2.0
#include "fl_deepcabac/level_codec.hpp"
#include "fl_deepcabac/update_coder.hpp"

namespace fl_deepcabac {

Result check_steps(const StreamState& state, std::span<const std::uint32_t> step_bits) noexcept {
  if (step_bits.size() != state.shapes.size()) {
    return {Status::kLengthMismatch, static_cast<std::int64_t>(step_bits.size())};
  }
  for (std::size_t tensor = 0; tensor < step_bits.size(); ++tensor) {
    if (!is_valid_step(step_bits[tensor]))
      return {Status::kStepRange, static_cast<std::int64_t>(tensor)};
  }
  return {};
}

Result encode_levels(StreamState& state, std::span<const std::int32_t> levels,
                     std::span<const std::uint32_t> step_bits, CodedLevels& coded,
                     const Execution& execution, const OffsetFit& fit) {
  if (levels.size() != state.n_levels())
    return {Status::kLengthMismatch, static_cast<std::int64_t>(levels.size())};
  if (!fit.values.empty() && fit.values.size() != levels.size())
    return {Status::kLengthMismatch, static_cast<std::int64_t>(fit.values.size())};
  if (const Result result = check_steps(state, step_bits); !result.ok()) return result;
  for (std::size_t i = 0; i < levels.size(); ++i) {
    if (levels[i] < -kMaxLevel || levels[i] > kMaxLevel)
      return {Status::kLevelRange, static_cast<std::int64_t>(i)};
  }
  return run_encoder(state, GivenLevels(levels, fit.values, fit.price), step_bits, coded,
                     execution);
}

}  // namespace fl_deepcabac
