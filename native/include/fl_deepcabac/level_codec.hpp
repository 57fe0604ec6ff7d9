// SPDX-License-Identifier: Apache-2.0
// A whole update's levels to a payload and back (spec 4 and 5).
//
// Each call moves the state it is given from before the packet to after it. On failure the state is
// unspecified: callers work on a copy and drop it. Results are the same for any number of threads.
// Where memory runs out or the watch of the execution throws, so does the call, with the same
// effect.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "fl_deepcabac/buffer.hpp"
#include "fl_deepcabac/status.hpp"
#include "fl_deepcabac/stream_state.hpp"
#include "fl_deepcabac/watch.hpp"

namespace fl_deepcabac {

struct CodedLevels {
  bool wants_levels = true;           // given by the caller: whether `levels` are filled
  std::vector<std::int32_t> levels;   // all tensors end to end
  Buffer<float> values;               // what they stand for (spec 8)
  std::vector<std::uint8_t> payload;  // filled when encoding
  // Of each tensor: float32 bits of its step, 0 where all its levels are zero.
  std::vector<std::uint32_t> step_bits;
  // Of each tensor: information in its bins, in units of 2^-8 bit.
  std::vector<std::uint64_t> tensor_costs;
  std::vector<std::uint64_t> tensor_nonzeros;  // of each tensor: levels that are not zero
  // Of each tensor: what the values leave out of those encoded, squared; 0 where none were given.
  std::vector<double> tensor_errors;
};

// How the offsets of given levels are fitted: to `values`, at `price` squared steps a bit. Without
// values offsets stay what they were.
struct OffsetFit {
  // Spelt out, so that GCC lets callers leave it out.
  // NOLINTNEXTLINE(readability-redundant-member-init)
  std::span<const float> values{};
  float price = 0.0F;
};

// `levels` must not lie in `coded`, which is filled anew. `step_bits`: one a tensor, valid steps.
// kLengthMismatch, kStepRange and kLevelRange are reported with the position of the first offender:
// tensor for steps, flat index for levels.
[[nodiscard]] Result encode_levels(StreamState& state, std::span<const std::int32_t> levels,
                                   std::span<const std::uint32_t> step_bits, CodedLevels& coded,
                                   const Execution& execution = {}, const OffsetFit& fit = {});

// How `encode_values` chooses levels.
struct Choice {
  float price = 0.0F;         // squared steps a bit, finite and not negative
  bool is_dependent = false;  // by the trellis (spec 5.6)
  // What the squared error of each value counts, not negative (F_w of DeepCABAC); empty where all
  // count 1.
  // NOLINTNEXTLINE(readability-redundant-member-init): as above
  std::span<const float> importance{};
  // Or all values are whole or half steps.
  bool fits_offsets = true;
};

// Quantise by rate and distortion, with the costs of the contexts as they stand, and encode
// (DeepCABAC). kNonFinite and kLevelRange are reported with the flat index of the first value that
// has no level.
[[nodiscard]] Result encode_values(StreamState& state, std::span<const float> values,
                                   std::span<const std::uint32_t> step_bits, const Choice& choice,
                                   CodedLevels& coded, const Execution& execution = {});

// `step_bits` as the encoders want them; otherwise the first fault.
[[nodiscard]] Result check_steps(const StreamState& state,
                                 std::span<const std::uint32_t> step_bits) noexcept;

[[nodiscard]] Result decode_levels(StreamState& state, std::span<const std::uint8_t> payload,
                                   CodedLevels& coded, const Execution& execution = {});

}  // namespace fl_deepcabac
