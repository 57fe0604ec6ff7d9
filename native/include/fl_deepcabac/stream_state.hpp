// SPDX-License-Identifier: Apache-2.0
// Everything that a stream remembers from packet to packet (spec 7 and 10).
//
// A plain value: copying it forks the stream, which is how a failed call leaves its caller's state
// untouched. Equal after the same packets, on both ends.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "fl_deepcabac/buffer.hpp"
#include "fl_deepcabac/contexts.hpp"
#include "fl_deepcabac/history.hpp"
#include "fl_deepcabac/mixed_contexts.hpp"
#include "fl_deepcabac/reconstruction.hpp"
#include "fl_deepcabac/status.hpp"
#include "fl_deepcabac/tensor_contexts.hpp"
#include "fl_deepcabac/watch.hpp"

namespace fl_deepcabac {

enum class Profile : std::uint8_t { kFast = 0, kMax = 1 };

// A tensor as the level coder sees it: a matrix in row-major order. Vectors are one row (spec 5.1).
struct TensorShape {
  std::uint32_t n_rows = 0;
  std::uint32_t n_columns = 0;

  [[nodiscard]] bool operator==(const TensorShape&) const noexcept = default;

  [[nodiscard]] std::size_t n_levels() const noexcept { return std::size_t{n_rows} * n_columns; }
  // Context set of the tensor: vectors share one, matrices the other (spec 7.1).
  [[nodiscard]] std::size_t context_set() const noexcept { return n_rows == 1 ? 0 : 1; }
};

inline constexpr std::size_t kContextSets = 2;

// On the heap: the sets of the profiles differ in size by a factor of twenty.
template <class Contexts>
using ContextSets = std::vector<Contexts>;

// The context sets of one profile, those of the other are empty. No std::variant: that of GCC 12
// destroys what was never made where copying a vector in it throws.
struct LevelContexts {
  LevelContexts() = default;
  explicit LevelContexts(Profile profile)
      : fast(profile == Profile::kFast ? kContextSets : 0),
        max(profile == Profile::kMax ? kContextSets : 0) {}

  ContextSets<FastContexts> fast;
  ContextSets<MixedContexts> max;

  [[nodiscard]] bool operator==(const LevelContexts&) const noexcept = default;
};

struct StreamState {
  StreamState() = default;
  StreamState(std::vector<TensorShape> tensor_shapes, Profile stream_profile);

  [[nodiscard]] bool operator==(const StreamState&) const noexcept = default;

  [[nodiscard]] std::size_t n_levels() const noexcept { return magnitude_history.size(); }

  [[nodiscard]] std::vector<std::uint8_t> to_bytes() const;
  // Replace contexts, steps and history by saved ones. On failure the state is unspecified.
  [[nodiscard]] Result load_bytes(std::span<const std::uint8_t> bytes);

  std::vector<TensorShape> shapes;
  Profile profile = Profile::kFast;
  LevelContexts level_contexts;  // one context set for vectors and one for matrices
  TensorContexts tensor_contexts{};
  // Float32 bits of each tensor's last step; 0 before the first.
  std::vector<std::uint32_t> step_bits;
  std::vector<Offsets> offsets;            // of each tensor, as last coded; 0 before the first
  Buffer<std::uint8_t> magnitude_history;  // history codes, all tensors end to end
  Buffer<std::int8_t> signed_history;      // same order, sign and code
};

// Calls visit(context sets of the state's profile).
template <class State, class Visitor>
decltype(auto) visit_context_sets(State& state, Visitor&& visit) {
  return state.profile == Profile::kMax ? visit(state.level_contexts.max)
                                        : visit(state.level_contexts.fast);
}

// A copy made on several threads, for models whose history takes a while to copy.
[[nodiscard]] StreamState copy_of(const StreamState& state, const Execution& execution);

}  // namespace fl_deepcabac
