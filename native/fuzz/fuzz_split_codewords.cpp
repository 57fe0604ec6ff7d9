// SPDX-License-Identifier: Apache-2.0
// Any bytes are split into codewords (spec 4.2).
//
// Input: a byte that is the number of codewords, the payload. What is split is all of the payload
// but the lengths, in order and without a gap, and joined again it is the payload.
#include <algorithm>

#include "fl_deepcabac/payload.hpp"
#include "fuzz_target.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t n_bytes) {
  using namespace fl_deepcabac;
  using namespace fl_deepcabac::fuzzing;
  if (n_bytes < 1) return 0;
  constexpr std::size_t kMostChunks = 64;
  const std::size_t n_codewords = 1 + bytes[0] % kMostChunks;
  const ExactBytes payload({bytes + 1, n_bytes - 1});
  std::vector<std::span<const std::uint8_t>> codewords;
  const Result result = split_codewords(payload.span(), n_codewords, codewords);
  expect(result.position >= 0 && static_cast<std::size_t>(result.position) <= n_bytes - 1,
         "a position inside the payload");
  if (!result.ok()) {
    expect(result.status == Status::kPayloadTruncated || result.status == Status::kPayloadLength,
           "a refusal for lengths");
    return 0;
  }
  expect(codewords.size() == n_codewords, "as many codewords as chunks");
  std::vector<std::vector<std::uint8_t>> copies;
  for (std::size_t i = 0; i < n_codewords; ++i) {
    if (i > 0) {
      expect(codewords[i - 1].data() + codewords[i - 1].size() == codewords[i].data(),
             "codewords without a gap");
    }
    copies.emplace_back(codewords[i].begin(), codewords[i].end());
  }
  const std::span<const std::uint8_t> last = codewords.back();
  expect(last.data() + last.size() == payload.span().data() + payload.span().size(),
         "the last codeword to end the payload");
  const std::vector<std::uint8_t> joined = join_codewords(copies);
  expect(std::equal(joined.begin(), joined.end(), payload.span().begin(), payload.span().end()),
         "what was split to be joined again");
  return 0;
}
