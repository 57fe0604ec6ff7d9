// SPDX-License-Identifier: Apache-2.0
// Both ends of a stream, checked against each other, for the tests of the level codec.
#pragma once

#include <cstring>
#include <vector>

#include "check.hpp"
#include "level_data.hpp"

namespace fl_deepcabac::testing {

// Stricter than ==, which takes 0 and -0 for equal.
inline bool same_bits(const std::vector<float>& one, const std::vector<float>& other) {
  return one.size() == other.size() &&
         (one.empty() || std::memcmp(one.data(), other.data(), one.size() * sizeof(float)) == 0);
}

// Both ends of a stream.
struct Stream {
  StreamState sender;
  StreamState receiver;

  Stream(const std::vector<TensorShape>& shapes, Profile profile)
      : sender(shapes, profile), receiver(shapes, profile) {}

  // What was encoded arrives, and both ends agree on everything afterwards.
  void check_arrives(const CodedLevels& sent) {
    CodedLevels received;
    const Result result = decode(receiver, sent.payload, received);
    check_equal(result.status, Status::kOk);
    check_equal(received.levels, sent.levels);
    check(same_bits(received.values, sent.values), "the same values, bit by bit");
    check_equal(received.step_bits, sent.step_bits);
    check_equal(received.tensor_costs, sent.tensor_costs);
    check(receiver.to_bytes() == sender.to_bytes(), "equal states on both ends");
  }
  std::size_t send(const Levels& levels, const Steps& steps) {
    CodedLevels sent;
    check(encode_levels(sender, levels, steps, sent).ok(), "good levels to be coded");
    check_equal(sent.levels, levels);
    check_arrives(sent);
    return sent.payload.size();
  }
  CodedLevels send_values(const std::vector<float>& values, const Steps& steps,
                          const Choice& choice) {
    CodedLevels sent;
    check(encode_values(sender, values, steps, choice, sent).ok(), "good values to be coded");
    check_arrives(sent);
    return sent;
  }
};

}  // namespace fl_deepcabac::testing
