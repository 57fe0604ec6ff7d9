// SPDX-License-Identifier: Apache-2.0
#include "fl_deepcabac/level_codec.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <utility>
#include <variant>

#include "fl_deepcabac/bin_coder.hpp"
#include "fl_deepcabac/block_coder.hpp"
#include "fl_deepcabac/byte_io.hpp"
#include "fl_deepcabac/context_merge.hpp"
#include "fl_deepcabac/level_sources.hpp"
#include "fl_deepcabac/level_syntax.hpp"
#include "fl_deepcabac/parallel.hpp"
#include "fl_deepcabac/parts.hpp"
#include "fl_deepcabac/step.hpp"
#include "fl_deepcabac/tensor_walk.hpp"

namespace fl_deepcabac {
namespace {

// Prediction for the first step of a stream: 2^-7, near the step of many a weight update.
constexpr std::uint32_t kFirstPredictedStep = (127U - 7U) << 23;

// One update in one direction: what is coded once a tensor before all levels, the chunks, what is
// coded once a tensor after them (spec 5.1).
template <class Bins, class Contexts, class Coder>
class UpdateCoder {
 public:
  UpdateCoder(StreamState& state, ContextSets<Contexts>& sets, const std::vector<Chunk>& chunks,
              std::vector<Coder>& coders, CodedLevels& coded, std::size_t n_threads)
      : state_(state),
        sets_(sets),
        chunks_(chunks),
        coders_(coders),
        coded_(coded),
        n_threads_(n_threads),
        part_costs_(chunks.size()),
        sums_(chunks.size()) {
    const std::size_t n_tensors = state.shapes.size();
    coded.step_bits.assign(n_tensors, 0);
    coded.tensor_costs.assign(n_tensors, 0);
    coded.values.assign(state.n_levels(), 0.0F);
  }

  template <class Source>
  Status run(const Source& source, std::span<const std::uint32_t> step_bits) {
    if (state_.n_levels() == 0) return Status::kOk;
    if (const Status status = code_tensors(source, step_bits); status != Status::kOk) return status;
    code_chunks(source);
    const bool are_offsets_valid = code_all_offsets(source);
    for (const std::int32_t level : coded_.levels) {
      if (level < -kMaxLevel || level > kMaxLevel) return Status::kPayloadLevelRange;
    }
    if (!are_offsets_valid) return Status::kPayloadOffsetRange;
    finish();
    return Status::kOk;
  }

 private:
  // Calls body(bins) and books what it codes on a tensor.
  template <class Body>
  void charge(std::size_t tensor, Coder& coder, Body&& body) {
    Bins bins{coder};
    const std::uint64_t start = coder.position();
    body(bins);
    coded_.tensor_costs[tensor] += coder.position() - start;
  }
  [[nodiscard]] bool is_coded(std::size_t tensor) const noexcept {
    return coded_.step_bits[tensor] != 0;
  }

  template <class Source>
  Status code_tensors(const Source& source, std::span<const std::uint32_t> step_bits) {
    std::size_t begin = 0;
    Status status = Status::kOk;
    for (std::size_t tensor = 0; tensor < state_.shapes.size(); ++tensor) {
      const std::size_t n_levels = state_.shapes[tensor].n_levels();
      if (n_levels == 0) continue;
      charge(tensor, coders_.front(), [&](Bins& bins) {
        BitModel& zero = state_.tensor_contexts.tensor_zero[state_.shapes[tensor].context_set()];
        if (bins.code(PlainEstimate{&zero}, source.is_zero(tensor, begin, n_levels))) return;
        // Said once, and only where there are levels that it is about.
        if (previous_step_ == 0) {
          is_dependent_ =
              bins.code(PlainEstimate{&state_.tensor_contexts.dependent}, source.is_dependent());
          previous_step_ = kFirstPredictedStep;
        }
        status = code_tensor_step(bins, tensor, begin, step_bits.empty() ? 0 : step_bits[tensor]);
      });
      if (status != Status::kOk) return status;
      begin += n_levels;
    }
    return Status::kOk;
  }

  Status code_tensor_step(Bins& bins, std::size_t tensor, std::size_t begin, std::uint32_t wanted) {
    std::uint32_t& own = state_.step_bits[tensor];
    const std::uint32_t bits = code_step(bins, state_.tensor_contexts, own, previous_step_, wanted);
    if (!is_valid_step(bits)) return Status::kPayloadStepRange;
    if (own != 0 && own != bits)
      rescale_history(history_of(begin, state_.shapes[tensor].n_levels()), own, bits);
    own = bits;
    previous_step_ = bits;
    coded_.step_bits[tensor] = bits;
    return Status::kOk;
  }

  template <class Source>
  void code_chunks(const Source& source) {
    settle_counts(std::span(sets_));
    if (chunks_.size() == 1) {
      code_chunk(source, 0, sets_);
      return;
    }
    std::vector<ContextSets<Contexts>> copies(chunks_.size());
    run_parallel(chunks_.size(), n_threads_, [&](std::size_t chunk) {
      copies[chunk] = sets_;
      code_chunk(source, chunk, copies[chunk]);
    });
    for (std::size_t set = 0; set < sets_.size(); ++set) {
      std::vector<Contexts*> of_set;
      of_set.reserve(copies.size());
      for (ContextSets<Contexts>& copy : copies)
        of_set.push_back(&copy[set]);
      merge_contexts(sets_[set], std::span<Contexts* const>(of_set));
    }
  }

  template <class Source>
  void code_chunk(const Source& source, std::size_t chunk, ContextSets<Contexts>& sets) {
    std::array<std::int32_t, kContextSets> row_scales{};
    row_scales.fill(kFirstRowScale);
    part_costs_[chunk].assign(chunks_[chunk].size(), 0);
    sums_[chunk].assign(chunks_[chunk].size(), {});
    for (std::size_t i = 0; i < chunks_[chunk].size(); ++i) {
      const Part& part = chunks_[chunk][i];
      if (!is_coded(part.tensor)) continue;
      const std::uint64_t start = coders_[chunk].position();
      const TensorShape& shape = state_.shapes[part.tensor];
      code_part(source, part, Bins{coders_[chunk]}, sets[shape.context_set()],
                row_scales[shape.context_set()]);
      part_costs_[chunk][i] = coders_[chunk].position() - start;
      if (!source.values(part).empty()) {
        sums_[chunk][i].add(source.values(part), source.importance(part), levels_of(part),
                            history_of(part.begin, part.n_levels).signed_level,
                            step_of(part.tensor), is_dependent_);
      }
    }
  }

  template <class Source>
  void code_part(const Source& source, const Part& part, Bins bins, Contexts& contexts,
                 std::int32_t& row_scale) {
    TensorWalk walk(state_.shapes[part.tensor], part.first_column,
                    history_of(part.begin, part.n_levels), row_scale, TrellisPath(is_dependent_));
    const PartSetting setting{part, coded_.step_bits[part.tensor], state_.offsets[part.tensor]};
    source.with_chooser(contexts, walk, setting, [&](auto&& chooser) {
      code_blocks(bins, contexts, walk, chooser, levels_of(part));
    });
    row_scale = walk.row_scale();
  }

  // Offsets follow all levels: only then does an encoder know them. False where one is out of
  // range.
  template <class Source>
  [[nodiscard]] bool code_all_offsets(const Source& source) {
    std::vector<OffsetSums> sums(state_.shapes.size());
    for (std::size_t chunk = 0; chunk < chunks_.size(); ++chunk) {
      for (std::size_t i = 0; i < chunks_[chunk].size(); ++i) {
        const std::size_t tensor = chunks_[chunk][i].tensor;
        sums[tensor].add(sums_[chunk][i]);
        coded_.tensor_costs[tensor] += part_costs_[chunk][i];
      }
    }
    Offsets previous;
    bool is_valid = true;
    for (std::size_t tensor = 0; tensor < state_.shapes.size(); ++tensor) {
      if (!is_coded(tensor)) continue;
      Offsets& own = state_.offsets[tensor];
      Offsets offsets = choose_offsets(sums[tensor], own, previous, source.price());
      charge(tensor, coders_.back(), [&](Bins& bins) {
        is_valid = code_offsets(bins, state_.tensor_contexts, own, previous, offsets) && is_valid;
      });
      own = offsets;
      previous = offsets;
    }
    return is_valid;
  }

  // Values from levels, and the history moved to them.
  void finish() {
    std::vector<const Part*> parts;
    for (const Chunk& chunk : chunks_) {
      for (const Part& part : chunk)
        parts.push_back(&part);
    }
    run_parallel(parts.size(), n_threads_, [&](std::size_t i) {
      const Part& part = *parts[i];
      const HistoryView history = history_of(part.begin, part.n_levels);
      if (is_coded(part.tensor)) {
        reconstruct(levels_of(part), history.signed_level, step_of(part.tensor), is_dependent_,
                    state_.offsets[part.tensor],
                    std::span(coded_.values).subspan(part.begin, part.n_levels));
      }
      move_history(history, levels_of(part), is_dependent_);
    });
  }

  [[nodiscard]] HistoryView history_of(std::size_t begin, std::size_t n_levels) {
    return {std::span(state_.magnitude_history).subspan(begin, n_levels),
            std::span(state_.signed_history).subspan(begin, n_levels)};
  }
  [[nodiscard]] std::span<std::int32_t> levels_of(const Part& part) {
    return std::span(coded_.levels).subspan(part.begin, part.n_levels);
  }
  [[nodiscard]] float step_of(std::size_t tensor) const noexcept {
    return std::bit_cast<float>(coded_.step_bits[tensor]);
  }

  StreamState& state_;
  ContextSets<Contexts>& sets_;
  const std::vector<Chunk>& chunks_;
  std::vector<Coder>& coders_;  // one a chunk
  CodedLevels& coded_;
  std::size_t n_threads_;
  bool is_dependent_ = false;
  std::uint32_t previous_step_ = 0;  // last step coded in this packet; 0 before the first
  // Of each part of each chunk: information in its bins, and what offsets are fitted to.
  std::vector<std::vector<std::uint64_t>> part_costs_;
  std::vector<std::vector<OffsetSums>> sums_;
};

Result check_steps(const StreamState& state, std::span<const std::uint32_t> step_bits) noexcept {
  if (step_bits.size() != state.shapes.size()) {
    return {Status::kLengthMismatch, static_cast<std::int64_t>(step_bits.size())};
  }
  for (std::size_t tensor = 0; tensor < step_bits.size(); ++tensor) {
    if (!is_valid_step(step_bits[tensor]))
      return {Status::kStepRange, static_cast<std::int64_t>(tensor)};
  }
  return {};
}

// The largest magnitude of each tensor; kNonFinite or kLevelRange where a value has no level.
Result find_largest(const StreamState& state, std::span<const float> values,
                    std::span<const std::uint32_t> step_bits, std::span<float> largest) noexcept {
  // Magnitudes compare as their bits do, NaN above all: a loop without a branch, in vectors.
  constexpr std::uint32_t kMagnitude = 0x7FFFFFFF;
  std::size_t begin = 0;
  for (std::size_t tensor = 0; tensor < largest.size(); ++tensor) {
    const auto own = values.subspan(begin, state.shapes[tensor].n_levels());
    std::int32_t bits = 0;
    for (const float value : own) {
      bits = std::max(bits,
                      static_cast<std::int32_t>(std::bit_cast<std::uint32_t>(value) & kMagnitude));
    }
    largest[tensor] = std::bit_cast<float>(bits);
    const float limit = static_cast<float>(kMaxLevel) * std::bit_cast<float>(step_bits[tensor]);
    // Written so that NaN fails too.
    if (!(largest[tensor] <= limit)) {
      const auto at = std::find_if(own.begin(), own.end(),
                                   [limit](float value) { return !(std::fabs(value) <= limit); });
      return {std::isfinite(*at) ? Status::kLevelRange : Status::kNonFinite,
              static_cast<std::int64_t>(begin) + (at - own.begin())};
    }
    begin += own.size();
  }
  return {};
}

template <class Sets>
using ContextsOf = typename std::remove_reference_t<Sets>::value_type;

// Code with the state's context sets, whichever profile they belong to.
template <class Bins, class Coder, class Source>
Status run_coder(StreamState& state, const std::vector<Chunk>& chunks, std::vector<Coder>& coders,
                 const Source& source, std::span<const std::uint32_t> step_bits, CodedLevels& coded,
                 std::size_t n_threads) {
  return std::visit(
      [&](auto& sets) {
        return UpdateCoder<Bins, ContextsOf<decltype(sets)>, Coder>(state, sets, chunks, coders,
                                                                    coded, n_threads)
            .run(source, step_bits);
      },
      state.level_contexts);
}

// Encode, and join the codewords: lengths of all but the last, then the codewords (spec 4.2).
template <class Source>
Result encode(StreamState& state, const Source& source, std::span<const std::uint32_t> step_bits,
              CodedLevels& coded, std::size_t n_threads) {
  const std::vector<Chunk> chunks = divide(state.shapes);
  std::vector<BinEncoder> coders(chunks.size());
  const Status status =
      run_coder<EncodedBins>(state, chunks, coders, source, step_bits, coded, n_threads);
  std::vector<std::vector<std::uint8_t>> codewords;
  codewords.reserve(coders.size());
  for (BinEncoder& coder : coders)
    codewords.push_back(coder.finish());
  ByteWriter payload;
  for (std::size_t i = 0; i + 1 < codewords.size(); ++i)
    payload.write_u32(static_cast<std::uint32_t>(codewords[i].size()));
  for (const auto& codeword : codewords)
    payload.write_bytes(codeword.data(), codeword.size());
  coded.payload = payload.take();
  return {status, 0};
}

// The codewords of a payload; kPayloadTruncated where it is too short for their lengths.
Result split_payload(std::span<const std::uint8_t> payload, std::size_t n_codewords,
                     std::vector<std::span<const std::uint8_t>>& codewords) {
  ByteReader reader(payload);
  std::vector<std::size_t> lengths;
  for (std::size_t i = 0; i + 1 < n_codewords; ++i)
    lengths.push_back(reader.read_u32());
  std::size_t begin = reader.position();
  for (const std::size_t length : lengths) {
    if (reader.is_overread() || length > payload.size() - begin)
      return {Status::kPayloadTruncated, static_cast<std::int64_t>(payload.size())};
    codewords.push_back(payload.subspan(begin, length));
    begin += length;
  }
  codewords.push_back(payload.subspan(begin));
  return {};
}

}  // namespace

Result encode_levels(StreamState& state, std::span<const std::int32_t> levels,
                     std::span<const std::uint32_t> step_bits, CodedLevels& coded,
                     std::size_t n_threads, const OffsetFit& fit) {
  if (levels.size() != state.n_levels())
    return {Status::kLengthMismatch, static_cast<std::int64_t>(levels.size())};
  if (!fit.values.empty() && fit.values.size() != levels.size())
    return {Status::kLengthMismatch, static_cast<std::int64_t>(fit.values.size())};
  if (const Result result = check_steps(state, step_bits); !result.ok()) return result;
  for (std::size_t i = 0; i < levels.size(); ++i) {
    if (levels[i] < -kMaxLevel || levels[i] > kMaxLevel)
      return {Status::kLevelRange, static_cast<std::int64_t>(i)};
  }
  coded.levels.assign(levels.begin(), levels.end());
  return encode(state, GivenLevels(levels, fit.values, fit.price), step_bits, coded, n_threads);
}

Result encode_values(StreamState& state, std::span<const float> values,
                     std::span<const std::uint32_t> step_bits, const Choice& choice,
                     CodedLevels& coded, std::size_t n_threads) {
  if (values.size() != state.n_levels())
    return {Status::kLengthMismatch, static_cast<std::int64_t>(values.size())};
  if (!choice.importance.empty() && choice.importance.size() != values.size())
    return {Status::kLengthMismatch, static_cast<std::int64_t>(choice.importance.size())};
  if (const Result result = check_steps(state, step_bits); !result.ok()) return result;
  std::vector<float> largest(state.shapes.size(), 0.0F);
  if (const Result result = find_largest(state, values, step_bits, largest); !result.ok())
    return result;
  coded.levels.assign(values.size(), 0);
  const ValuesToQuantise source(values, choice.importance, largest, step_bits, choice.price,
                                choice.is_dependent);
  return encode(state, source, step_bits, coded, n_threads);
}

Result decode_levels(StreamState& state, std::span<const std::uint8_t> payload, CodedLevels& coded,
                     std::size_t n_threads) {
  const std::vector<Chunk> chunks = divide(state.shapes);
  std::vector<std::span<const std::uint8_t>> codewords;
  if (const Result result = split_payload(payload, chunks.size(), codewords); !result.ok())
    return result;
  std::vector<BinDecoder> coders(codewords.begin(), codewords.end());
  coded.levels.assign(state.n_levels(), 0);
  const Status status =
      run_coder<DecodedBins>(state, chunks, coders, UnknownLevels{}, {}, coded, n_threads);
  for (std::size_t i = 0; i < coders.size(); ++i) {
    const auto begin = static_cast<std::uint64_t>(codewords[i].data() - payload.data());
    const std::uint64_t read = std::min<std::uint64_t>(coders[i].n_read(), codewords[i].size());
    const Result result{status == Status::kPayloadStepRange ? status : coders[i].check_end(),
                        static_cast<std::int64_t>(begin + read)};
    if (!result.ok()) return result;
  }
  return {status, static_cast<std::int64_t>(payload.size())};
}

}  // namespace fl_deepcabac
