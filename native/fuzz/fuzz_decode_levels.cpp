// SPDX-License-Identifier: Apache-2.0
// Any bytes are decoded as payloads of a stream, one after the other.
//
// Input: a byte that chooses the layout, a byte that is the length of the first payload, the
// payloads. What decodes must come back from encoding it again, and both ends must then agree.
#include <algorithm>

#include "fl_deepcabac/level_codec.hpp"
#include "fl_deepcabac/step.hpp"
#include "fuzz_target.hpp"

namespace fl_deepcabac::fuzzing {
namespace {

// A tensor of zeros has no step of its own; any valid one will do.
std::vector<std::uint32_t> valid_steps(const CodedLevels& coded) {
  std::vector<std::uint32_t> steps = coded.step_bits;
  std::replace(steps.begin(), steps.end(), 0U, kMinStepBits);
  return steps;
}

void check_encodes_again(StreamState before, const CodedLevels& decoded) {
  StreamState receiver = before;
  CodedLevels sent;
  expect(encode_levels(before, decoded.levels, valid_steps(decoded), sent).ok(),
         "decoded levels to be good levels");
  CodedLevels received;
  const ExactBytes payload(sent.payload);
  expect(decode_levels(receiver, payload.span(), received).ok(), "an encoded payload to decode");
  expect(received.levels == decoded.levels, "the same levels");
  expect(receiver.to_bytes() == before.to_bytes(), "equal states on both ends");
}

void decode(StreamState& state, std::span<const std::uint8_t> bytes, bool is_state_good) {
  const ExactBytes payload(bytes);
  CodedLevels coded;
  const StreamState before = state;
  const Result result = decode_levels(state, payload.span(), coded);
  expect(coded.levels.size() == state.n_levels(), "as many levels as the layout has");
  expect(result.position >= 0 && static_cast<std::size_t>(result.position) <= bytes.size(),
         "a position inside the payload");
  if (result.ok() && is_state_good) check_encodes_again(before, coded);
}

}  // namespace
}  // namespace fl_deepcabac::fuzzing

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t n_bytes) {
  using namespace fl_deepcabac::fuzzing;
  if (n_bytes < 2) return 0;
  fl_deepcabac::StreamState state = chosen_state(bytes[0]);
  const std::span<const std::uint8_t> payloads(bytes + 2, n_bytes - 2);
  const std::size_t n_first = std::min<std::size_t>(bytes[1], payloads.size());
  decode(state, payloads.first(n_first), true);
  // Whatever the first payload left behind, the second finds a state that is safe to use.
  decode(state, payloads.subspan(n_first), false);
  return 0;
}
