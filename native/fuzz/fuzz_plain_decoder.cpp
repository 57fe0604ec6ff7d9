// SPDX-License-Identifier: Apache-2.0
// Any bytes are decoded as payloads of a stream, one after the other, by the core and by the plain
// decoder of the specification, which must agree on all of it.
//
// Input: a byte that chooses the layout, a byte that is the length of the first payload, the
// payloads; as of fuzz_decode_levels. A payload that is rejected leaves the state to the next one.
// With an engine (see replay_driver.cpp), -Itests is needed, too.
#include <algorithm>

#include "fuzz_target.hpp"
#include "plain_comparison.hpp"

namespace fl_deepcabac::fuzzing {
namespace {

void decode(testing::BothDecoders& both, std::span<const std::uint8_t> bytes) {
  const ExactBytes payload(bytes);
  const char* difference = both.decode(payload.span());
  expect(difference == nullptr, difference);
}

}  // namespace
}  // namespace fl_deepcabac::fuzzing

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t n_bytes) {
  using namespace fl_deepcabac::fuzzing;
  if (n_bytes < 2) return 0;
  fl_deepcabac::testing::BothDecoders both(chosen_state(bytes[0]));
  const std::span<const std::uint8_t> payloads(bytes + 2, n_bytes - 2);
  const std::size_t n_first = std::min<std::size_t>(bytes[1], payloads.size());
  decode(both, payloads.first(n_first));
  decode(both, payloads.subspan(n_first));
  return 0;
}
