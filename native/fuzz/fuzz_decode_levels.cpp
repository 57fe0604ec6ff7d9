// SPDX-License-Identifier: Apache-2.0
// Any bytes are decoded as payloads of a stream, one after the other.
//
// Input: a byte that chooses the layout, a byte that is the length of the first payload, the
// payloads. What decodes must come back from encoding its levels again, which do not depend
// on each other then, and from choosing levels for its values; both ends must agree each time.
#include <algorithm>
#include <cmath>

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

void check_arrives(const StreamState& sender, StreamState receiver, const CodedLevels& sent) {
  CodedLevels received;
  const ExactBytes payload(sent.payload);
  expect(decode_levels(receiver, payload.span(), received).ok(), "an encoded payload to decode");
  expect(received.levels == sent.levels, "the same levels");
  expect(same_bits(received.values, sent.values), "the same values");
  expect(receiver == sender, "equal states on both ends");
}

void check_encodes_again(const StreamState& before, const CodedLevels& decoded) {
  const std::vector<std::uint32_t> steps = valid_steps(decoded);
  StreamState sender = before;
  CodedLevels sent;
  expect(encode_levels(sender, decoded.levels, steps, sent).ok(),
         "decoded levels to be good levels");
  expect(sent.levels == decoded.levels, "the levels that were given");
  check_arrives(sender, before, sent);

  // Offsets may lead a value beyond the last level.
  sender = before;
  const Choice choice{.price = 0.05F, .is_dependent = true};
  const Result result = encode_values(sender, decoded.values, steps, choice, sent);
  expect(result.ok() || result.status == Status::kLevelRange, "decoded values to be good values");
  if (result.ok()) check_arrives(sender, before, sent);
}

void decode(StreamState& state, std::span<const std::uint8_t> bytes, bool is_state_good) {
  const ExactBytes payload(bytes);
  CodedLevels coded;
  const StreamState before = state;
  const Result result = decode_levels(state, payload.span(), coded);
  if (result.ok()) {
    expect(coded.levels.size() == state.n_levels(), "as many levels as the layout has");
    expect(std::all_of(coded.values.begin(), coded.values.end(),
                       [](float value) { return std::isfinite(value); }),
           "finite values");
  }
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
