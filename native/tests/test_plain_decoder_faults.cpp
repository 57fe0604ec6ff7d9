// SPDX-License-Identifier: Apache-2.0
// The core against the plain decoder of the specification where bytes are not what an encoder of
// ours wrote: both must judge the same, and what both accept must mean the same to both.
#include <cstddef>
#include <cstdint>
#include <set>
#include <vector>

#include "check.hpp"
#include "compared_stream.hpp"
#include "fl_deepcabac/level_syntax.hpp"
#include "hostile_payload.hpp"
#include "update_source.hpp"

namespace fl_deepcabac::testing {
namespace {

Bytes damaged(Bytes bytes, Random& random) {
  const auto size = static_cast<std::uint32_t>(bytes.size());
  const std::uint32_t at = size == 0 ? 0 : random.below(size);
  const auto begin = bytes.begin() + static_cast<std::ptrdiff_t>(at);
  const std::uint32_t kind = size == 0 ? 4 : random.below(6);
  if (kind == 0) {
    bytes[at] ^= static_cast<std::uint8_t>(1U << random.below(8));
  } else if (kind == 1) {
    bytes[at] = static_cast<std::uint8_t>(random.next());
  } else if (kind == 2) {
    bytes.erase(begin, bytes.end());
  } else if (kind == 3) {
    bytes.erase(begin);
  } else if (kind == 4) {
    bytes.push_back(static_cast<std::uint8_t>(random.below(2)));
  } else {
    bytes.back() = static_cast<std::uint8_t>(bytes.back() + random.between(-2, 2));
  }
  return bytes;
}

// What each damage leads to on a copy of `before`, which the payload was coded against.
void check_damage(const BothDecoders& before, const Bytes& payload, int n_damages, Random& random,
                  std::set<Status>& seen) {
  for (int i = 0; i < n_damages; ++i) {
    BothDecoders both = before;
    const char* difference = both.decode(damaged(payload, random));
    check(difference == nullptr, difference);
    seen.insert(both.status());
  }
}

void test_damaged_payloads() {
  Random random(306);
  std::set<Status> seen;
  for (const Profile profile : kProfiles) {
    UpdateSource source({{6, 30}, {1, 40}, {3, 1}}, 307);
    ComparedStream stream(source.shapes(), profile);
    for (int round = 0; round < 4; ++round) {
      const BothDecoders before = stream.receivers;
      const Bytes payload = stream.send_values(source.next(), steps_of(stream.sender, 1.5F),
                                               {.price = 0.1F, .is_dependent = round % 2 == 1});
      check_damage(before, payload, profile == Profile::kFast ? 100 : 15, random, seen);
    }
  }
  for (const Status status :
       {Status::kOk, Status::kPayloadTruncated, Status::kPayloadTrailing, Status::kPayloadEnd})
    check_equal(seen.count(status), 1U);
}

// The first codeword in order that is not as it must be is the one judged.
void test_damaged_chunks() {
  Random random(313);
  std::set<Status> seen;
  ComparedStream stream({{1, 1 << 18}, {1 << 9, 1 << 9}}, Profile::kFast);
  check_equal(plain_chunks(stream.receivers.plain().shapes).size(), 2U);
  const BothDecoders before = stream.receivers;
  const Levels levels = random_levels(random, stream.sender.n_levels(), 0.0002F, 4);
  const Bytes payload = stream.send(levels, steps_of(stream.sender, 1.0F));
  for (const std::size_t at : {std::size_t{0}, payload.size() / 2, payload.size() - 1}) {
    for (const int change : {-1, 1}) {
      Bytes changed = payload;
      changed[at] = static_cast<std::uint8_t>(changed[at] + change);
      BothDecoders both = before;
      const char* difference = both.decode(changed);
      check(difference == nullptr, difference);
      seen.insert(both.status());
    }
  }
  check(seen.size() > 1, "several verdicts");
}

// Payloads of so few bins that any bytes are likely to be one.
void test_any_short_payloads() {
  Random random(308);
  std::set<Status> seen;
  const StreamState fresh({{1, 2}, {2, 1}}, Profile::kFast);
  for (int i = 0; i < 1000; ++i) {
    BothDecoders both(fresh);
    Bytes payload(random.below(5));
    for (std::uint8_t& byte : payload)
      byte = static_cast<std::uint8_t>(random.chance(0.2F) ? 255 : random.next());
    for (int k = 0; k < 2; ++k) {
      const char* difference = both.decode(payload);
      check(difference == nullptr, difference);
      seen.insert(both.status());
    }
  }
  check_equal(seen.count(Status::kOk), 1U);
}

Status status_of_both(const Bytes& payload) {
  BothDecoders both(StreamState({{1, 1}}, Profile::kFast));
  const char* difference = both.decode(payload);
  check(difference == nullptr, difference);
  return both.status();
}

void test_levels_and_offsets_out_of_range() {
  for (const std::int32_t level : {kMaxLevel, -kMaxLevel})
    check_equal(status_of_both(payload_with(kStep, level)), Status::kOk);
  for (const std::int32_t level : {kMaxLevel + 1, -kMaxLevel - 1, (1 << 25) + 9})
    check_equal(status_of_both(payload_with(kStep, level)), Status::kPayloadLevelRange);
  for (const std::int32_t offset : {127, -127})
    check_equal(status_of_both(payload_with(kStep, 3, {offset})), Status::kOk);
  for (const std::int32_t offset : {128, -128, 256, -384, (1 << 24) - 2}) {
    check_equal(status_of_both(payload_with(kStep, 3, {0, 0, 0, 0, 0, offset})),
                Status::kPayloadOffsetRange);
    check_equal(status_of_both(payload_with(kStep, kMaxLevel + 1, {offset})),
                Status::kPayloadLevelRange);
  }
}

// The head of a payload, up to a step that differs so much from the one predicted.
Bytes payload_with_difference(std::uint32_t size, bool is_negative) {
  BinEncoder coder;
  EncodedBins<> bins{coder};
  TensorContexts contexts{};
  bins.code(PlainEstimate{&contexts.tensor_zero[0]}, false);
  bins.code(PlainEstimate{&contexts.dependent}, false);
  bins.code(PlainEstimate{&contexts.repeats[0]}, false);
  const auto prefix = [&](int position) {
    return PlainEstimate{&contexts.prefix[static_cast<std::size_t>(position)]};
  };
  code_exp_golomb(bins, prefix, size);
  if (size != 0) bins.code(PlainEstimate{&contexts.negative}, is_negative);
  bins.code(PlainEstimate{&contexts.has_low_bits}, false);
  return coder.finish();
}

// 4096 is a difference of 2^32 in the bits of a step, which 32 bits do not notice.
void test_steps_out_of_range() {
  for (const std::uint32_t size : {0x3C0U, 0x400U, 0xC3FU, 0xC40U, 0xFFFU, 0x1000U, 0x1001U,
                                   0x2000U, 0x800000U, 0x1000000U, (1U << 25) - 2}) {
    for (const bool is_negative : {false, true}) {
      check_equal(status_of_both(payload_with_difference(size, is_negative)),
                  Status::kPayloadStepRange);
    }
  }
  check(status_of_both(payload_with_difference(0x20, true)) != Status::kPayloadStepRange,
        "a good step");
}

// Lengths of codewords are judged before any bin is read, so that many chunks take no time here.
void test_damaged_lengths() {
  const std::vector<TensorShape> shapes{{1 << 10, 1 << 10}};
  BothDecoders both(StreamState(shapes, Profile::kFast));
  check_equal(plain_chunks(plain_shapes(shapes)).size(), 4U);
  const Bytes payloads[] = {{},
                            {0},
                            {0x80},
                            {0x80, 0},
                            {0x80, 0x80, 0x80, 0x80},
                            {0x80, 0x80, 0x80, 0x80, 0x80},
                            {0xFF, 0xFF, 0xFF, 0xFF, 0x0F},
                            {0xFF, 0xFF, 0xFF, 0xFF, 0x10},
                            {0xFF, 0xFF, 0xFF, 0xFF, 0x7F},
                            {5, 0x80, 0, 1},
                            {5, 0x80, 0x80},
                            {1, 1, 1, 0, 0},
                            {1, 1, 0x80, 0},
                            {9, 1, 0x80, 0x80, 0x80, 0x80, 0x10, 7},
                            {0xFF, 0xFF, 0xFF, 0xFF, 0x0F, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F, 0}};
  std::set<Status> seen;
  for (const Bytes& payload : payloads) {
    const char* difference = both.decode(payload);
    check(difference == nullptr, difference);
    seen.insert(both.status());
  }
  check(seen == std::set<Status>{Status::kPayloadTruncated, Status::kPayloadLength},
        "lengths that are cut and lengths that are none");
}

void test_damaged_saved_states() {
  Random random(309);
  for (const Profile profile : kProfiles) {
    UpdateSource source({{12, 30}, {1, 40}}, 310);
    ComparedStream stream(source.shapes(), profile);
    for (int round = 0; round < 3; ++round)
      stream.send_values(source.next(), steps_of(stream.sender, 1.2F), {.price = 0.05F});
    const Bytes saved = stream.sender.to_bytes();
    const auto loaded =
        PlainState::load(plain_shapes(source.shapes()), profile == Profile::kMax, saved);
    check(loaded.has_value() && loaded->to_bytes() == saved, "a saved state to be read");
    for (int i = 0; i < (profile == Profile::kFast ? 150 : 30); ++i) {
      const Bytes changed = damaged(saved, random);
      StreamState state(source.shapes(), profile);
      const bool is_good = state.load_bytes(changed).ok();
      const auto plain =
          PlainState::load(plain_shapes(source.shapes()), profile == Profile::kMax, changed);
      check_equal(plain.has_value(), is_good);
      if (plain.has_value()) check(plain->to_bytes() == state.to_bytes(), "the same state");
    }
  }
}

}  // namespace
}  // namespace fl_deepcabac::testing

int main() {
  using namespace fl_deepcabac::testing;
  return run_tests({
      {"damaged_payloads", test_damaged_payloads},
      {"damaged_chunks", test_damaged_chunks},
      {"any_short_payloads", test_any_short_payloads},
      {"levels_and_offsets_out_of_range", test_levels_and_offsets_out_of_range},
      {"steps_out_of_range", test_steps_out_of_range},
      {"damaged_lengths", test_damaged_lengths},
      {"damaged_saved_states", test_damaged_saved_states},
  });
}
