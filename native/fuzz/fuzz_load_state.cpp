// SPDX-License-Identifier: Apache-2.0
// Any bytes are loaded as a saved state: as they are, or as changes to a state that was really
// saved.
//
// Input: a byte that chooses the layout; where its bit 7 is set, edits of four bytes each (offset
// u24, value u8; offset 0xFFFFFF cuts that many bytes off the end), else the saved state itself.
// What loads must save to the same bytes, and must code levels on both ends alike.
#include <algorithm>

#include "fl_deepcabac/level_codec.hpp"
#include "fuzz_target.hpp"

namespace fl_deepcabac::fuzzing {
namespace {

std::vector<std::int32_t> some_levels(const StreamState& state) {
  std::vector<std::int32_t> levels(state.n_levels(), 0);
  for (std::size_t i = 0; i < levels.size(); i += 3) {
    levels[i] = static_cast<std::int32_t>((i * i) % 29) - 14;
  }
  return levels;
}

std::vector<std::uint8_t> edited_state(std::uint8_t choice, std::span<const std::uint8_t> edits) {
  std::vector<std::uint8_t> saved = chosen_state(choice).to_bytes();
  for (; edits.size() >= 4; edits = edits.subspan(4)) {
    const std::size_t offset =
        edits[0] | (std::size_t{edits[1]} << 8) | (std::size_t{edits[2]} << 16);
    if (offset == 0xFFFFFF) {
      saved.resize(saved.size() - std::min<std::size_t>(edits[3], saved.size()));
    } else if (!saved.empty()) {
      saved[offset % saved.size()] = edits[3];
    }
  }
  return saved;
}

void check_codes_on_both_ends(StreamState sender) {
  StreamState receiver = sender;
  const std::vector<std::uint32_t> steps(sender.shapes.size(), 0x3C000000);
  CodedLevels sent;
  expect(encode_levels(sender, some_levels(sender), steps, sent).ok(), "good levels to be coded");
  CodedLevels received;
  const ExactBytes payload(sent.payload);
  expect(decode_levels(receiver, payload.span(), received).ok(), "an encoded payload to decode");
  expect(received.levels == sent.levels, "the same levels");
  expect(received.step_bits == sent.step_bits, "the same steps");
}

}  // namespace
}  // namespace fl_deepcabac::fuzzing

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t n_bytes) {
  using namespace fl_deepcabac::fuzzing;
  if (n_bytes < 1) return 0;
  const std::span<const std::uint8_t> rest(bytes + 1, n_bytes - 1);
  std::vector<std::uint8_t> saved(rest.begin(), rest.end());
  if ((bytes[0] & 0x80U) != 0) saved = edited_state(bytes[0], rest);

  const ExactBytes exact(saved);
  fl_deepcabac::StreamState state = chosen_state(bytes[0]);
  if (!state.load_bytes(exact.span()).ok()) return 0;
  expect(state.to_bytes() == saved, "a loaded state to save to the same bytes");
  check_codes_on_both_ends(std::move(state));
  return 0;
}
