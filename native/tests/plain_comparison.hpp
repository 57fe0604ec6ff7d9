// SPDX-License-Identifier: Apache-2.0
// One stream decoded by the core and by the plain decoder, for the test and the fuzz target that
// compare them.
#pragma once

#include <bit>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "fl_deepcabac/level_codec.hpp"
#include "plain_decoder.hpp"

namespace fl_deepcabac::testing {

inline std::vector<PlainShape> plain_shapes(const std::vector<TensorShape>& shapes) {
  std::vector<PlainShape> plain;
  for (const TensorShape& shape : shapes)
    plain.push_back({shape.n_rows, shape.n_columns});
  return plain;
}

inline PlainState fresh_plain_state(const StreamState& state) {
  return {plain_shapes(state.shapes), state.profile == Profile::kMax};
}

class BothDecoders {
 public:
  // Of a stream from its beginning.
  explicit BothDecoders(StreamState fresh)
      : core_(std::move(fresh)), plain_(fresh_plain_state(core_)) {}
  // Of two equal states.
  BothDecoders(StreamState core, PlainState plain)
      : core_(std::move(core)), plain_(std::move(plain)) {}

  // What should be the same and is not, or nullptr. A payload that both reject changes nothing.
  const char* decode(std::span<const std::uint8_t> payload) {
    StreamState core = core_;
    CodedLevels coded;
    status_ = decode_levels(core, payload, coded).status;
    std::vector<std::int32_t> levels;
    std::vector<float> values;
    if (plain_decode(plain_, payload, levels, values) != status_) return "the same status";
    if (status_ != Status::kOk) return nullptr;
    core_ = std::move(core);
    if (levels != coded.levels) return "the same levels";
    if (!same_values(values, coded.values)) return "the same values, bit by bit";
    return core_.to_bytes() == plain_.to_bytes() ? nullptr : "the same state";
  }

  [[nodiscard]] Status status() const { return status_; }  // of the last payload
  [[nodiscard]] const StreamState& core() const { return core_; }
  [[nodiscard]] const PlainState& plain() const { return plain_; }

 private:
  template <class Other>
  static bool same_values(const std::vector<float>& values, const Other& other) {
    if (values.size() != other.size()) return false;
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (std::bit_cast<std::uint32_t>(values[i]) != std::bit_cast<std::uint32_t>(other[i]))
        return false;
    }
    return true;
  }

  StreamState core_;
  PlainState plain_;
  Status status_ = Status::kOk;
};

}  // namespace fl_deepcabac::testing
