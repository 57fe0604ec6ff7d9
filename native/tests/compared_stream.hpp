// SPDX-License-Identifier: Apache-2.0
// A stream from the core's encoders to the core's and the plain decoder, for the tests that compare
// both.
#pragma once

#include <bit>
#include <cstdint>
#include <utility>
#include <vector>

#include "check.hpp"
#include "level_data.hpp"
#include "plain_comparison.hpp"

namespace fl_deepcabac::testing {

inline Steps steps_of(const StreamState& state, float step) {
  return Steps(state.shapes.size(), std::bit_cast<std::uint32_t>(step));
}

// An encoder of the core before both decoders.
struct ComparedStream {
  StreamState sender;
  BothDecoders receivers;

  ComparedStream(const std::vector<TensorShape>& shapes, Profile profile)
      : sender(shapes, profile), receivers(sender) {}

  ComparedStream(const StreamState& core, PlainState plain)
      : sender(core), receivers(core, std::move(plain)) {}

  void check_arrives(const CodedLevels& sent) {
    const char* difference = receivers.decode(sent.payload);
    check(difference == nullptr, difference);
    check_equal(receivers.status(), Status::kOk);
    check(receivers.plain().to_bytes() == sender.to_bytes(), "equal states on both ends");
  }
  Bytes send(const Levels& levels, const Steps& steps) {
    CodedLevels sent;
    check(encode_levels(sender, levels, steps, sent).ok(), "good levels to be coded");
    check_arrives(sent);
    return sent.payload;
  }
  Bytes send_values(const std::vector<float>& values, const Steps& steps, const Choice& choice) {
    CodedLevels sent;
    check(encode_values(sender, values, steps, choice, sent).ok(), "good values to be coded");
    check_arrives(sent);
    return sent.payload;
  }
};

}  // namespace fl_deepcabac::testing
