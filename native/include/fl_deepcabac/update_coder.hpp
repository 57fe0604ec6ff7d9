// SPDX-License-Identifier: Apache-2.0
// One update in one direction, for every profile and source of levels (spec 5.1).
//
// Written once for both directions, as the bins are. Instantiated by `encode_levels.cpp`,
// `encode_values.cpp` and `decode_levels.cpp`, which so compile side by side.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>
#include <vector>

#include "fl_deepcabac/block_coder.hpp"
#include "fl_deepcabac/context_merge.hpp"
#include "fl_deepcabac/level_codec.hpp"
#include "fl_deepcabac/level_list.hpp"
#include "fl_deepcabac/level_sources.hpp"
#include "fl_deepcabac/level_syntax.hpp"
#include "fl_deepcabac/offset_fit.hpp"
#include "fl_deepcabac/parallel.hpp"
#include "fl_deepcabac/parts.hpp"
#include "fl_deepcabac/payload.hpp"
#include "fl_deepcabac/reconstruction.hpp"
#include "fl_deepcabac/step.hpp"
#include "fl_deepcabac/tensor_walk.hpp"
#include "fl_deepcabac/watch.hpp"

namespace fl_deepcabac {

// Prediction for the first step of a stream: 2^-7, near the step of many a weight update.
inline constexpr std::uint32_t kFirstPredictedStep = (127U - 7U) << 23;

// One update in one direction: what is coded once a tensor before all levels, the chunks, what is
// coded once a tensor after them (spec 5.1).
template <class Bins, class Contexts, class Coder>
class UpdateCoder {
 public:
  UpdateCoder(StreamState& state, ContextSets<Contexts>& sets, const std::vector<Chunk>& chunks,
              std::vector<Coder>& coders, CodedLevels& coded, const Execution& execution)
      : state_(state),
        sets_(sets),
        chunks_(chunks),
        coders_(coders),
        coded_(coded),
        execution_(execution) {
    const std::size_t n_tensors = state.shapes.size();
    coded.step_bits.assign(n_tensors, 0);
    coded.tensor_costs.assign(n_tensors, 0);
    coded.tensor_nonzeros.assign(n_tensors, 0);
    coded.tensor_errors.assign(n_tensors, 0.0);
    coded.values.resize(state.n_levels());
    coded.levels.assign(coded.wants_levels ? state.n_levels() : 0, 0);
    for (const Chunk& chunk : chunks) {
      auto& states = part_states_.emplace_back();
      for (const Part& part : chunk)
        states.push_back({.part = &part});
    }
  }

  template <class Source>
  Status run(const Source& source, std::span<const std::uint32_t> step_bits) {
    if (state_.n_levels() == 0) return Status::kOk;
    if (const Status status = code_tensors(source, step_bits); status != Status::kOk) return status;
    code_chunks(source);
    if (is_beyond_end()) return Status::kPayloadTruncated;
    const bool are_offsets_valid = code_all_offsets(source);
    if (!are_levels_valid()) return Status::kPayloadLevelRange;
    if (!are_offsets_valid) return Status::kPayloadOffsetRange;
    finish(source);
    return Status::kOk;
  }

 private:
  // What is known of a part once it is coded.
  struct PartState {
    const Part* part = nullptr;
    LevelList list{};
    OffsetSums sums{};
    std::uint64_t cost = 0;      // information in its bins, in units of 2^-8 bit
    double squared_error = 0.0;  // of its values, in their own units
  };

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
    run_parallel(chunks_.size(), execution_, [&](std::size_t chunk) {
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
    for (PartState& own : part_states_[chunk]) {
      const Part& part = *own.part;
      if (!is_coded(part.tensor)) {
        own.list = LevelList::zeros(part.n_levels);
        continue;
      }
      const std::uint64_t start = coders_[chunk].position();
      const std::size_t set = state_.shapes[part.tensor].context_set();
      code_part(source, own, Bins{coders_[chunk]}, sets[set], row_scales[set]);
      own.cost = coders_[chunk].position() - start;
      if (source.fits_offsets()) {
        own.sums.add(source.values(part), source.importance(part), own.list,
                     history_of(part.begin, part.n_levels).signed_level, step_of(part.tensor),
                     is_dependent_);
      }
    }
  }

  template <class Source>
  void code_part(const Source& source, PartState& own, Bins bins, Contexts& contexts,
                 std::int32_t& row_scale) {
    const Part& part = *own.part;
    TensorWalk walk(state_.shapes[part.tensor], part.first_column,
                    history_of(part.begin, part.n_levels), row_scale, TrellisPath(is_dependent_));
    const PartSetting setting{part, coded_.step_bits[part.tensor], state_.offsets[part.tensor]};
    source.with_chooser(contexts, walk, setting, [&](auto&& chooser) {
      code_blocks(bins, contexts, walk, chooser, own.list, execution_);
    });
    row_scale = walk.row_scale();
  }

  [[nodiscard]] bool is_beyond_end() const noexcept {
    if constexpr (requires(Coder& coder) { coder.is_beyond_end(); }) {
      return std::any_of(coders_.begin(), coders_.end(),
                         [](const Coder& coder) { return coder.is_beyond_end(); });
    }
    return false;
  }

  [[nodiscard]] bool are_levels_valid() const noexcept {
    for (const auto& states : part_states_) {
      for (const PartState& own : states) {
        for (const std::int32_t level : own.list.levels()) {
          if (level < -kMaxLevel || level > kMaxLevel) return false;
        }
      }
    }
    return true;
  }

  // Offsets follow all levels: only then does an encoder know them. False where one is out of
  // range.
  template <class Source>
  [[nodiscard]] bool code_all_offsets(const Source& source) {
    std::vector<OffsetSums> sums(state_.shapes.size());
    for (const auto& states : part_states_) {
      for (const PartState& own : states) {
        sums[own.part->tensor].add(own.sums);
        coded_.tensor_costs[own.part->tensor] += own.cost;
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

  // Values from levels, what they left out, and the history moved to them.
  template <class Source>
  void finish(const Source& source) {
    std::vector<PartState*> all;
    for (auto& states : part_states_) {
      for (PartState& own : states)
        all.push_back(&own);
    }
    run_parallel(all.size(), execution_, [&](std::size_t i) { finish_part(source, *all[i]); });
    for (const PartState* own : all) {
      coded_.tensor_nonzeros[own->part->tensor] += own->list.n_nonzero();
      coded_.tensor_errors[own->part->tensor] += own->squared_error;
    }
  }

  template <class Source>
  void finish_part(const Source& source, PartState& own) {
    const Part& part = *own.part;
    const HistoryView history = history_of(part.begin, part.n_levels);
    const std::span<const float> wanted = source.values(part);
    const Reconstruction reconstruction(state_.offsets[part.tensor], step_of(part.tensor));
    TrellisPath path(is_dependent_);
    own.list.for_each_block([&](const BlockList& levels, std::size_t begin) {
      const std::size_t length = std::min(kBlockLevels, part.n_levels - begin);
      const auto values = std::span(coded_.values).subspan(part.begin + begin, length);
      const HistoryView block{history.magnitude.subspan(begin, length),
                              history.signed_level.subspan(begin, length)};
      if (is_coded(part.tensor)) {
        TrellisPath own_path = path;
        reconstruction.run(levels, block.signed_level, own_path, values);
      } else {
        std::fill(values.begin(), values.end(), 0.0F);
      }
      move_history(block, levels, path);
      if (!wanted.empty())
        own.squared_error += squared_error(wanted.subspan(begin, length), values);
      if (coded_.wants_levels)
        levels.copy_to(std::span(coded_.levels).subspan(part.begin + begin, length));
    });
  }

  [[nodiscard]] HistoryView history_of(std::size_t begin, std::size_t n_levels) {
    return {std::span(state_.magnitude_history).subspan(begin, n_levels),
            std::span(state_.signed_history).subspan(begin, n_levels)};
  }
  [[nodiscard]] float step_of(std::size_t tensor) const noexcept {
    return std::bit_cast<float>(coded_.step_bits[tensor]);
  }

  StreamState& state_;
  ContextSets<Contexts>& sets_;
  const std::vector<Chunk>& chunks_;
  std::vector<Coder>& coders_;  // one a chunk
  CodedLevels& coded_;
  const Execution& execution_;
  bool is_dependent_ = false;
  std::uint32_t previous_step_ = 0;  // last step coded in this packet; 0 before the first
  std::vector<std::vector<PartState>> part_states_;  // of each part of each chunk
};

template <class Sets>
using ContextsOf = typename std::remove_reference_t<Sets>::value_type;

// Code with the state's context sets, whichever profile they belong to.
template <class Bins, class Coder, class Source>
Status run_coder(StreamState& state, const std::vector<Chunk>& chunks, std::vector<Coder>& coders,
                 const Source& source, std::span<const std::uint32_t> step_bits, CodedLevels& coded,
                 const Execution& execution) {
  return visit_context_sets(state, [&](auto& sets) {
    return UpdateCoder<Bins, ContextsOf<decltype(sets)>, Coder>(state, sets, chunks, coders, coded,
                                                                execution)
        .run(source, step_bits);
  });
}

// Encode, and join the codewords.
template <class Source>
Result run_encoder(StreamState& state, const Source& source,
                   std::span<const std::uint32_t> step_bits, CodedLevels& coded,
                   const Execution& execution) {
  const std::vector<Chunk> chunks = divide(state.shapes);
  std::vector<BinEncoder> coders(chunks.size());
  const Status status =
      run_coder<EncodedBins<>>(state, chunks, coders, source, step_bits, coded, execution);
  std::vector<std::vector<std::uint8_t>> codewords;
  codewords.reserve(coders.size());
  for (BinEncoder& coder : coders)
    codewords.push_back(coder.finish());
  coded.payload = join_codewords(codewords);
  return {status, 0};
}

}  // namespace fl_deepcabac
