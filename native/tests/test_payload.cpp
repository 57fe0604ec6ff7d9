// SPDX-License-Identifier: Apache-2.0
// How codewords become a payload and are found in it again (spec 4.2).
#include "fl_deepcabac/payload.hpp"

#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>

#include "check.hpp"
#include "random.hpp"

namespace fl_deepcabac::testing {
namespace {

using Bytes = std::vector<std::uint8_t>;

struct Split {
  Result result;
  std::vector<Bytes> codewords;
};

// From a buffer of exactly the right size, so that a sanitizer sees every read beyond it.
Split split(const Bytes& payload, std::size_t n_codewords) {
  const auto exact = std::make_unique<std::uint8_t[]>(payload.size());
  if (!payload.empty()) std::memcpy(exact.get(), payload.data(), payload.size());
  std::vector<std::span<const std::uint8_t>> found;
  Split split{split_codewords({exact.get(), payload.size()}, n_codewords, found), {}};
  for (const auto& codeword : found)
    split.codewords.emplace_back(codeword.begin(), codeword.end());
  return split;
}

void check_fault(const Bytes& payload, std::size_t n_codewords, Status status,
                 std::size_t position) {
  const Result result = split(payload, n_codewords).result;
  check_equal(result.status, status);
  check_equal(result.position, static_cast<std::int64_t>(position));
}

void test_payloads_by_hand() {
  check_equal(join_codewords({{}}), Bytes{});
  check_equal(join_codewords({{7, 8}}), Bytes{7, 8});
  check_equal(join_codewords({{7, 8}, {9}}), Bytes{2, 7, 8, 9});
  check_equal(join_codewords({{}, {5, 6}, {}}), Bytes{0, 2, 5, 6});
  // 130 = 2 + 128.
  Bytes expected{0x82, 0x01};
  expected.insert(expected.end(), 130, 3);
  expected.push_back(4);
  check_equal(join_codewords({Bytes(130, 3), {4}}), expected);
}

void test_codewords_come_back() {
  Random random(191);
  for (int i = 0; i < 2000; ++i) {
    std::vector<Bytes> codewords(1 + random.below(64));
    for (Bytes& codeword : codewords) {
      codeword.resize(random.below(random.chance(0.1F) ? 20000 : 200));
      for (std::uint8_t& byte : codeword)
        byte = static_cast<std::uint8_t>(random.next());
    }
    const Split found = split(join_codewords(codewords), codewords.size());
    check(found.result.ok(), "a payload to split");
    check_equal(found.codewords, codewords);
  }
}

// One codeword has no length before it and takes all there is; the last one takes the rest.
void test_last_codeword_takes_the_rest() {
  check_equal(split({0x80, 0x80}, 1).codewords, std::vector<Bytes>{{0x80, 0x80}});
  check_equal(split({}, 1).codewords, std::vector<Bytes>{{}});
  check_equal(split({1, 5, 6, 7}, 2).codewords, (std::vector<Bytes>{{5}, {6, 7}}));
  check_equal(split({3, 5, 6, 7}, 2).codewords, (std::vector<Bytes>{{5, 6, 7}, {}}));
}

void test_payloads_too_short_for_their_lengths_are_truncated() {
  for (const Bytes& payload : {Bytes{}, Bytes{0x80}, Bytes{0xFF, 0xFF, 0xFF, 0xFF}})
    check_fault(payload, 2, Status::kPayloadTruncated, payload.size());
  for (const Bytes& payload : {Bytes{0}, Bytes{0, 0x81}, Bytes{0x80, 0x01}})
    check_fault(payload, 3, Status::kPayloadTruncated, payload.size());
}

void test_payloads_too_short_for_their_codewords_are_truncated() {
  for (const Bytes& payload :
       {Bytes{1}, Bytes{4, 5, 6, 7}, Bytes{0xFF, 0xFF, 0xFF, 0xFF, 0x0F, 1, 2, 3}})
    check_fault(payload, 2, Status::kPayloadTruncated, payload.size());
  for (const Bytes& payload : {Bytes{2, 2, 5, 6, 7}, Bytes{2, 1, 5, 6},
                               // Their sum is 2^32, which 32 bits would take for 0.
                               Bytes{1, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F, 9}})
    check_fault(payload, 3, Status::kPayloadTruncated, payload.size());
}

void test_lengths_not_in_shortest_form_are_refused() {
  for (const Bytes& length : {Bytes{0x80, 0}, Bytes{0x81, 0}, Bytes{0x80, 0x80, 0},
                              Bytes{0x81, 0x81, 0x81, 0}, Bytes{0xFF, 0xFF, 0xFF, 0xFF, 0}}) {
    Bytes payload = length;
    payload.insert(payload.end(), 300, 1);
    check_fault(payload, 2, Status::kPayloadLength, 0);
    payload.insert(payload.begin(), {0xAC, 0x02});  // a good length before it
    check_fault(payload, 3, Status::kPayloadLength, 2);
  }
}

void test_too_large_lengths_are_refused() {
  for (const Bytes& length :
       {Bytes{0x80, 0x80, 0x80, 0x80, 0x10}, Bytes{0xFF, 0xFF, 0xFF, 0xFF, 0x1F},
        Bytes{0x81, 0x80, 0x80, 0x80, 0x20}, Bytes{0x80, 0x80, 0x80, 0x80, 0x80, 0x01},
        Bytes{0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01}}) {
    Bytes payload = length;
    payload.insert(payload.end(), 300, 1);
    check_fault(payload, 2, Status::kPayloadLength, 0);
    payload.insert(payload.begin(), 5);
    check_fault(payload, 3, Status::kPayloadLength, 1);
  }
}

// Whatever splits is joined to the same bytes: there is one payload for each list of codewords.
void test_any_bytes_split_to_what_joins_to_them_or_are_refused() {
  Random random(192);
  int n_split = 0;
  for (int i = 0; i < 20000; ++i) {
    Bytes payload(random.below(40));
    for (std::uint8_t& byte : payload)
      byte = static_cast<std::uint8_t>(random.chance(0.7F) ? random.below(8) : random.next());
    const std::size_t n_codewords = 1 + random.below(4);
    const Split found = split(payload, n_codewords);
    if (!found.result.ok()) continue;
    ++n_split;
    check_equal(found.codewords.size(), n_codewords);
    check_equal(join_codewords(found.codewords), payload);
  }
  check(n_split > 1000, "many payloads to split");
}

}  // namespace
}  // namespace fl_deepcabac::testing

int main() {
  using namespace fl_deepcabac::testing;
  return run_tests({
      {"payloads_by_hand", test_payloads_by_hand},
      {"codewords_come_back", test_codewords_come_back},
      {"last_codeword_takes_the_rest", test_last_codeword_takes_the_rest},
      {"payloads_too_short_for_their_lengths_are_truncated",
       test_payloads_too_short_for_their_lengths_are_truncated},
      {"payloads_too_short_for_their_codewords_are_truncated",
       test_payloads_too_short_for_their_codewords_are_truncated},
      {"lengths_not_in_shortest_form_are_refused", test_lengths_not_in_shortest_form_are_refused},
      {"too_large_lengths_are_refused", test_too_large_lengths_are_refused},
      {"any_bytes_split_to_what_joins_to_them_or_are_refused",
       test_any_bytes_split_to_what_joins_to_them_or_are_refused},
  });
}
