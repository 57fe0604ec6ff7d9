// SPDX-License-Identifier: Apache-2.0
// Payloads that end as they must and hold numbers which no encoder of ours writes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "first_level.hpp"
#include "fl_deepcabac/level_syntax.hpp"
#include "fl_deepcabac/tensor_walk.hpp"
#include "level_bins.hpp"
#include "level_data.hpp"

namespace fl_deepcabac::testing {

// Offsets as a hostile encoder may write them: each the difference from none.
inline void code_any_offsets(EncodedBins<>& bins, TensorContexts& contexts,
                             const std::array<std::int32_t, kOffsets>& offsets) {
  bins.code(PlainEstimate{&contexts.keeps_offsets}, false);
  bins.code(PlainEstimate{&contexts.copies_offsets}, false);
  const auto prefix = [&](int position) {
    return PlainEstimate{&contexts.offset_prefix[static_cast<std::size_t>(position)]};
  };
  for (const std::int32_t offset : offsets) {
    code_exp_golomb(bins, prefix, static_cast<std::uint32_t>(offset < 0 ? -offset : offset));
    if (offset != 0) bins.code_bypass(offset < 0 ? 1U : 0U, 1);
  }
}

// Bins as a hostile encoder may write them: a step of 2^101, then a level of 2^24 + 1, then an
// offset of 128. Of a fresh stream with one level, profile `fast`.
inline Bytes payload_with(std::uint32_t step, std::int32_t level,
                          const std::array<std::int32_t, kOffsets>& offsets = {0, 0, 0, 0, 0, 0,
                                                                               1}) {
  BinEncoder coder;
  EncodedBins<> bins{coder};
  FastContexts contexts;
  TensorContexts tensor{};
  bins.code(PlainEstimate{&tensor.dependent}, false);
  bins.code(PlainEstimate{&tensor.tensor_zero[0]}, false);
  code_step(bins, tensor, 0, kStep, step);
  bins.code(contexts.block_coded({}), true);
  code_level(bins, contexts, first_level(kFirstRowScale), level);
  code_any_offsets(bins, tensor, offsets);
  return coder.finish();
}

}  // namespace fl_deepcabac::testing
