// SPDX-License-Identifier: Apache-2.0
// Chunks of the plain decoder: which parts they hold (spec 4.3), where their codewords lie in the
// payload (spec 4.2), and how their contexts become one again (spec 7.8).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "fl_deepcabac/status.hpp"
#include "plain_contexts.hpp"
#include "plain_walk.hpp"

namespace fl_deepcabac::testing {

// Positions `begin` to `end` - 1 of a tensor.
struct PlainPart {
  std::size_t tensor = 0;
  std::size_t begin = 0;
  std::size_t end = 0;
};
using PlainChunk = std::vector<PlainPart>;

// m of spec 4.3.
inline std::size_t number_of_chunks(std::size_t n_levels) {
  const std::size_t most = std::max<std::size_t>(n_levels >> 18, 1);
  std::size_t m = 1;
  while (2 * m <= most && 2 * m <= 64)
    m *= 2;
  return m;
}

// Where the chunks 1 .. m-1 begin in the row of all levels.
inline std::vector<std::size_t> chunk_begins(const std::vector<PlainShape>& shapes) {
  std::size_t n = 0;
  for (const PlainShape& shape : shapes)
    n += shape.n_levels();
  const std::size_t m = number_of_chunks(n);
  std::vector<std::size_t> begins;
  for (std::size_t c = 1; c < m; ++c) {
    const std::size_t T = n * c / m;
    std::size_t first = 0;
    for (const PlainShape& shape : shapes) {
      const std::size_t behind = first + shape.n_levels();
      if (T >= first && T < behind) begins.push_back(first + (T - first) / 64 * 64);
      first = behind;
    }
  }
  return begins;
}

inline std::vector<PlainChunk> plain_chunks(const std::vector<PlainShape>& shapes) {
  const std::vector<std::size_t> begins = chunk_begins(shapes);
  std::vector<PlainChunk> chunks(begins.size() + 1);
  std::size_t first = 0;
  for (std::size_t tensor = 0; tensor < shapes.size(); ++tensor) {
    const std::size_t behind = first + shapes.at(tensor).n_levels();
    for (std::size_t c = 0; c < chunks.size(); ++c) {
      const std::size_t begin = std::max(first, c == 0 ? 0 : begins.at(c - 1));
      const std::size_t end = c < begins.size() ? std::min(behind, begins.at(c)) : behind;
      if (begin < end) chunks.at(c).push_back({tensor, begin - first, end - first});
    }
    first = behind;
  }
  return chunks;
}

// A varint in the shortest form (spec 4.1), from the front of `payload`.
inline Status read_length(std::span<const std::uint8_t>& payload, std::uint64_t& length) {
  length = 0;
  for (std::size_t i = 0; i < 5; ++i) {
    if (i >= payload.size()) return Status::kPayloadTruncated;
    const std::uint64_t byte = payload[i];
    length |= (byte & 0x7F) << (7 * i);
    if (byte >= 0x80) continue;
    const bool is_shortest = i == 0 || byte != 0;
    if (!is_shortest || length > 0xFFFFFFFF) return Status::kPayloadLength;
    payload = payload.subspan(i + 1);
    return Status::kOk;
  }
  return Status::kPayloadLength;
}

using PlainCodewords = std::vector<std::span<const std::uint8_t>>;

// Rule 14 of spec 11: before any bin is read.
inline Status split_payload(std::span<const std::uint8_t> payload, std::size_t n_chunks,
                            PlainCodewords& codewords) {
  std::vector<std::uint64_t> lengths;
  for (std::size_t c = 0; c + 1 < n_chunks; ++c) {
    std::uint64_t length = 0;
    const Status status = read_length(payload, length);
    if (status != Status::kOk) return status;
    lengths.push_back(length);
  }
  for (const std::uint64_t length : lengths) {
    if (length > payload.size()) return Status::kPayloadTruncated;
    codewords.push_back(payload.first(length));
    payload = payload.subspan(length);
  }
  codewords.push_back(payload);
  // Eight bytes ff are a number outside the first interval (spec 6.1).
  for (const auto codeword : codewords) {
    const auto first = codeword.first(std::min<std::size_t>(codeword.size(), 8));
    if (std::count(first.begin(), first.end(), 0xFF) == 8) return Status::kPayloadInterval;
  }
  return Status::kOk;
}

// The two sets of level contexts.
using PlainSets = std::vector<PlainLevelContexts>;

inline void cut_counts(PlainSets& sets) {
  for (PlainLevelContexts& set : sets) {
    for (PlainContext& context : set.all)
      context.count = std::min<std::int64_t>(context.count, 255);
    for (PlainMixer& mixer : set.mixers)
      mixer.count = std::min<std::int64_t>(mixer.count, 4096);
  }
}

// Means of numbers by weights `w`; what was there before where these are all 0.
class PlainMean {
 public:
  void add(std::int64_t w, std::int64_t number) {
    sum_ += w * number;
    weight_ += w;
  }
  [[nodiscard]] std::int64_t weight() const { return weight_; }
  void replace(std::int64_t& number) const {
    if (weight_ != 0) number = sum_ / weight_;
  }

 private:
  std::int64_t sum_ = 0;
  std::int64_t weight_ = 0;
};

// Of the set `s`, the k-th context or mixer.
inline void merge_context(PlainSets& sets, const std::vector<PlainSets>& chunks, std::size_t s,
                          std::size_t k) {
  PlainContext& context = sets.at(s).all.at(k);
  PlainMean fast;
  PlainMean slow;
  for (const PlainSets& chunk : chunks) {
    const PlainContext& moved = chunk.at(s).all.at(k);
    fast.add(moved.count - context.count, moved.fast);
    slow.add(moved.count - context.count, moved.slow);
  }
  fast.replace(context.fast);
  slow.replace(context.slow);
  context.count += fast.weight();
}

inline void merge_mixer(PlainSets& sets, const std::vector<PlainSets>& chunks, std::size_t s,
                        std::size_t k) {
  PlainMixer& mixer = sets.at(s).mixers.at(k);
  std::int64_t gained = 0;
  for (std::size_t j = 0; j < mixer.n_inputs; ++j) {
    PlainMean mean;
    for (const PlainSets& chunk : chunks) {
      const PlainMixer& moved = chunk.at(s).mixers.at(k);
      mean.add(moved.count - mixer.count, moved.weights.at(j));
    }
    mean.replace(mixer.weights.at(j));
    gained = mean.weight();
  }
  mixer.count += gained;
}

// `sets` are what each chunk began with and become what the next packet begins with.
inline void merge_chunks(PlainSets& sets, const std::vector<PlainSets>& chunks) {
  for (std::size_t s = 0; s < sets.size(); ++s) {
    for (std::size_t k = 0; k < sets.at(s).all.size(); ++k)
      merge_context(sets, chunks, s, k);
    for (std::size_t k = 0; k < sets.at(s).mixers.size(); ++k)
      merge_mixer(sets, chunks, s, k);
  }
}

}  // namespace fl_deepcabac::testing
