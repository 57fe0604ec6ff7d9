// SPDX-License-Identifier: Apache-2.0
// The arithmetic decoder of the plain decoder: one codeword to bins (spec 6.1), and whether it
// ended as it must (spec 6.3).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "fl_deepcabac/status.hpp"

namespace fl_deepcabac::testing {

class PlainCoder {
 public:
  explicit PlainCoder(std::span<const std::uint8_t> codeword) : codeword_(codeword) {
    for (int i = 0; i < 8; ++i)
      code_ = (code_ << 8) | read_byte();
  }

  // A bin whose probability of a 1 is `P`, in units of 2^-16.
  bool decode(std::int64_t P) {
    const std::uint64_t bound = (range_ >> 16) * static_cast<std::uint64_t>(P);
    const bool bin = code_ < bound;
    if (bin) {
      range_ = bound;
    } else {
      code_ -= bound;
      range_ -= bound;
    }
    while (range_ < (std::uint64_t{1} << 32)) {
      range_ <<= 32;
      for (int i = 0; i < 4; ++i)
        code_ = (code_ << 8) | read_byte();
    }
    return bin;
  }

  // So many bypass bins, most significant first.
  std::int64_t decode_bypass(std::size_t n_bins) {
    std::int64_t bits = 0;
    for (std::size_t i = 0; i < n_bins; ++i)
      bits = 2 * bits + (decode(32768) ? 1 : 0);
    return bits;
  }

  // After the last bin. Of the numbers in [low, low + range) the encoder writes the smallest of
  // those that end in the most zero bytes; it lies `gap` above `low`, as `code` has to.
  [[nodiscard]] Status ending() const {
    const std::uint64_t low = last_eight() - code_;
    std::size_t n_zeros = 8;
    std::uint64_t gap = 0 - low;  // to a multiple of 2^64
    while (gap >= range_) {
      --n_zeros;
      gap &= (std::uint64_t{1} << (8 * n_zeros)) - 1;  // to a multiple of this power
    }
    const std::size_t n_bytes = n_read_ - n_zeros;
    if (codeword_.size() < n_bytes) return Status::kPayloadTruncated;
    if (codeword_.size() > n_bytes) return Status::kPayloadTrailing;
    return code_ == gap ? Status::kOk : Status::kPayloadEnd;
  }

 private:
  [[nodiscard]] std::uint8_t byte_at(std::size_t i) const {
    return i < codeword_.size() ? codeword_[i] : std::uint8_t{0};
  }
  std::uint8_t read_byte() { return byte_at(n_read_++); }
  [[nodiscard]] std::uint64_t last_eight() const {
    std::uint64_t bytes = 0;
    for (std::size_t i = n_read_ - 8; i < n_read_; ++i)
      bytes = (bytes << 8) | byte_at(i);
    return bytes;
  }

  std::span<const std::uint8_t> codeword_;
  std::size_t n_read_ = 0;  // zeros past the end included
  std::uint64_t code_ = 0;
  std::uint64_t range_ = ~std::uint64_t{0};
};

}  // namespace fl_deepcabac::testing
