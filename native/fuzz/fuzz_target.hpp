// SPDX-License-Identifier: Apache-2.0
// What the fuzz targets share: stream layouts chosen by a byte, and expectations that end the
// process.
//
// A target reads its input from a heap buffer of exactly its size, so that the address sanitizer
// sees every read beyond it.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include "fl_deepcabac/buffer.hpp"
#include "fl_deepcabac/stream_state.hpp"

namespace fl_deepcabac::fuzzing {

inline void expect(bool holds, const char* expectation) {
  if (holds) return;
  std::fprintf(stderr, "expected %s\n", expectation);
  std::abort();
}

class ExactBytes {
 public:
  explicit ExactBytes(std::span<const std::uint8_t> bytes)
      : n_bytes_(bytes.size()), bytes_(std::make_unique<std::uint8_t[]>(bytes.size())) {
    if (!bytes.empty()) std::memcpy(bytes_.get(), bytes.data(), bytes.size());
  }
  [[nodiscard]] std::span<const std::uint8_t> span() const noexcept {
    return {bytes_.get(), n_bytes_};
  }

 private:
  std::size_t n_bytes_;
  std::unique_ptr<std::uint8_t[]> bytes_;
};

// Stricter than ==, which takes 0 and -0 for equal.
inline bool same_bits(const Buffer<float>& one, const Buffer<float>& other) {
  return one.size() == other.size() &&
         (one.empty() || std::memcmp(one.data(), other.data(), one.size() * sizeof(float)) == 0);
}

// Bit 0 of the choice is the profile, the next two bits name the shapes. A copy, as its thousands
// of contexts take longer to set up.
inline StreamState chosen_state(std::uint8_t choice) {
  static const std::vector<StreamState> states = [] {
    const std::vector<TensorShape> layouts[] = {
        {{3, 7}},
        {{1, 130}, {20, 2}, {1, 1}},
        {{0, 4}, {5, 40}, {9, 1}, {2, 64}},
        {{12, 70}},
    };
    std::vector<StreamState> made;
    for (const auto& shapes : layouts) {
      made.emplace_back(shapes, Profile::kFast);
      made.emplace_back(shapes, Profile::kMax);
    }
    return made;
  }();
  return states[choice & 7U];
}

}  // namespace fl_deepcabac::fuzzing
