// SPDX-License-Identifier: Apache-2.0
// Updates of several codewords: the same for any number of threads, and refused where their lengths
// or codewords contradict each other.
#include <algorithm>
#include <bit>
#include <span>

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
  check_equal(one.tensor_nonzeros, other.tensor_nonzeros);
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
    check_equal(repeated.tensor_errors, sent.tensor_errors);
    check_errors(sent.tensor_errors, errors_of(large_shapes(), values, sent.values));
    check_equal(sent.tensor_nonzeros, nonzeros_of(large_shapes(), sent.levels));
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
  check_any_number_of_threads(Profile::kFast, {.price = 0.1F}, 1);
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

// A payload of two codewords, taken apart by the words of spec 4.2.
struct TwoCodewords {
  std::size_t n_length_bytes = 0;
  std::uint32_t length = 0;  // of the first codeword
  Bytes codewords;

  explicit TwoCodewords(const Bytes& payload) {
    std::uint8_t byte = 0x80;
    for (; byte >= 0x80; ++n_length_bytes) {
      byte = payload.at(n_length_bytes);
      length |= std::uint32_t{byte & 0x7FU} << (7 * n_length_bytes);
    }
    codewords.assign(payload.begin() + static_cast<std::ptrdiff_t>(n_length_bytes), payload.end());
  }
  [[nodiscard]] Bytes with_length(std::uint32_t other) const {
    Bytes payload;
    for (; other >= 0x80; other >>= 7)
      payload.push_back(static_cast<std::uint8_t>(0x80 | (other & 0x7F)));
    payload.push_back(static_cast<std::uint8_t>(other));
    return with_length_bytes(payload);
  }
  [[nodiscard]] Bytes with_length_bytes(Bytes payload) const {
    payload.insert(payload.end(), codewords.begin(), codewords.end());
    return payload;
  }
  // Positions in the payload of the bytes that end its codewords.
  [[nodiscard]] std::vector<std::size_t> ends() const {
    return {n_length_bytes + length - 1, n_length_bytes + codewords.size() - 1};
  }
};

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
  const TwoCodewords two(payload);
  check_equal(divide(two_chunks()).size(), 2U);
  check(two.length > 128 && two.length + 100 < payload.size(), "two codewords of some length");
  check_equal(two.n_length_bytes, 2U);
  check_equal(two.with_length(two.length), payload);
  const Result result = decode_result(payload);
  check_equal(result.status, Status::kOk);
  check_equal(result.position, static_cast<std::int64_t>(payload.size()));
}

void test_wrong_lengths_are_refused() {
  const TwoCodewords two(payload_of_two_chunks());
  const auto rest = static_cast<std::uint32_t>(two.codewords.size());
  check(!decode_result(two.with_length(two.length - 1)).ok(), "a byte too few refused");
  // No bytes at all are zeros in all tensors, after which the second codeword says nothing.
  check_equal(decode_result(two.with_length(0)).status, Status::kPayloadTrailing);
  check(!decode_result(two.with_length(two.length + 1)).ok(), "a byte too many refused");
  check_equal(decode_result(two.with_length(rest)).status, Status::kPayloadTrailing);
  for (const std::uint32_t beyond : {rest + 1, 0x7FFFFFFFU, 0xFFFFFFFFU}) {
    check_equal(decode_result(two.with_length(beyond)).status, Status::kPayloadTruncated);
  }
}

// Not in the shortest form, or too large: the same length in other bytes is another payload.
void test_lengths_written_otherwise_are_refused() {
  const TwoCodewords two(payload_of_two_chunks());
  const auto low = static_cast<std::uint8_t>(two.length | 0x80);
  const auto high = static_cast<std::uint8_t>((two.length >> 7) | 0x80);
  const Bytes longer[] = {{low, high, 0}, {low, high, 0x80, 0}, {low, high, 0x80, 0x80, 0}};
  const Bytes larger[] = {
      {low, high, 0x80, 0x80, 0x10}, {low, high, 0x80, 0x80, 0x80}, {low, high, 0x80, 0x80, 0x7F}};
  for (const auto& cases : {std::span(longer), std::span(larger)}) {
    for (const Bytes& bytes : cases) {
      const Result result = decode_result(two.with_length_bytes(bytes));
      check_equal(result.status, Status::kPayloadLength);
      check_equal(result.position, std::int64_t{0});
    }
  }
}

// Behind the lengths a cut is in the last codeword; nearly all are too short for their bins, and
// the others stand for something else, as zeros cost next to nothing.
void test_cut_payloads_are_truncated() {
  const Bytes payload = payload_of_two_chunks();
  const std::size_t end = TwoCodewords(payload).ends().front() + 1;
  const auto cut_to = [&](std::size_t n_bytes) {
    return Bytes(payload.begin(), payload.begin() + static_cast<std::ptrdiff_t>(n_bytes));
  };
  for (const std::size_t n_bytes : {std::size_t{0}, std::size_t{1}, std::size_t{2}, std::size_t{3},
                                    std::size_t{50}, end - 1, end, end + 1})
    check_equal(decode_result(cut_to(n_bytes)).status, Status::kPayloadTruncated);
  StreamState whole(two_chunks(), Profile::kFast);
  CodedLevels expected;
  check(decode(whole, payload, expected).ok(), "the whole payload to decode");
  int n_cuts = 0;
  int n_truncated = 0;
  for (std::size_t n_bytes = end + 2; n_bytes < payload.size(); n_bytes += 5) {
    StreamState state(two_chunks(), Profile::kFast);
    CodedLevels coded;
    const Result result = decode(state, cut_to(n_bytes), coded);
    check(!result.ok() || coded.levels != expected.levels, "a cut to be noticed");
    ++n_cuts;
    n_truncated += result.status == Status::kPayloadTruncated ? 1 : 0;
  }
  check(n_cuts > 40 && 10 * n_truncated > 9 * n_cuts, "nearly all cuts to be truncated");
}

void test_bytes_behind_codewords_are_trailing() {
  const Bytes payload = payload_of_two_chunks();
  TwoCodewords two(payload);
  Bytes behind_last = payload;
  behind_last.push_back(0);
  check_equal(decode_result(behind_last).status, Status::kPayloadTrailing);
  two.codewords.insert(two.codewords.begin() + two.length, 0);
  const Result result = decode_result(two.with_length(two.length + 1));
  check_equal(result.status, Status::kPayloadTrailing);
  check(result.position <= static_cast<std::int64_t>(two.ends().front()) + 2,
        "the first codeword named");
}

// Another last byte of a codeword is another number of the same interval, which is no way to end,
// or stands for something else.
void test_other_endings_are_refused() {
  const Bytes payload = payload_of_two_chunks();
  StreamState whole(two_chunks(), Profile::kFast);
  CodedLevels expected;
  check(decode(whole, payload, expected).ok(), "the whole payload to decode");
  for (const std::size_t last : TwoCodewords(payload).ends()) {
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
    for (const std::size_t last : TwoCodewords(payload).ends()) {
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
  TwoCodewords two(payload);
  const auto length = static_cast<std::uint32_t>(two.codewords.size()) - two.length;
  std::rotate(two.codewords.begin(), two.codewords.begin() + two.length, two.codewords.end());
  check(!decode_result(two.with_length(length)).ok(), "swapped codewords refused");
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
      {"lengths_written_otherwise_are_refused", test_lengths_written_otherwise_are_refused},
      {"cut_payloads_are_truncated", test_cut_payloads_are_truncated},
      {"bytes_behind_codewords_are_trailing", test_bytes_behind_codewords_are_trailing},
      {"other_endings_are_refused", test_other_endings_are_refused},
      {"neighbours_of_the_ending_are_refused", test_neighbours_of_the_ending_are_refused},
      {"swapped_codewords_are_refused", test_swapped_codewords_are_refused},
  });
}
