// SPDX-License-Identifier: Apache-2.0
// How a payload holds its codewords (spec 4.2).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "fl_deepcabac/status.hpp"

namespace fl_deepcabac {

// Lengths of all codewords but the last, then the codewords.
[[nodiscard]] std::vector<std::uint8_t> join_codewords(
    const std::vector<std::vector<std::uint8_t>>& codewords);

// The codewords of a payload; kPayloadTruncated where it is too short for their lengths or for
// codewords of these lengths, kPayloadLength where a length is not written as it must be.
[[nodiscard]] Result split_codewords(std::span<const std::uint8_t> payload, std::size_t n_codewords,
                                     std::vector<std::span<const std::uint8_t>>& codewords);

}  // namespace fl_deepcabac
