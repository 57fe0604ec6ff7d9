// SPDX-License-Identifier: Apache-2.0
#include "fl_deepcabac/parts.hpp"

#include <algorithm>
#include <bit>

#include "fl_deepcabac/tensor_walk.hpp"

namespace fl_deepcabac {
namespace {

// Fewer levels than this learn better together than they code faster apart.
constexpr std::size_t kLeastChunk = std::size_t{1} << 18;
// Each chunk has contexts of its own while it is coded.
constexpr std::size_t kMostChunks = 64;

}  // namespace

std::vector<Chunk> divide(std::span<const TensorShape> shapes) {
  std::size_t n_levels = 0;
  for (const TensorShape& shape : shapes)
    n_levels += shape.n_levels();
  // Powers of two, so that two or four threads have equal shares.
  const std::size_t n_chunks =
      std::min(std::bit_floor(std::max<std::size_t>(n_levels / kLeastChunk, 1)), kMostChunks);

  std::vector<Chunk> chunks(n_chunks);
  std::size_t chunk = 0;
  std::size_t tensor_begin = 0;
  for (std::size_t tensor = 0; tensor < shapes.size(); ++tensor) {
    const std::size_t n_tensor = shapes[tensor].n_levels();
    std::size_t done = 0;
    while (done < n_tensor) {
      // A chunk ends at its share of the levels, or at the start of the block that holds this.
      std::size_t end = n_tensor;
      if (chunk + 1 < n_chunks) {
        // In 64 bits, so that machines with fewer divide alike.
        const auto target =
            static_cast<std::size_t>(std::uint64_t{n_levels} * (chunk + 1) / n_chunks);
        const std::size_t within = target <= tensor_begin ? 0 : target - tensor_begin;
        if (within < n_tensor) end = within / kBlockLevels * kBlockLevels;
      }
      if (end > done) {
        const auto column =
            static_cast<std::uint32_t>(done % joined_columns(shapes[tensor].n_columns));
        chunks[chunk].push_back({tensor, tensor_begin + done, end - done, column});
        done = end;
      }
      if (done < n_tensor) ++chunk;
    }
    tensor_begin += n_tensor;
  }
  return chunks;
}

}  // namespace fl_deepcabac
