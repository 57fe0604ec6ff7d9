// SPDX-License-Identifier: Apache-2.0
// Updates of several codewords: the same for any number of threads, and refused where their lengths
// or codewords contradict each other.
#include <bit>

#include "fl_deepcabac/parts.hpp"
#include "stream.hpp"

namespace fl_deepcabac::testing {
namespace {

const std::vector<TensorShape>& large_shapes() {
  static const std::vector<TensorShape> shapes{{700, 900}, {1, 130000}, {0, 4}, {90000, 1},
                                               {3, 30},    {5000, 40},  {1, 1}};
  return shapes;
}

// Most weights do not move, those that do move in runs of rows: quick to code, with all there is.
std::vector<float> sparse_values(Random& random, std::size_t n_values, float density) {
  std::vector<float> values(n_values, 0.0F);
  for (std::size_t begin = 0; begin < n_values; begin += 64) {
    if (!random.chance(density)) continue;
    const bool is_dense = random.chance(0.3F);
    for (std::size_t i = begin; i < std::min(begin + 64, n_values); ++i) {
      if (is_dense || random.chance(0.05F)) values[i] = 2.0F * random.heavy_tailed();
    }
  }
  return values;
}

void check_same(const CodedLevels& one, const CodedLevels& other) {
  check(one.payload == other.payload, "the same payload");
  check(one.levels == other.levels, "the same levels");
  check(same_bits(one.values, other.values), "the same values, bit by bit");
  check_equal(one.step_bits, other.step_bits);
  check_equal(one.tensor_costs, other.tensor_costs);
}

// Codes the same rounds with each number of threads on each side.
void check_any_number_of_threads(Profile profile, const Choice& choice, int n_rounds) {
  StreamState before(large_shapes(), profile);
  check(before.n_levels() >= (1U << 20) && divide(large_shapes()).size() >= 4, "four chunks");
  Random random(181);
  const Steps steps(large_shapes().size(), std::bit_cast<std::uint32_t>(1.0F));
  for (int round = 0; round < n_rounds; ++round) {
    const std::vector<float> values = sparse_values(random, before.n_levels(), 0.06F);
    StreamState after = before;
    CodedLevels sent;
    check(encode_values(after, values, steps, choice, sent, 1).ok(), "values coded");
    const Bytes saved = after.to_bytes();
    StreamState threaded = before;
    CodedLevels repeated;
    check(encode_values(threaded, values, steps, choice, repeated, 3).ok(), "values coded");
    check_same(repeated, sent);
    check(threaded.to_bytes() == saved, "equal states");
    for (const std::size_t n_threads : {1U, 9U}) {
      StreamState state = before;
      CodedLevels received;
      check(decode_levels(state, sent.payload, received, n_threads).ok(), "a payload to decode");
      received.payload = sent.payload;
      check_same(received, sent);
      check(state.to_bytes() == saved, "equal states on both ends");
    }
    before = after;
  }
}

void test_fast_levels_are_the_same_for_any_number_of_threads() {
  check_any_number_of_threads(Profile::kFast, {.price = 0.1F}, 2);
}

void test_dependent_levels_are_the_same_for_any_number_of_threads() {
  check_any_number_of_threads(Profile::kFast, {.price = 0.1F, .is_dependent = true}, 2);
}

void test_mixed_levels_are_the_same_for_any_number_of_threads() {
  check_any_number_of_threads(Profile::kMax, {.price = 0.1F, .is_dependent = true}, 1);
}

// Given levels are divided like chosen ones, and small packets may follow.
void test_given_levels_are_the_same_for_any_number_of_threads() {
  Random random(182);
  StreamState one(large_shapes(), Profile::kFast);
  StreamState other = one;
  StreamState receiver = one;
  const Steps steps(large_shapes().size(), kStep);
  for (const float density : {0.002F, 0.0F}) {
    const Levels levels = random_levels(random, one.n_levels(), density, 9);
    CodedLevels sent;
    CodedLevels repeated;
    check(encode_levels(one, levels, steps, sent, 1).ok(), "levels coded");
    check(encode_levels(other, levels, steps, repeated, 3).ok(), "levels coded");
    check_same(repeated, sent);
    CodedLevels received;
    check(decode_levels(receiver, sent.payload, received, 2).ok(), "a payload to decode");
    check(received.levels == levels, "the levels that were sent");
    check(receiver.to_bytes() == one.to_bytes(), "equal states");
  }
  check(one.to_bytes() == other.to_bytes(), "equal states");
}

const std::vector<TensorShape>& two_chunks() {
  static const std::vector<TensorShape> shapes{{1, 300000}, {1000, 250}};
  return shapes;
}

Bytes payload_of_two_chunks(std::uint64_t seed = 183) {
  Random random(seed);
  StreamState state(two_chunks(), Profile::kFast);
  CodedLevels coded;
  const Levels levels = random_levels(random, state.n_levels(), 0.0005F, 9);
  check(encode_levels(state, levels, {{kStep, kStep}}, coded).ok(), "levels coded");
  return coded.payload;
}

std::uint32_t first_length(const Bytes& payload) {
  return static_cast<std::uint32_t>(payload[0]) | (static_cast<std::uint32_t>(payload[1]) << 8) |
         (static_cast<std::uint32_t>(payload[2]) << 16) |
         (static_cast<std::uint32_t>(payload[3]) << 24);
}

Bytes with_first_length(Bytes payload, std::uint32_t length) {
  for (std::size_t i = 0; i < 4; ++i)
    payload[i] = static_cast<std::uint8_t>(length >> (8 * i));
  return payload;
}

Result decode_result(const Bytes& payload) {
  StreamState state(two_chunks(), Profile::kFast);
  CodedLevels coded;
  const Result result = decode(state, payload, coded);
  check(result.position >= 0 && result.position <= static_cast<std::int64_t>(payload.size()),
        "a position inside the payload");
  return result;
}

void test_payload_is_lengths_then_codewords() {
  const Bytes payload = payload_of_two_chunks();
  check_equal(divide(two_chunks()).size(), 2U);
  check(first_length(payload) > 100 && first_length(payload) + 100 < payload.size(),
        "two codewords of some length");
  const Result result = decode_result(payload);
  check_equal(result.status, Status::kOk);
  check_equal(result.position, static_cast<std::int64_t>(payload.size()));
}

void test_wrong_lengths_are_refused() {
  const Bytes payload = payload_of_two_chunks();
  const std::uint32_t length = first_length(payload);
  const auto rest = static_cast<std::uint32_t>(payload.size() - 4);
  check(!decode_result(with_first_length(payload, length - 1)).ok(), "a byte too few refused");
  // No bytes at all are zeros in all tensors, after which the second codeword says nothing.
  check_equal(decode_result(with_first_length(payload, 0)).status, Status::kPayloadTrailing);
  check(!decode_result(with_first_length(payload, length + 1)).ok(), "a byte too many refused");
  check_equal(decode_result(with_first_length(payload, rest)).status, Status::kPayloadTrailing);
  for (const std::uint32_t beyond : {rest + 1, 0x7FFFFFFFU, 0xFFFFFFFFU}) {
    check_equal(decode_result(with_first_length(payload, beyond)).status,
                Status::kPayloadTruncated);
  }
}

void test_cut_payloads_are_truncated() {
  const Bytes payload = payload_of_two_chunks();
  const std::size_t end = 4 + first_length(payload);
  for (const std::size_t n_bytes :
       {std::size_t{0}, std::size_t{1}, std::size_t{3}, std::size_t{4}, std::size_t{50}, end - 1,
        end, end + 1, payload.size() - 20, payload.size() - 1}) {
    const Bytes cut(payload.begin(), payload.begin() + static_cast<std::ptrdiff_t>(n_bytes));
    check_equal(decode_result(cut).status, Status::kPayloadTruncated);
  }
}

void test_bytes_behind_codewords_are_trailing() {
  const Bytes payload = payload_of_two_chunks();
  const std::uint32_t length = first_length(payload);
  Bytes behind_last = payload;
  behind_last.push_back(0);
  check_equal(decode_result(behind_last).status, Status::kPayloadTrailing);
  Bytes behind_first = with_first_length(payload, length + 1);
  behind_first.insert(behind_first.begin() + 4 + length, 0);
  const Result result = decode_result(behind_first);
  check_equal(result.status, Status::kPayloadTrailing);
  check(result.position <= 4 + static_cast<std::int64_t>(length) + 1, "the first codeword named");
}

// Another last byte of a codeword is another number of the same interval, which is no way to end,
// or stands for something else.
void test_other_endings_are_refused() {
  const Bytes payload = payload_of_two_chunks();
  StreamState whole(two_chunks(), Profile::kFast);
  CodedLevels expected;
  check(decode(whole, payload, expected).ok(), "the whole payload to decode");
  for (const std::size_t last : {std::size_t{3} + first_length(payload), payload.size() - 1}) {
    for (int bit = 0; bit < 8; ++bit) {
      Bytes changed = payload;
      changed[last] ^= static_cast<std::uint8_t>(1U << bit);
      StreamState state(two_chunks(), Profile::kFast);
      CodedLevels coded;
      const Result result = decode(state, changed, coded);
      check(!result.ok() || state.to_bytes() != whole.to_bytes(), "another ending to be noticed");
    }
  }
}

// Of the numbers in an interval one is written; its neighbours in both codewords are refused.
void test_neighbours_of_the_ending_are_refused() {
  int n_refused = 0;
  for (std::uint64_t seed = 184; seed < 190; ++seed) {
    const Bytes payload = payload_of_two_chunks(seed);
    for (const std::size_t last : {std::size_t{3} + first_length(payload), payload.size() - 1}) {
      for (const int change : {-3, -2, -1, 1, 2, 3}) {
        Bytes changed = payload;
        changed[last] = static_cast<std::uint8_t>(changed[last] + change);
        n_refused += decode_result(changed).status == Status::kPayloadEnd ? 1 : 0;
      }
    }
  }
  check(n_refused > 0, "endings that are no shortest number");
}

void test_swapped_codewords_are_refused() {
  const Bytes payload = payload_of_two_chunks();
  const auto middle = payload.begin() + 4 + first_length(payload);
  Bytes swapped(payload.begin(), payload.begin() + 4);
  swapped.insert(swapped.end(), middle, payload.end());
  swapped.insert(swapped.end(), payload.begin() + 4, middle);
  const auto length = static_cast<std::uint32_t>(payload.end() - middle);
  check(!decode_result(with_first_length(swapped, length)).ok(), "swapped codewords refused");
}

}  // namespace
}  // namespace fl_deepcabac::testing

int main() {
  using namespace fl_deepcabac::testing;
  return run_tests({
      {"fast_levels_are_the_same_for_any_number_of_threads",
       test_fast_levels_are_the_same_for_any_number_of_threads},
      {"dependent_levels_are_the_same_for_any_number_of_threads",
       test_dependent_levels_are_the_same_for_any_number_of_threads},
      {"mixed_levels_are_the_same_for_any_number_of_threads",
       test_mixed_levels_are_the_same_for_any_number_of_threads},
      {"given_levels_are_the_same_for_any_number_of_threads",
       test_given_levels_are_the_same_for_any_number_of_threads},
      {"payload_is_lengths_then_codewords", test_payload_is_lengths_then_codewords},
      {"wrong_lengths_are_refused", test_wrong_lengths_are_refused},
      {"cut_payloads_are_truncated", test_cut_payloads_are_truncated},
      {"bytes_behind_codewords_are_trailing", test_bytes_behind_codewords_are_trailing},
      {"other_endings_are_refused", test_other_endings_are_refused},
      {"neighbours_of_the_ending_are_refused", test_neighbours_of_the_ending_are_refused},
      {"swapped_codewords_are_refused", test_swapped_codewords_are_refused},
  });
}
