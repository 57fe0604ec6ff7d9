// SPDX-License-Identifier: Apache-2.0
// Both ends of a stream, checked against each other, for the tests of the level codec.
#pragma once

#include <cstring>
#include <span>
#include <vector>

#include "check.hpp"
#include "level_data.hpp"

namespace fl_deepcabac::testing {

// Stricter than ==, which takes 0 and -0 for equal. Of values in any kind of container.
template <class One, class Other>
bool same_bits(const One& one, const Other& other) {
  return one.size() == other.size() &&
         (one.empty() || std::memcmp(one.data(), other.data(), one.size() * sizeof(float)) == 0);
}

// Of each tensor: levels that are not zero, and what `values` leave out of those wanted, squared.
inline std::vector<std::uint64_t> nonzeros_of(const std::vector<TensorShape>& shapes,
                                              const Levels& levels) {
  std::vector<std::uint64_t> nonzeros;
  std::size_t i = 0;
  for (const TensorShape& shape : shapes) {
    nonzeros.push_back(0);
    for (const std::size_t end = i + shape.n_levels(); i < end; ++i)
      nonzeros.back() += levels.at(i) != 0 ? 1U : 0U;
  }
  return nonzeros;
}
inline std::vector<double> errors_of(const std::vector<TensorShape>& shapes,
                                     std::span<const float> wanted, std::span<const float> values) {
  std::vector<double> errors;
  std::size_t i = 0;
  for (const TensorShape& shape : shapes) {
    errors.push_back(0.0);
    for (const std::size_t end = i + shape.n_levels(); i < end; ++i) {
      const double difference = double{wanted[i]} - double{values[i]};
      errors.back() += difference * difference;
    }
  }
  return errors;
}
inline void check_errors(const std::vector<double>& found, const std::vector<double>& expected) {
  check_equal(found.size(), expected.size());
  for (std::size_t i = 0; i < found.size() && i < expected.size(); ++i)
    check_near(found[i], expected[i], 1e-12 * expected[i]);
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
    check_equal(sent.tensor_nonzeros, nonzeros_of(sender.shapes, sent.levels));
    check_equal(received.tensor_nonzeros, sent.tensor_nonzeros);
    check_equal(received.tensor_errors, std::vector<double>(sender.shapes.size(), 0.0));
    check(receiver.to_bytes() == sender.to_bytes(), "equal states on both ends");
  }
  std::size_t send(const Levels& levels, const Steps& steps) {
    CodedLevels sent;
    check(encode_levels(sender, levels, steps, sent).ok(), "good levels to be coded");
    check_equal(sent.levels, levels);
    check_equal(sent.tensor_errors, std::vector<double>(sender.shapes.size(), 0.0));
    check_arrives(sent);
    return sent.payload.size();
  }
  CodedLevels send_values(const std::vector<float>& values, const Steps& steps,
                          const Choice& choice) {
    CodedLevels sent;
    check(encode_values(sender, values, steps, choice, sent).ok(), "good values to be coded");
    check_errors(sent.tensor_errors, errors_of(sender.shapes, values, sent.values));
    check_arrives(sent);
    return sent;
  }
};

}  // namespace fl_deepcabac::testing
