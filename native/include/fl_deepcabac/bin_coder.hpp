// SPDX-License-Identifier: Apache-2.0
// Binary arithmetic encoder and decoder (spec 6.1).
//
// The interval [low, low + range) is a 32-bit window on a number with as many bytes as the payload.
// Invariant between calls: range >= 2^24. Bin 1 takes the lower part of the interval, of width
// floor(range * probability / 2^16).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "fl_deepcabac/bit_cost.hpp"
#include "fl_deepcabac/bit_model.hpp"
#include "fl_deepcabac/status.hpp"

namespace fl_deepcabac {

inline constexpr std::uint32_t kMinRange = 1U << 24;
inline constexpr std::uint32_t kEvenOdds = kProbabilityOne / 2;

// Information behind an interval that has been renormalised `n_shifts` times, in units of 2^-8 bit.
[[nodiscard]] inline std::uint64_t interval_cost(std::uint64_t n_shifts,
                                                 std::uint32_t range) noexcept {
  return ((8 * n_shifts + 32) << kCostBits) - log2_cost(range);
}

// How a payload ends: the number it names, and how many of the window's four bytes are written.
struct PayloadEnd {
  std::uint64_t number;
  int n_kept_bytes;
};

// The smallest number in [low, low + range) that ends in the most zero bytes (spec 6.3). Shifting
// `low` by a multiple of 2^32 shifts the number alike, so a decoder may know low modulo 2^32 only.
[[nodiscard]] constexpr PayloadEnd find_end(std::uint64_t low, std::uint32_t range) noexcept {
  int n_kept_bytes = 0;
  std::uint64_t number = 0;
  for (; n_kept_bytes <= 4; ++n_kept_bytes) {
    const std::uint64_t mask = (std::uint64_t{1} << (8 * (4 - n_kept_bytes))) - 1;
    number = (low + mask) & ~mask;
    if (number < low + range) break;
  }
  return {number, n_kept_bytes};
}

class BinEncoder {
 public:
  // `probability` of bin 1 in units of 2^-16, in [1, 2^16 - 1].
  [[gnu::always_inline]] void encode(bool bin, std::uint32_t probability) {
    const auto bound =
        static_cast<std::uint32_t>((std::uint64_t{range_} * probability) >> kProbabilityBits);
    if (bin) {
      range_ = bound;
    } else {
      low_ += bound;
      range_ -= bound;
    }
    while (range_ < kMinRange) {
      shift_out();
      range_ <<= 8;
    }
  }

  // Bins of even odds, most significant first.
  void encode_bypass(std::uint32_t value, int n_bins) {
    for (int bit = n_bins - 1; bit >= 0; --bit) {
      encode(((value >> bit) & 1U) != 0, kEvenOdds);
    }
  }

  // End the payload with as few bytes as name a number inside the interval (spec 6.3). The encoder
  // is spent afterwards.
  [[nodiscard]] std::vector<std::uint8_t> finish() {
    const PayloadEnd end = find_end(low_, range_);
    low_ = end.number;
    for (int byte = 0; byte < end.n_kept_bytes; ++byte)
      shift_out();
    flush_pending();
    return std::move(bytes_);
  }

  // Information coded so far, in units of 2^-8 bit; equal on both sides after the same bins.
  [[nodiscard]] std::uint64_t position() const noexcept { return interval_cost(n_shifts_, range_); }

 private:
  void shift_out() {
    if (low_ < 0xFF000000U || low_ > 0xFFFFFFFFU) {
      flush_pending();
      pending_byte_ = static_cast<std::uint8_t>(low_ >> 24);
      has_pending_ = true;
    } else {
      ++n_pending_ff_;
    }
    low_ = (low_ & 0x00FFFFFFU) << 8;
    ++n_shifts_;
  }

  // Resolve the carry into the byte that waited for it and the 0xFF bytes behind it.
  void flush_pending() {
    const bool carry = low_ > 0xFFFFFFFFU;
    if (has_pending_) bytes_.push_back(static_cast<std::uint8_t>(pending_byte_ + (carry ? 1 : 0)));
    bytes_.insert(bytes_.end(), n_pending_ff_, carry ? std::uint8_t{0x00} : std::uint8_t{0xFF});
    n_pending_ff_ = 0;
    has_pending_ = false;
  }

  std::uint64_t low_ = 0;             // below 2^33; bit 32 is a carry not yet resolved
  std::uint32_t range_ = 0xFFFFFFFF;  // at least 2^24 between calls
  std::uint8_t pending_byte_ = 0;     // last byte shifted out; a carry may still add one to it
  bool has_pending_ = false;          // false only before the first byte
  std::size_t n_pending_ff_ =
      0;                        // 0xFF bytes behind pending_byte_, which a carry would turn to 0x00
  std::uint64_t n_shifts_ = 0;  // bytes shifted out of the window
  std::vector<std::uint8_t> bytes_;  // final bytes
};

class BinDecoder {
 public:
  explicit BinDecoder(std::span<const std::uint8_t> payload) noexcept : payload_(payload) {
    for (int byte = 0; byte < 4; ++byte)
      shift_in();
  }

  [[nodiscard, gnu::always_inline]] bool decode(std::uint32_t probability) noexcept {
    const auto bound =
        static_cast<std::uint32_t>((std::uint64_t{range_} * probability) >> kProbabilityBits);
    const bool bin = code_ < bound;
    if (bin) {
      range_ = bound;
    } else {
      code_ -= bound;
      range_ -= bound;
    }
    while (range_ < kMinRange) {
      shift_in();
      range_ <<= 8;
    }
    return bin;
  }

  [[nodiscard]] std::uint32_t decode_bypass(int n_bins) noexcept {
    std::uint32_t value = 0;
    for (int bit = 0; bit < n_bins; ++bit)
      value = (value << 1) | (decode(kEvenOdds) ? 1U : 0U);
    return value;
  }

  // After the last bin: whether the payload ends as its encoder must have ended it (spec 6.3).
  [[nodiscard]] Status check_end() const noexcept {
    // The last four bytes read, less `code_`, are `low` modulo 2^32.
    const PayloadEnd end = find_end(window_ - code_, range_);
    const std::uint64_t expected_bytes = n_read_ - 4 + static_cast<std::uint64_t>(end.n_kept_bytes);
    if (payload_.size() < expected_bytes) return Status::kPayloadTruncated;
    if (payload_.size() > expected_bytes) return Status::kPayloadTrailing;
    return static_cast<std::uint32_t>(end.number) == window_ ? Status::kOk : Status::kPayloadEnd;
  }
  [[nodiscard]] std::uint64_t n_read() const noexcept { return n_read_; }
  [[nodiscard]] std::uint64_t position() const noexcept {
    return interval_cost(n_read_ - 4, range_);
  }

 private:
  void shift_in() noexcept {
    const std::uint32_t byte = n_read_ < payload_.size() ? payload_[n_read_] : 0U;
    code_ = (code_ << 8) | byte;
    window_ = (window_ << 8) | byte;
    ++n_read_;
  }

  std::span<const std::uint8_t> payload_;
  std::uint64_t n_read_ = 0;  // bytes shifted in, counting the zeros past the end
  // Payload number minus low; below range_ for every payload an encoder writes.
  std::uint32_t code_ = 0;
  std::uint32_t window_ = 0;          // the last four bytes read, zeros past the end included
  std::uint32_t range_ = 0xFFFFFFFF;  // at least 2^24 between calls
};

}  // namespace fl_deepcabac
