// SPDX-License-Identifier: Apache-2.0
// What the level codec rejects: faults of the caller, and every contradiction in a payload (spec
// 11).
#include <array>
#include <bit>
#include <limits>

#include "check.hpp"
#include "fl_deepcabac/level_syntax.hpp"
#include "fl_deepcabac/step.hpp"
#include "hostile_payload.hpp"
#include "level_data.hpp"

namespace fl_deepcabac::testing {
namespace {

Status decode_status(const std::vector<TensorShape>& shapes, const Bytes& payload) {
  StreamState state(shapes, Profile::kFast);
  CodedLevels coded;
  return decode(state, payload, coded).status;
}

void test_caller_faults_are_reported_with_their_place() {
  const std::vector<TensorShape> shapes{{2, 2}, {1, 3}};
  StreamState state(shapes, Profile::kFast);
  const Bytes before = state.to_bytes();
  CodedLevels coded;
  const auto check_result = [](const Result& result, Status status, std::int64_t position) {
    check_equal(result.status, status);
    check_equal(result.position, position);
  };
  const Steps steps{kStep, kStep};
  check_result(encode_levels(state, Levels(6), steps, coded), Status::kLengthMismatch, 6);
  check_result(encode_levels(state, Levels(7), Steps{kStep}, coded), Status::kLengthMismatch, 1);
  check_result(encode_levels(state, Levels(7), {{kStep, 0}}, coded), Status::kStepRange, 1);
  check_result(encode_levels(state, {{0, 0, 0, kMaxLevel + 1, 0, 0, 0}}, steps, coded),
               Status::kLevelRange, 3);
  check_result(encode_levels(state, {{0, 0, 0, 0, 0, 0, std::numeric_limits<std::int32_t>::min()}},
                             steps, coded),
               Status::kLevelRange, 6);
  using Values = std::vector<float>;
  check_result(encode_values(state, Values(8), steps, {.price = 0.1F}, coded),
               Status::kLengthMismatch, 8);
  check_result(encode_values(state, Values(7), {{kMaxStepBits + 1, kStep}}, {.price = 0.1F}, coded),
               Status::kStepRange, 0);
  check_result(
      encode_values(state, Values{0, 0, 0, 0, 0, 131072.5F, 0}, steps, {.price = 0.1F}, coded),
      Status::kLevelRange, 5);
  using Limits = std::numeric_limits<float>;
  check_result(encode_values(state, Values{0, Limits::quiet_NaN(), 0, 0, 0, 0, 0}, steps,
                             {.price = 0.1F}, coded),
               Status::kNonFinite, 1);
  check_result(encode_values(state, Values{0, 0, -Limits::infinity(), 0, 0, 0, 0}, steps,
                             {.price = 0.1F}, coded),
               Status::kNonFinite, 2);
  check(state.to_bytes() == before, "faults found before coding to leave the state alone");
}

void test_largest_value_is_coded_and_the_next_is_not() {
  StreamState state({{1, 1}}, Profile::kFast);
  CodedLevels coded;
  for (const std::uint32_t bits : {kMinStepBits, kStep + 77, kMaxStepBits}) {
    const float largest = 16777216.0F * std::bit_cast<float>(bits);
    check(encode_values(state, {{-largest}}, {{bits}}, {.price = 0.1F}, coded).ok(),
          "the largest value to be coded");
    check_equal(coded.levels[0], -kMaxLevel);
    const float beyond = std::bit_cast<float>(std::bit_cast<std::uint32_t>(largest) + 1);
    check_equal(encode_values(state, {{beyond}}, {{bits}}, {.price = 0.1F}, coded).status,
                Status::kLevelRange);
  }
}

Bytes payload_of_random_levels(const std::vector<TensorShape>& shapes, std::uint64_t seed) {
  Random random(seed);
  StreamState state(shapes, Profile::kFast);
  CodedLevels coded;
  const Levels levels = random_levels(random, state.n_levels(), 0.5F, 9);
  check(encode_levels(state, levels, Steps(shapes.size(), kStep), coded).ok(), "levels coded");
  return coded.payload;
}

// A number with its last bytes cut off is a number, too, and where its bins happen to end with its
// bytes it is a payload of other levels: zeros cost next to nothing. Few of many are, and their
// bins say what so many bytes can.
void test_every_cut_payload_is_truncated_or_other_levels() {
  const std::vector<TensorShape> shapes{{20, 20}};
  const Bytes payload = payload_of_random_levels(shapes, 108);
  StreamState whole(shapes, Profile::kFast);
  CodedLevels expected;
  check(decode(whole, payload, expected).ok(), "the whole payload to decode");
  std::size_t n_long = 0;
  std::size_t n_decoded = 0;
  for (std::size_t n_bytes = 0; n_bytes < payload.size(); ++n_bytes) {
    StreamState state(shapes, Profile::kFast);
    CodedLevels coded;
    const Bytes cut(payload.begin(), payload.begin() + static_cast<std::ptrdiff_t>(n_bytes));
    const Result result = decode(state, cut, coded);
    check(!result.ok() || coded.levels != expected.levels, "a cut to be noticed");
    if (result.ok()) {
      const double n_bits = static_cast<double>(coded.tensor_costs[0]) / 256.0;
      const double n_cut_bits = 8.0 * static_cast<double>(n_bytes);
      check(n_bits >= n_cut_bits - 9.0 && n_bits <= n_cut_bits + 33.0, "bins that fill the bytes");
    }
    // No bytes at all are the payload of zeros.
    const bool is_long = n_bytes > 0 && n_bytes + 60 < payload.size();
    n_long += is_long ? 1U : 0U;
    n_decoded += is_long && result.ok() ? 1U : 0U;
  }
  check(n_long > 100 && 20 * n_decoded < n_long, "nearly all long cuts to be errors");
}

void test_cut_in_half_is_truncated() {
  const std::vector<TensorShape> shapes{{40, 40}};
  Bytes payload = payload_of_random_levels(shapes, 109);
  payload.resize(payload.size() / 2);
  check_equal(decode_status(shapes, payload), Status::kPayloadTruncated);
}

void test_bytes_behind_the_end_are_trailing() {
  const std::vector<TensorShape> shapes{{20, 20}};
  Bytes payload = payload_of_random_levels(shapes, 110);
  payload.push_back(0);
  check_equal(decode_status(shapes, payload), Status::kPayloadTrailing);
  check_equal(decode_status({}, {0}), Status::kPayloadTrailing);
}

void test_steps_and_levels_out_of_range_are_rejected() {
  const std::vector<TensorShape> shapes{{1, 1}};
  check_equal(decode_status(shapes, payload_with(kStep, 5)), Status::kOk);
  check_equal(decode_status(shapes, payload_with(kStep, kMaxLevel)), Status::kOk);
  check_equal(decode_status(shapes, payload_with(kStep, kMaxLevel + 1)),
              Status::kPayloadLevelRange);
  check_equal(decode_status(shapes, payload_with(kStep, -kMaxLevel - 1)),
              Status::kPayloadLevelRange);
  for (const std::uint32_t step :
       {0U, kMinStepBits - 1, kMaxStepBits + 1, 0x7F800000U, 0xBF800000U}) {
    check_equal(decode_status(shapes, payload_with(step, 5)), Status::kPayloadStepRange);
  }
}

void test_offsets_out_of_range_are_rejected() {
  const std::vector<TensorShape> shapes{{1, 1}};
  for (const std::int32_t offset : {127, -127}) {
    std::array<std::int32_t, kOffsets> offsets{};
    offsets.fill(offset);
    check_equal(decode_status(shapes, payload_with(kStep, 5, offsets)), Status::kOk);
  }
  // 255 and 256 are 0 and 1 in a byte, 2^24 - 2 is the largest difference of 24 prefix bins.
  for (const std::int32_t offset : {128, 129, 255, 256, 384, (1 << 24) - 2}) {
    for (std::size_t i = 0; i < kOffsets; ++i) {
      for (const std::int32_t sign : {-1, 1}) {
        std::array<std::int32_t, kOffsets> offsets{1, 2, 3, 4, 5, 6, 7};
        offsets[i] = sign * offset;
        check_equal(decode_status(shapes, payload_with(kStep, 5, offsets)),
                    Status::kPayloadOffsetRange);
      }
    }
  }
  // Where both are out of range the level is named, as it was coded first.
  check_equal(decode_status(shapes, payload_with(kStep, kMaxLevel + 1, {128})),
              Status::kPayloadLevelRange);
}

// Changed bytes decode to something or are rejected; a second payload on top of either does no
// harm.
void test_changed_payloads_do_no_harm() {
  Random random(111);
  for (const Profile profile : kProfiles) {
    const Bytes payload = payload_of_random_levels(mixed_shapes(), 112);
    StreamState state(mixed_shapes(), profile);
    int n_rejected = 0;
    for (int i = 0; i < 150; ++i) {
      Bytes changed = payload;
      changed[random.below(static_cast<std::uint32_t>(changed.size()))] ^=
          static_cast<std::uint8_t>(1U << random.below(8));
      CodedLevels coded;
      n_rejected += decode(state, changed, coded).ok() ? 0 : 1;
      check_equal(coded.levels.size(), state.n_levels());
    }
    check(n_rejected > 75, "most changes to be noticed even without a checksum");
  }
}

}  // namespace
}  // namespace fl_deepcabac::testing

int main() {
  using namespace fl_deepcabac::testing;
  return run_tests({
      {"caller_faults_are_reported_with_their_place",
       test_caller_faults_are_reported_with_their_place},
      {"largest_value_is_coded_and_the_next_is_not",
       test_largest_value_is_coded_and_the_next_is_not},
      {"every_cut_payload_is_truncated_or_other_levels",
       test_every_cut_payload_is_truncated_or_other_levels},
      {"cut_in_half_is_truncated", test_cut_in_half_is_truncated},
      {"bytes_behind_the_end_are_trailing", test_bytes_behind_the_end_are_trailing},
      {"steps_and_levels_out_of_range_are_rejected",
       test_steps_and_levels_out_of_range_are_rejected},
      {"offsets_out_of_range_are_rejected", test_offsets_out_of_range_are_rejected},
      {"changed_payloads_do_no_harm", test_changed_payloads_do_no_harm},
  });
}
