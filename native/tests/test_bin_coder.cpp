// SPDX-License-Identifier: Apache-2.0
#include "fl_deepcabac/bin_coder.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>

#include "check.hpp"
#include "random.hpp"

namespace fl_deepcabac::testing {
namespace {

struct Bin {
  bool value;
  std::uint32_t probability;
};

std::vector<std::uint8_t> encode_all(const std::vector<Bin>& bins) {
  BinEncoder encoder;
  for (const Bin& bin : bins)
    encoder.encode(bin.value, bin.probability);
  return encoder.finish();
}

// A payload in a buffer of exactly its size, so that a sanitizer sees every read beyond it.
class ExactPayload {
 public:
  explicit ExactPayload(std::span<const std::uint8_t> bytes)
      : n_bytes_(bytes.size()), bytes_(std::make_unique<std::uint8_t[]>(bytes.size())) {
    if (!bytes.empty()) std::memcpy(bytes_.get(), bytes.data(), bytes.size());
  }
  [[nodiscard]] std::span<const std::uint8_t> span() const { return {bytes_.get(), n_bytes_}; }

 private:
  std::size_t n_bytes_;
  std::unique_ptr<std::uint8_t[]> bytes_;
};

// Whether all bins come back; the decoder is left behind the last one.
bool decodes_to(BinDecoder& decoder, const std::vector<Bin>& bins) {
  bool all_equal = true;
  for (const Bin& bin : bins)
    all_equal &= decoder.decode(bin.probability) == bin.value;
  return all_equal;
}

// The rules for the end of a payload (spec 6.3).
void check_round_trip(const std::vector<Bin>& bins) {
  const std::vector<std::uint8_t> payload = encode_all(bins);
  const ExactPayload exact(payload);
  BinDecoder decoder(exact.span());
  check(decodes_to(decoder, bins), "every bin to come back");
  check_equal(decoder.check_end(), Status::kOk);
}

std::vector<Bin> random_bins(Random& random, std::uint32_t n_bins, std::uint32_t floor) {
  std::vector<Bin> bins(n_bins);
  for (Bin& bin : bins) {
    bin.probability = floor + random.below(kProbabilityOne + 1 - 2 * floor);
    bin.value = random.below(kProbabilityOne) < bin.probability;
  }
  return bins;
}

void test_random_bins_come_back_and_leave_no_byte_unread() {
  Random random(11);
  for (int stream = 0; stream < 4000; ++stream) {
    check_round_trip(random_bins(random, random.below(200), 1 + random.below(30000)));
  }
}

void test_extreme_probabilities_come_back() {
  Random random(12);
  for (const std::uint32_t extreme : {1U, kProbabilityFloor}) {
    for (const std::uint32_t probability : {extreme, kProbabilityOne - extreme}) {
      for (const float share_of_ones : {0.0F, 0.01F, 0.5F, 0.99F, 1.0F}) {
        std::vector<Bin> bins(700);
        for (Bin& bin : bins)
          bin = {random.chance(share_of_ones), probability};
        check_round_trip(bins);
      }
    }
  }
}

void test_no_bins_are_an_empty_payload() {
  check(encode_all({}).empty(), "an empty payload");
  BinDecoder decoder({});
  check_equal(decoder.n_read(), 8U);
  check_equal(decoder.check_end(), Status::kOk);
  // A few bins of the lower part of the interval name the number 0, which needs no byte either.
  const std::vector<Bin> bins(20, {true, 60000});
  check(encode_all(bins).empty(), "an empty payload");
  check_round_trip(bins);
}

// Spec 6.1 by hand: a 1 of probability 1/4 leaves 2^62 - 2^14, a 0 of even odds the part above
// 2^61 - 2^15, and the first number in there that ends in seven zero bytes is 2^61.
void test_first_bins_by_hand() {
  const std::vector<Bin> bins{{true, 16384}, {false, 32768}};
  check_equal(encode_all(bins), std::vector<std::uint8_t>{0x20});
  BinEncoder encoder;
  encoder.encode(true, 16384);
  Interval interval = encoder.detach().interval;
  check_equal(interval.offset, 0U);
  check_equal(interval.range, (std::uint64_t{1} << 62) - (1U << 14));
  encoder.encode(false, 32768);
  interval = encoder.detach().interval;
  check_equal(interval.offset, (std::uint64_t{1} << 61) - (1U << 15));
  check_equal(interval.range, (std::uint64_t{1} << 61) + (1U << 14));
}

// Two ones of probability 2^-16 leave 2^32 - 1: only then four bytes move, all at once.
void test_four_bytes_move_at_once() {
  BinEncoder encoder;
  BinDecoder decoder({});
  encoder.encode(true, 1);
  check(decoder.decode(1), "a one");
  check_equal(encoder.detach().interval.range, (std::uint64_t{1} << 48) - 1);
  check_equal(decoder.n_read(), 8U);
  encoder.encode(true, 1);
  check(decoder.decode(1), "a one");
  check_equal(encoder.detach().interval.range, std::uint64_t{0xFFFFFFFF} << 32);
  check_equal(decoder.n_read(), 12U);
  check_near(static_cast<double>(encoder.position()) / 256.0, 32.0, 0.01);
}

// The first multiple of the largest power of 2^8 that the interval holds (spec 6.3).
void test_end_is_the_number_of_most_zero_bytes() {
  Random random(19);
  for (int i = 0; i < 100000; ++i) {
    const std::uint64_t low = random.next() << random.below(64);
    const std::uint64_t range = kMinRange + (random.next() >> random.below(33)) / 2;
    const PayloadEnd end = find_end(low, range);
    // From low to the next multiple; of 2^64, which no number here can hold, by its negative.
    const auto distance_to = [&](int n_bytes) {
      if (n_bytes == 0) return 0 - low;
      const std::uint64_t unit = std::uint64_t{1} << (64 - 8 * n_bytes);
      return (unit - low % unit) % unit;
    };
    const std::uint64_t distance = distance_to(end.n_kept_bytes);
    check(distance < range, "a number inside the interval");
    check_equal(end.number, low + distance);
    check_equal(end.has_carry, distance > 0xFFFFFFFFFFFFFFFF - low);
    for (int fewer = 0; fewer < end.n_kept_bytes; ++fewer)
      check(distance_to(fewer) >= range, "no number of fewer bytes");
  }
}

// An interval handed over and back, and bins coded with a branch: the same bytes, the same bins.
void test_detached_and_branching_coders_are_the_same() {
  Random random(20);
  for (int stream = 0; stream < 300; ++stream) {
    const std::vector<Bin> bins = random_bins(random, random.below(400), 8);
    BinEncoder encoder;
    for (std::size_t i = 0; i < bins.size();) {
      auto detached = encoder.detach();
      const std::size_t end = std::min(bins.size(), i + random.below(20));
      for (; i < end; ++i)
        detached.encode_either(bins[i].value, bins[i].probability);
      encoder.attach(detached.interval);
      if (i < bins.size()) encoder.encode(bins[i].value, bins[i].probability);
      ++i;
    }
    const std::vector<std::uint8_t> payload = encoder.finish();
    check_equal(payload, encode_all(bins));
    const ExactPayload exact(payload);
    BinDecoder decoder(exact.span());
    auto detached = decoder.detach();
    bool all_equal = true;
    for (const Bin& bin : bins) {
      all_equal &= (random.chance(0.5F) ? detached.decode_either(bin.probability)
                                        : detached.decode(bin.probability)) == bin.value;
    }
    check(all_equal, "every bin to come back");
    decoder.attach(detached.interval);
    check_equal(decoder.check_end(), Status::kOk);
  }
}

// Steers the interval so that it always straddles one number: until the last bin it is open whether
// a carry will run through every byte so far.
std::vector<Bin> bins_with_open_carry(std::uint64_t target, int n_bins, bool ends_with_carry) {
  std::vector<Bin> bins;
  std::uint64_t distance = target;  // from low to the number; the interval ends above it
  std::uint64_t range = 0xFFFFFFFFFFFFFFFF;
  const auto bound_at = [&](std::uint32_t probability) { return (range >> 16) * probability; };
  const auto take = [&](std::uint32_t probability, bool value) {
    const std::uint64_t bound = bound_at(probability);
    bins.push_back({value, probability});
    if (!value) distance -= bound;
    range = value ? bound : range - bound;
    for (; range < std::uint64_t{1} << 32; range <<= 32)
      distance <<= 32;
  };
  for (int i = 0; i < n_bins; ++i) {
    const std::uint64_t bound = bound_at(kEvenOdds);
    take(bound == distance ? kEvenOdds + 1 : kEvenOdds, bound >= distance);
  }
  // Shrink the interval from one side until it lies on the other side of the number.
  for (bool is_settled = false; !is_settled;) {
    const std::uint64_t bound = bound_at(kEvenOdds);
    is_settled = ends_with_carry ? bound >= distance : bound <= distance;
    take(kEvenOdds, !ends_with_carry);
  }
  return bins;
}

std::size_t longest_run(const std::vector<std::uint8_t>& bytes, std::uint8_t value) {
  std::size_t longest = 0;
  std::size_t run = 0;
  for (const std::uint8_t byte : bytes) {
    run = byte == value ? run + 1 : 0;
    longest = std::max(longest, run);
  }
  return longest;
}

void test_carry_runs_through_a_thousand_bytes() {
  for (const std::uint64_t target :
       {std::uint64_t{1} << 63, std::uint64_t{1} << 56, std::uint64_t{1} << 32,
        std::uint64_t{0x123456789ABCDEF0}, std::uint64_t{0xFF} << 56}) {
    for (const bool ends_with_carry : {false, true}) {
      const std::vector<Bin> bins = bins_with_open_carry(target, 8200, ends_with_carry);
      check_round_trip(bins);
      const std::vector<std::uint8_t> payload = encode_all(bins);
      if (ends_with_carry) {
        // The carry turned them to zeros behind a byte that is larger by one.
        check(longest_run(payload, 0x00) >= 1000, "a carry through a thousand bytes");
      } else {
        check(longest_run(payload, 0xFF) >= 1000, "a thousand bytes of 0xFF");
      }
    }
  }
}

void test_payload_is_as_long_as_the_entropy_of_its_bins() {
  Random random(13);
  for (const std::uint32_t floor : {8U, 3000U, 32000U}) {
    const std::vector<Bin> bins = random_bins(random, 40000, floor);
    double n_bits = 0.0;
    BinEncoder encoder;
    for (const Bin& bin : bins) {
      const double share = bin.probability / 65536.0;
      n_bits -= std::log2(bin.value ? share : 1.0 - share);
      encoder.encode(bin.value, bin.probability);
    }
    check_near(static_cast<double>(encoder.position()) / 256.0, n_bits, 0.05 + 1e-5 * n_bits);
    const auto n_payload_bits = 8.0 * static_cast<double>(encoder.finish().size());
    check(n_payload_bits >= n_bits - 33.0, "no more than 32 bits of the interval saved at the end");
    check(n_payload_bits <= n_bits * 1.00001 + 9.0, "the payload within nine bits of the entropy");
  }
}

void test_position_is_equal_on_both_sides_and_never_falls() {
  Random random(14);
  const std::vector<Bin> bins = random_bins(random, 3000, 8);
  const ExactPayload exact(encode_all(bins));
  BinEncoder encoder;
  BinDecoder decoder(exact.span());
  std::uint64_t last = 0;
  for (const Bin& bin : bins) {
    encoder.encode(bin.value, bin.probability);
    (void)decoder.decode(bin.probability);
    check_equal(decoder.position(), encoder.position());
    check(encoder.position() >= last, "information to grow");
    last = encoder.position();
  }
}

void test_payload_cut_by_one_byte_is_noticed_or_decodes_otherwise() {
  Random random(15);
  for (int stream = 0; stream < 3000; ++stream) {
    const std::vector<Bin> bins = random_bins(random, 1 + random.below(120), 8);
    const std::vector<std::uint8_t> payload = encode_all(bins);
    if (payload.empty()) continue;
    const ExactPayload cut({payload.data(), payload.size() - 1});
    BinDecoder decoder(cut.span());
    const bool is_equal = decodes_to(decoder, bins);
    check(!is_equal || decoder.check_end() == Status::kPayloadTruncated,
          "the missing byte to be noticed");
  }
}

void test_surplus_byte_is_noticed_or_decodes_otherwise() {
  Random random(16);
  for (int stream = 0; stream < 3000; ++stream) {
    const std::vector<Bin> bins = random_bins(random, random.below(120), 8);
    std::vector<std::uint8_t> payload = encode_all(bins);
    payload.push_back(stream % 2 == 0 ? std::uint8_t{0} : static_cast<std::uint8_t>(random.next()));
    const ExactPayload exact(payload);
    BinDecoder decoder(exact.span());
    const bool is_equal = decodes_to(decoder, bins);
    check(!is_equal || decoder.check_end() == Status::kPayloadTrailing,
          "the surplus byte to be noticed");
  }
}

void test_other_last_byte_is_noticed_or_decodes_otherwise() {
  Random random(18);
  std::uint32_t n_equal = 0;
  for (int stream = 0; stream < 3000; ++stream) {
    const std::vector<Bin> bins = random_bins(random, 1 + random.below(120), 8);
    std::vector<std::uint8_t> payload = encode_all(bins);
    if (payload.empty()) continue;
    payload.back() = static_cast<std::uint8_t>(payload.back() + 1 + random.below(255));
    const ExactPayload exact(payload);
    BinDecoder decoder(exact.span());
    if (!decodes_to(decoder, bins)) continue;
    ++n_equal;
    check(decoder.check_end() != Status::kOk, "the other ending to be noticed");
  }
  check(n_equal > 0, "some endings to decode to the same bins");
}

// Their codeword begins ff ff ff ff ff ff ff fe; with one more there they would decode alike.
void test_zeros_without_end_have_one_payload() {
  std::vector<std::uint8_t> payload = encode_all(std::vector<Bin>(70, {false, 1U << 15}));
  check_equal(payload.at(7), std::uint8_t{0xFE});
  check(BinDecoder(payload).is_within(), "a number inside the interval");
  payload.at(7) = 0xFF;
  check(!BinDecoder(payload).is_within(), "a number outside");
}

void test_any_bytes_decode_without_harm() {
  Random random(17);
  for (int stream = 0; stream < 300; ++stream) {
    std::vector<std::uint8_t> bytes(random.below(40));
    for (std::uint8_t& byte : bytes)
      byte = static_cast<std::uint8_t>(random.next());
    if (stream % 3 == 0) bytes.assign(bytes.size(), 0xFF);
    const ExactPayload exact(bytes);
    BinDecoder decoder(exact.span());
    std::uint32_t n_ones = 0;
    for (int i = 0; i < 2000; ++i)
      n_ones += decoder.decode(1 + random.below(65535)) ? 1U : 0U;
    (void)decoder.decode_bypass(32);
    check(n_ones <= 2000 && decoder.n_read() >= 8, "bins from any bytes");
    check(decoder.n_read() > bytes.size(), "zeros to be read past the end");
    check(decoder.check_end() != Status::kOk, "no byte string to end 2000 bins unnoticed");
  }
}

void test_bypass_bins_come_back_most_significant_first() {
  Random random(18);
  BinEncoder encoder;
  encoder.encode_bypass(0b1011, 4);
  encoder.encode_bypass(0xFFFFFFFF, 32);
  encoder.encode_bypass(0, 0);
  std::vector<std::uint32_t> values(500);
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<std::uint32_t>(random.next()) & ((1U << (i % 25)) - 1);
    encoder.encode_bypass(values[i], static_cast<int>(i % 25));
  }
  const ExactPayload exact(encoder.finish());
  BinDecoder decoder(exact.span());
  // Bin 1 takes the lower part of the interval: 1, then the rest.
  check(decoder.decode(kEvenOdds), "the most significant bit first");
  check_equal(decoder.decode_bypass(3), 0b011U);
  check_equal(decoder.decode_bypass(32), 0xFFFFFFFFU);
  check_equal(decoder.decode_bypass(0), 0U);
  for (std::size_t i = 0; i < values.size(); ++i) {
    check_equal(decoder.decode_bypass(static_cast<int>(i % 25)), values[i]);
  }
}

}  // namespace
}  // namespace fl_deepcabac::testing

int main() {
  using namespace fl_deepcabac::testing;
  return run_tests({
      {"random_bins_come_back_and_leave_no_byte_unread",
       test_random_bins_come_back_and_leave_no_byte_unread},
      {"extreme_probabilities_come_back", test_extreme_probabilities_come_back},
      {"zeros_without_end_have_one_payload", test_zeros_without_end_have_one_payload},
      {"no_bins_are_an_empty_payload", test_no_bins_are_an_empty_payload},
      {"first_bins_by_hand", test_first_bins_by_hand},
      {"four_bytes_move_at_once", test_four_bytes_move_at_once},
      {"end_is_the_number_of_most_zero_bytes", test_end_is_the_number_of_most_zero_bytes},
      {"detached_and_branching_coders_are_the_same",
       test_detached_and_branching_coders_are_the_same},
      {"carry_runs_through_a_thousand_bytes", test_carry_runs_through_a_thousand_bytes},
      {"payload_is_as_long_as_the_entropy_of_its_bins",
       test_payload_is_as_long_as_the_entropy_of_its_bins},
      {"position_is_equal_on_both_sides_and_never_falls",
       test_position_is_equal_on_both_sides_and_never_falls},
      {"payload_cut_by_one_byte_is_noticed_or_decodes_otherwise",
       test_payload_cut_by_one_byte_is_noticed_or_decodes_otherwise},
      {"surplus_byte_is_noticed_or_decodes_otherwise",
       test_surplus_byte_is_noticed_or_decodes_otherwise},
      {"other_last_byte_is_noticed_or_decodes_otherwise",
       test_other_last_byte_is_noticed_or_decodes_otherwise},
      {"any_bytes_decode_without_harm", test_any_bytes_decode_without_harm},
      {"bypass_bins_come_back_most_significant_first",
       test_bypass_bins_come_back_most_significant_first},
  });
}
