// SPDX-License-Identifier: Apache-2.0
#include "fl_deepcabac/payload.hpp"

#include "fl_deepcabac/byte_io.hpp"

namespace fl_deepcabac {

std::vector<std::uint8_t> join_codewords(const std::vector<std::vector<std::uint8_t>>& codewords) {
  ByteWriter payload;
  for (std::size_t i = 0; i + 1 < codewords.size(); ++i)
    payload.write_varint(static_cast<std::uint32_t>(codewords[i].size()));
  for (const auto& codeword : codewords)
    payload.write_bytes(codeword.data(), codeword.size());
  return payload.take();
}

Result split_codewords(std::span<const std::uint8_t> payload, std::size_t n_codewords,
                       std::vector<std::span<const std::uint8_t>>& codewords) {
  const Result truncated{Status::kPayloadTruncated, static_cast<std::int64_t>(payload.size())};
  ByteReader reader(payload);
  std::vector<std::size_t> lengths;
  for (std::size_t i = 0; i + 1 < n_codewords; ++i) {
    const auto begin = static_cast<std::int64_t>(reader.position());
    const std::uint64_t length = reader.read_varint();
    if (reader.is_overread()) return truncated;
    if (length > kMaxVarint) return {Status::kPayloadLength, begin};
    lengths.push_back(static_cast<std::size_t>(length));
  }
  std::size_t begin = reader.position();
  for (const std::size_t length : lengths) {
    if (length > payload.size() - begin) return truncated;
    codewords.push_back(payload.subspan(begin, length));
    begin += length;
  }
  codewords.push_back(payload.subspan(begin));
  return {};
}

}  // namespace fl_deepcabac
