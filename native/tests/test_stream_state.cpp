// SPDX-License-Identifier: Apache-2.0
#include "fl_deepcabac/stream_state.hpp"

#include <cstring>
#include <memory>

#include "check.hpp"
#include "fl_deepcabac/level_codec.hpp"
#include "fl_deepcabac/step.hpp"
#include "random.hpp"

namespace fl_deepcabac::testing {
namespace {

using Bytes = std::vector<std::uint8_t>;

constexpr std::size_t kHeaderBytes = 1 + 1 + 4 + 8;
// Contexts of 9 bytes, mixers of 4 bytes a weight and 2 (spec 10.2).
constexpr std::size_t kFastBytes = 9 * (57 + 2 * 1145);
constexpr std::size_t kMaxBytes =
    9 * (57 + 2 * 19626) + 2 * (13 * 24 * (5 * 4 + 2) + 24 * (3 * 4 + 2));

const std::vector<TensorShape>& shapes() {
  static const std::vector<TensorShape> all{{3, 20}, {1, 7}, {0, 5}, {2, 2}};
  return all;
}

StreamState fresh_state(Profile profile) {
  return {shapes(), profile};
}

// A state some packets into its stream.
StreamState used_state(Profile profile) {
  StreamState state = fresh_state(profile);
  Random random(81);
  for (int round = 0; round < 4; ++round) {
    std::vector<std::int32_t> levels(state.n_levels());
    for (std::int32_t& level : levels)
      level = random.chance(0.6F) ? 0 : random.between(-20, 20);
    const std::vector<std::uint32_t> steps(shapes().size(), 0x3C000000U + random.below(1000));
    CodedLevels coded;
    check(encode_levels(state, levels, steps, coded).ok(), "good levels to be coded");
  }
  return state;
}

// Loads from a buffer of exactly the right size, so that a sanitizer sees every read beyond it.
Result load(StreamState& state, const Bytes& bytes) {
  const auto exact = std::make_unique<std::uint8_t[]>(bytes.size());
  if (!bytes.empty()) std::memcpy(exact.get(), bytes.data(), bytes.size());
  return state.load_bytes({exact.get(), bytes.size()});
}

Status load_status(Profile profile, const Bytes& bytes) {
  StreamState state = fresh_state(profile);
  return load(state, bytes).status;
}

void test_saved_state_has_the_layout_of_the_specification() {
  const Bytes fast = fresh_state(Profile::kFast).to_bytes();
  const Bytes max = fresh_state(Profile::kMax).to_bytes();
  constexpr std::size_t kTensorBytes = 4 * 4 + 4 * 7 + 2 * 71;
  check_equal(fast.size(), kHeaderBytes + kFastBytes + kTensorBytes);
  check_equal(max.size(), kHeaderBytes + kMaxBytes + kTensorBytes);
  const Bytes header{1, 0, 4, 0, 0, 0, 71, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80, 0, 0, 0, 0x80, 0};
  check(std::equal(header.begin(), header.end(), fast.begin()), "header and first context");
  check_equal(static_cast<int>(max[1]), 1);
}

void test_state_comes_back_and_saves_to_the_same_bytes() {
  for (const Profile profile : {Profile::kFast, Profile::kMax}) {
    const StreamState saved = used_state(profile);
    const Bytes bytes = saved.to_bytes();
    StreamState loaded = fresh_state(profile);
    check(loaded.to_bytes() != bytes, "packets to leave a trace");
    check(load(loaded, bytes).ok(), "a saved state to load");
    check(loaded.to_bytes() == bytes, "the same bytes again");
    check_equal(loaded.step_bits, saved.step_bits);
    check_equal(loaded.offsets, saved.offsets);
    check_equal(loaded.magnitude_history, saved.magnitude_history);
    check_equal(loaded.signed_history, saved.signed_history);
  }
}

void test_copies_are_independent() {
  StreamState state = used_state(Profile::kFast);
  const Bytes before = state.to_bytes();
  StreamState copy = state;
  CodedLevels coded;
  const std::vector<std::uint32_t> steps(shapes().size(), 0x3F800000);
  check(encode_levels(copy, std::vector<std::int32_t>(71, 3), steps, coded).ok(), "levels coded");
  check(state.to_bytes() == before && copy.to_bytes() != before, "only the copy to move");
}

void test_every_cut_is_truncated() {
  const Bytes fast = used_state(Profile::kFast).to_bytes();
  for (std::size_t n_bytes = 0; n_bytes < fast.size(); n_bytes += n_bytes < 60 ? 1 : 37) {
    const Bytes cut(fast.begin(), fast.begin() + static_cast<std::ptrdiff_t>(n_bytes));
    check_equal(load_status(Profile::kFast, cut), Status::kStateTruncated);
  }
  const Bytes max = used_state(Profile::kMax).to_bytes();
  for (const std::size_t n_missing : {1U, 2U, 71U, 142U, 150U, 200U, 5000U, 100000U}) {
    const Bytes cut(max.begin(), max.end() - static_cast<std::ptrdiff_t>(n_missing));
    check_equal(load_status(Profile::kMax, cut), Status::kStateTruncated);
  }
}

void test_surplus_bytes_are_trailing() {
  for (const std::size_t n_surplus : {1U, 9U}) {
    Bytes bytes = used_state(Profile::kFast).to_bytes();
    bytes.insert(bytes.end(), n_surplus, 0);
    check_equal(load_status(Profile::kFast, bytes), Status::kStateTrailing);
  }
}

Status status_with(Profile profile, std::size_t offset, const Bytes& replacement) {
  Bytes bytes = used_state(profile).to_bytes();
  std::copy(replacement.begin(), replacement.end(),
            bytes.begin() + static_cast<std::ptrdiff_t>(offset));
  return load_status(profile, bytes);
}

void test_other_versions_and_layouts_are_rejected() {
  check_equal(status_with(Profile::kFast, 0, {0}), Status::kStateVersion);
  check_equal(status_with(Profile::kFast, 0, {2}), Status::kStateVersion);
  check_equal(status_with(Profile::kFast, 1, {1}), Status::kStateLayout);
  check_equal(status_with(Profile::kMax, 1, {0}), Status::kStateLayout);
  check_equal(status_with(Profile::kFast, 1, {2}), Status::kStateLayout);
  check_equal(status_with(Profile::kFast, 2, {5}), Status::kStateLayout);
  check_equal(status_with(Profile::kFast, 5, {1}), Status::kStateLayout);
  check_equal(status_with(Profile::kFast, 6, {70}), Status::kStateLayout);
  check_equal(status_with(Profile::kFast, 13, {0x80}), Status::kStateLayout);
  const StreamState other({{3, 20}, {1, 7}, {2, 2}}, Profile::kFast);
  check_equal(load_status(Profile::kFast, other.to_bytes()), Status::kStateLayout);
}

void test_contexts_out_of_range_are_rejected() {
  for (const std::size_t context :
       {std::size_t{0}, std::size_t{56}, std::size_t{57}, std::size_t{2346}}) {
    const std::size_t offset = kHeaderBytes + 9 * context;
    const auto status = [&](const Bytes& estimates) {
      return status_with(Profile::kFast, offset, estimates);
    };
    // Estimates lie within [2^19, 2^32 - 1 - 2^19].
    const Bytes half{0, 0, 0, 0x80};
    const Bytes bad[] = {
        {0, 0, 0, 0}, {0xFF, 0xFF, 7, 0}, {0, 0, 0xF8, 0xFF}, {0xFF, 0xFF, 0xFF, 0xFF}};
    const Bytes good[] = {{0, 0, 8, 0}, {0xFF, 0xFF, 0xF7, 0xFF}};
    const auto pair_of = [](Bytes fast, const Bytes& slow) {
      fast.insert(fast.end(), slow.begin(), slow.end());
      return fast;
    };
    for (const Bytes& estimate : bad) {
      check_equal(status(pair_of(estimate, half)), Status::kStateValue);
      check_equal(status(pair_of(half, estimate)), Status::kStateValue);
    }
    for (const Bytes& estimate : good) {
      check_equal(status(pair_of(estimate, half)), Status::kOk);
      check_equal(status(pair_of(half, estimate)), Status::kOk);
      check_equal(status(pair_of(pair_of(estimate, estimate), {255})), Status::kOk);
    }
  }
}

void test_mixer_weights_out_of_range_are_rejected() {
  // The first mixer of the first set lies behind the tensor contexts and the set's own contexts.
  const std::size_t first = kHeaderBytes + 9 * (57 + 19626);
  check_equal(status_with(Profile::kMax, first, {0x00, 0x00, 0x08, 0x00}), Status::kOk);
  check_equal(status_with(Profile::kMax, first, {0x01, 0x00, 0x08, 0x00}), Status::kStateValue);
  check_equal(status_with(Profile::kMax, first, {0x00, 0x00, 0xF8, 0xFF}), Status::kOk);
  check_equal(status_with(Profile::kMax, first, {0xFF, 0xFF, 0xF7, 0xFF}), Status::kStateValue);
  check_equal(status_with(Profile::kMax, first + 16, {0x00, 0x00, 0x00, 0x80}),
              Status::kStateValue);
  // Counts are saved as they are cut before a packet.
  check_equal(status_with(Profile::kMax, first + 20, {0x00, 0x10}), Status::kOk);
  check_equal(status_with(Profile::kMax, first + 20, {0x01, 0x10}), Status::kStateValue);
}

void test_steps_offsets_and_signed_codes_out_of_range_are_rejected() {
  const std::size_t steps = kHeaderBytes + kFastBytes;
  check_equal(status_with(Profile::kFast, steps, {0, 0, 0, 0}), Status::kOk);
  check_equal(status_with(Profile::kFast, steps, {1, 0, 0, 0}), Status::kStateValue);
  check_equal(status_with(Profile::kFast, steps + 12, {0, 0, 0x80, 0xBF}), Status::kStateValue);
  check_equal(status_with(Profile::kFast, steps + 4, {0, 0, 0x80, 0x7F}), Status::kStateValue);
  const std::size_t offsets = steps + 16;
  check_equal(status_with(Profile::kFast, offsets, {0x81}), Status::kOk);
  check_equal(status_with(Profile::kFast, offsets, {0x80}), Status::kStateValue);
  check_equal(status_with(Profile::kFast, offsets + 27, {0x80}), Status::kStateValue);
  const std::size_t signed_codes = offsets + 28 + 71;
  check_equal(status_with(Profile::kFast, signed_codes, {0x81}), Status::kOk);
  check_equal(status_with(Profile::kFast, signed_codes, {0x80}), Status::kStateValue);
  check_equal(status_with(Profile::kFast, signed_codes + 70, {0x80}), Status::kStateValue);
}

void test_state_without_tensors_comes_back() {
  const StreamState empty({}, Profile::kFast);
  StreamState loaded({}, Profile::kFast);
  check(loaded.load_bytes(empty.to_bytes()).ok(), "a state of no tensors to load");
  check_equal(loaded.load_bytes({}).status, Status::kStateTruncated);
  check_equal(StreamState{}.n_levels(), 0U);
}

}  // namespace
}  // namespace fl_deepcabac::testing

int main() {
  using namespace fl_deepcabac::testing;
  return run_tests({
      {"saved_state_has_the_layout_of_the_specification",
       test_saved_state_has_the_layout_of_the_specification},
      {"state_comes_back_and_saves_to_the_same_bytes",
       test_state_comes_back_and_saves_to_the_same_bytes},
      {"copies_are_independent", test_copies_are_independent},
      {"every_cut_is_truncated", test_every_cut_is_truncated},
      {"surplus_bytes_are_trailing", test_surplus_bytes_are_trailing},
      {"other_versions_and_layouts_are_rejected", test_other_versions_and_layouts_are_rejected},
      {"contexts_out_of_range_are_rejected", test_contexts_out_of_range_are_rejected},
      {"mixer_weights_out_of_range_are_rejected", test_mixer_weights_out_of_range_are_rejected},
      {"steps_offsets_and_signed_codes_out_of_range_are_rejected",
       test_steps_offsets_and_signed_codes_out_of_range_are_rejected},
      {"state_without_tensors_comes_back", test_state_without_tensors_comes_back},
  });
}
