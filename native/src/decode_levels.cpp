// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdint>

#include "fl_deepcabac/level_codec.hpp"
#include "fl_deepcabac/payload.hpp"
#include "fl_deepcabac/update_coder.hpp"

namespace fl_deepcabac {

Result decode_levels(StreamState& state, std::span<const std::uint8_t> payload, CodedLevels& coded,
                     const Execution& execution) {
  const std::vector<Chunk> chunks = divide(state.shapes);
  std::vector<std::span<const std::uint8_t>> codewords;
  if (const Result result = split_codewords(payload, chunks.size(), codewords); !result.ok())
    return result;
  std::vector<BinDecoder> coders(codewords.begin(), codewords.end());
  for (std::size_t i = 0; i < coders.size(); ++i) {
    if (!coders[i].is_within()) {
      return {Status::kPayloadInterval,
              static_cast<std::int64_t>(codewords[i].data() - payload.data())};
    }
  }
  const Status status =
      run_coder<DecodedBins<>>(state, chunks, coders, UnknownLevels{}, {}, coded, execution);
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
