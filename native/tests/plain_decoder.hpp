// SPDX-License-Identifier: Apache-2.0
// A second decoder of payloads, slow and obvious: what the fast one is compared with.
//
// Written from docs/bitstream.md alone, in its order and words, and sharing nothing with the core
// but statuses and a reader of bytes. It judges as `decode_levels` does (spec 11, rules 14 to 18),
// except that it names no position and that a payload which is rejected leaves the state as it was.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <utility>
#include <vector>

#include "fl_deepcabac/status.hpp"
#include "plain_chunks.hpp"
#include "plain_coder.hpp"
#include "plain_levels.hpp"
#include "plain_state.hpp"
#include "plain_values.hpp"

namespace fl_deepcabac::testing {

class PlainDecoder {
 public:
  explicit PlainDecoder(const PlainState& before)
      : state_(before),
        is_coded_(before.shapes.size(), false),
        levels_(before.n_levels(), 0),
        places_(before.n_levels(), 0),
        values_(before.n_levels(), 0.0F) {}

  Status decode(std::span<const std::uint8_t> payload) {
    const std::vector<PlainChunk> chunks = plain_chunks(state_.shapes);
    PlainCodewords codewords;
    Status status = split_payload(payload, chunks.size(), codewords);
    if (status != Status::kOk) return status;
    std::vector<PlainCoder> coders(codewords.begin(), codewords.end());

    status = read_head(coders.front());
    if (status != Status::kOk) return status;
    read_chunks(coders, chunks);
    read_tail(coders.back());

    status = judge(coders);
    if (status != Status::kOk) return status;
    merge_chunks(state_.sets, moved_sets_);
    for (const PlainChunk& chunk : chunks) {
      for (const PlainPart& part : chunk)
        reconstruct(part);
    }
    for (std::size_t i = 0; i < state_.n_levels(); ++i)
      move_history(state_, i, places_.at(i));
    return Status::kOk;
  }

  // What the packet leaves behind; the decoder is done then.
  [[nodiscard]] PlainState take_state() { return std::move(state_); }
  [[nodiscard]] const std::vector<std::int64_t>& levels() const { return levels_; }
  [[nodiscard]] const std::vector<float>& values() const { return values_; }

 private:
  // The head (spec 5.1). Rule 15: a step out of bounds ends it at once.
  Status read_head(PlainCoder& coder) {
    PlainTensorContexts& contexts = state_.tensor_contexts;
    std::int64_t previous = 0x3C000000;
    bool is_first = true;
    for (std::size_t tensor = 0; tensor < state_.shapes.size(); ++tensor) {
      const PlainShape& shape = state_.shapes.at(tensor);
      if (shape.n_levels() == 0) continue;
      if (decode_bin(coder, contexts.at(contexts.tensor_zero, shape.has_more_rows() ? 1 : 0)))
        continue;
      is_coded_.at(tensor) = true;
      if (is_first) is_dependent_ = decode_bin(coder, contexts.at(contexts.dependent));
      is_first = false;
      const std::int64_t own = state_.steps.at(tensor);
      const std::int64_t step = read_step(coder, own, previous);
      if (step < kPlainLeastStep || step > kPlainLargestStep) return Status::kPayloadStepRange;
      if (own != 0 && own != step) rescale_history(state_, tensor, own, step);
      state_.steps.at(tensor) = previous = step;
    }
    return Status::kOk;
  }

  // The bits of a step (spec 5.2), which may be any number.
  std::int64_t read_step(PlainCoder& coder, std::int64_t own, std::int64_t previous) {
    PlainTensorContexts& contexts = state_.tensor_contexts;
    const std::int64_t predicted = own != 0 ? own : previous;
    if (decode_bin(coder, contexts.at(contexts.repeats, own != 0 ? 1 : 0))) return predicted;
    std::int64_t d = decode_exp_golomb(coder, contexts, contexts.prefix);
    if (d != 0 && decode_bin(coder, contexts.at(contexts.negative))) d = -d;
    const std::int64_t low =
        decode_bin(coder, contexts.at(contexts.has_low_bits)) ? coder.decode_bypass(20) : 0;
    return ((predicted >> 20) + d) * (1 << 20) + low;
  }

  // Each chunk moves a copy of its own of the contexts (spec 7.8).
  void read_chunks(std::vector<PlainCoder>& coders, const std::vector<PlainChunk>& chunks) {
    cut_counts(state_.sets);
    for (std::size_t c = 0; c < chunks.size(); ++c) {
      PlainSets sets = state_.sets;
      std::vector<std::int64_t> rows(2, 64);  // of each set
      for (const PlainPart& part : chunks.at(c)) {
        const std::size_t set = state_.shapes.at(part.tensor).has_more_rows() ? 1 : 0;
        if (is_coded_.at(part.tensor)) read_part(coders.at(c), part, sets.at(set), rows.at(set));
      }
      moved_sets_.push_back(std::move(sets));
    }
  }

  void read_part(PlainCoder& coder, const PlainPart& part, PlainLevelContexts& contexts,
                 std::int64_t& row) {
    const std::size_t n = part.end - part.begin;
    const std::size_t first = state_.first_level(part.tensor) + part.begin;
    const auto of_part = [&](const std::vector<std::int64_t>& codes) {
      const auto begin = codes.begin() + static_cast<std::ptrdiff_t>(first);
      return std::vector<std::int64_t>(begin, begin + static_cast<std::ptrdiff_t>(n));
    };
    PlainWalk walk({.shape = state_.shapes.at(part.tensor),
                    .position = part.begin,
                    .is_dependent = is_dependent_,
                    .magnitude_codes = of_part(state_.magnitudes),
                    .signed_codes = of_part(state_.signed_averages)},
                   row);
    PlainPartReader(coder, contexts, walk, std::span(levels_).subspan(first, n)).read();
    for (std::size_t i = 0; i < n; ++i)
      places_.at(first + i) = walk.place(i);
  }

  void read_tail(PlainCoder& coder) {
    PlainOffsets previous{};
    for (std::size_t tensor = 0; tensor < state_.shapes.size(); ++tensor) {
      if (!is_coded_.at(tensor)) continue;
      PlainOffsets& own = state_.offsets.at(tensor);
      own = read_offsets(coder, own, previous);
      previous = own;
    }
  }

  // Offsets (spec 5.7). Those out of range are judged later, so they go on as they are.
  PlainOffsets read_offsets(PlainCoder& coder, const PlainOffsets& own,
                            const PlainOffsets& previous) {
    PlainTensorContexts& contexts = state_.tensor_contexts;
    if (decode_bin(coder, contexts.at(contexts.keeps_offsets))) return own;
    if (decode_bin(coder, contexts.at(contexts.copies_offsets))) return previous;
    PlainOffsets offsets = own;
    for (std::int64_t& offset : offsets) {
      const std::int64_t d = decode_exp_golomb(coder, contexts, contexts.offset_prefix);
      const bool is_negative = d != 0 && coder.decode_bypass(1) == 1;
      offset += is_negative ? -d : d;
    }
    return offsets;
  }

  // Rules 16 to 18 of spec 11, after the last bin.
  [[nodiscard]] Status judge(const std::vector<PlainCoder>& coders) const {
    for (const PlainCoder& coder : coders) {
      const Status status = coder.ending();
      if (status != Status::kOk) return status;
    }
    for (const std::int64_t level : levels_) {
      if (std::abs(level) > (1 << 24)) return Status::kPayloadLevelRange;
    }
    for (const PlainOffsets& own : state_.offsets) {
      for (const std::int64_t offset : own) {
        if (std::abs(offset) > 127) return Status::kPayloadOffsetRange;
      }
    }
    return Status::kOk;
  }

  // Values of a part (spec 8), with its history as it was before the packet.
  void reconstruct(const PlainPart& part) {
    if (!is_coded_.at(part.tensor)) return;
    const std::size_t first = state_.first_level(part.tensor);
    for (std::size_t block = part.begin; block < part.end; block += 64) {
      const std::size_t end = std::min(block + 64, part.end);
      for (std::size_t position = block; position < end; ++position) {
        const std::size_t i = first + position;
        std::int64_t beside = 0;
        if (position > block) beside += places_.at(i - 1);
        if (position + 1 < end) beside += places_.at(i + 1);
        const std::int64_t v = signed_value(state_.signed_averages.at(i));
        const std::int64_t f = plain_f(places_.at(i), v, beside, state_.offsets.at(part.tensor));
        values_.at(i) = plain_value(f, state_.steps.at(part.tensor));
      }
    }
  }

  PlainState state_;
  std::vector<bool> is_coded_;  // of each tensor: `tensor_zero` is 0
  bool is_dependent_ = false;
  std::vector<PlainSets> moved_sets_;  // of each chunk
  std::vector<std::int64_t> levels_;
  std::vector<std::int64_t> places_;
  std::vector<float> values_;
};

// Where the status is not kOk only the levels and values given are touched: they are empty.
inline Status plain_decode(PlainState& state, std::span<const std::uint8_t> payload,
                           std::vector<std::int32_t>& levels, std::vector<float>& values) {
  levels.clear();
  values.clear();
  PlainDecoder decoder(state);
  const Status status = decoder.decode(payload);
  if (status != Status::kOk) return status;
  for (const std::int64_t level : decoder.levels())
    levels.push_back(static_cast<std::int32_t>(level));
  values = decoder.values();
  state = decoder.take_state();
  return Status::kOk;
}

}  // namespace fl_deepcabac::testing
