// SPDX-License-Identifier: Apache-2.0
// Binary arithmetic encoder and decoder (spec 6.1).
//
// The interval [low, low + range) is a 64-bit window on a number with as many bytes as the payload.
// Invariant between calls: range >= 2^32. Bin 1 takes the lower part of the interval, of width
// floor(range / 2^16) * probability. Four bytes move at once, so that the test for it nearly always
// goes one way.
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

inline constexpr std::uint64_t kFirstRange = ~std::uint64_t{0};
inline constexpr std::uint64_t kMinRange = std::uint64_t{1} << 32;
inline constexpr std::uint32_t kEvenOdds = kProbabilityOne / 2;
inline constexpr int kShiftBits = 32;
inline constexpr int kShiftBytes = kShiftBits / 8;
inline constexpr int kWindowBytes = 8;

// Width of the part of bin 1.
[[nodiscard, gnu::always_inline]] inline std::uint64_t bound_of(
    std::uint64_t range, std::uint32_t probability) noexcept {
  return (range >> kProbabilityBits) * probability;
}

// Information behind an interval that has been renormalised `n_shifts` times, in units of 2^-8 bit.
[[nodiscard]] inline std::uint64_t interval_cost(std::uint64_t n_shifts,
                                                 std::uint64_t range) noexcept {
  return ((kShiftBits * n_shifts + 64) << kCostBits) - log2_cost(range);
}

// How a payload ends: the number it names, as its window, and how many bytes of that are written.
struct PayloadEnd {
  std::uint64_t number;  // modulo 2^64
  bool has_carry;        // into the bytes before the window
  int n_kept_bytes;
};

// The smallest number in [low, low + range) that ends in the most zero bytes (spec 6.3).
[[nodiscard]] constexpr PayloadEnd find_end(std::uint64_t low, std::uint64_t range) noexcept {
  for (int n_kept_bytes = 0; n_kept_bytes < kWindowBytes; ++n_kept_bytes) {
    const std::uint64_t mask = ~std::uint64_t{0} >> (8 * n_kept_bytes);
    const std::uint64_t distance = (0 - low) & mask;  // to the next multiple of mask + 1
    if (distance < range) return {low + distance, low + distance < low, n_kept_bytes};
  }
  return {low, false, kWindowBytes};
}

// What a coder changes with every bin; two registers wide, as which it is handed from function to
// function.
struct Interval {
  // Encoder: `low`, modulo 2^64. Decoder: payload number minus low, below range for every payload
  // that an encoder writes.
  std::uint64_t offset = 0;
  std::uint64_t range = kFirstRange;  // at least 2^32 between calls

  // Keeps a compiler from moving both words into one vector: what is stored as halves and loaded as
  // a whole costs some fifteen cycles. No instruction at all.
  // NOLINTNEXTLINE(portability-no-assembler,hicpp-no-assembler): see above
  [[gnu::always_inline]] void keep_apart() noexcept { asm("" : "+r"(offset), "+r"(range)); }
};

// The bytes that an encoder has shifted out of its window, and room for more.
class ByteSink {
 public:
  [[nodiscard]] std::size_t n_bytes() const noexcept { return n_bytes_; }
  // Append the window's upper half.
  [[gnu::noinline]] void append(std::uint64_t window) {
    if (bytes_.size() < n_bytes_ + kShiftBytes)
      bytes_.resize(2 * n_bytes_ + std::size_t{16} * kShiftBytes);
    for (int byte = 0; byte < kShiftBytes; ++byte)
      bytes_[n_bytes_++] = byte_of(window, byte);
  }
  // Add one to the bytes so far, which never overflow: as a fraction the number is below 1.
  [[gnu::noinline]] void carry() noexcept {
    std::size_t at = n_bytes_;
    while (++bytes_[--at] == 0) {
    }
  }
  // All of them and the first of the window's.
  [[nodiscard]] std::vector<std::uint8_t> finish(std::uint64_t window, int n_kept_bytes) {
    bytes_.resize(n_bytes_);
    for (int byte = 0; byte < n_kept_bytes; ++byte)
      bytes_.push_back(byte_of(window, byte));
    return std::move(bytes_);
  }

 private:
  [[nodiscard]] static std::uint8_t byte_of(std::uint64_t window, int byte) noexcept {
    return static_cast<std::uint8_t>(window >> (8 * (kWindowBytes - 1 - byte)));
  }

  std::vector<std::uint8_t> bytes_;
  std::size_t n_bytes_ = 0;
};

// The bytes that a decoder reads, zeros past the end.
class ByteSource {
 public:
  explicit ByteSource(std::span<const std::uint8_t> payload) noexcept : payload_(payload) {}

  [[gnu::noinline]] std::uint64_t next() noexcept {
    std::uint64_t bytes = 0;
    for (int byte = 0; byte < kShiftBytes; ++byte, ++n_read_)
      bytes = (bytes << 8) | (n_read_ < payload_.size() ? payload_[n_read_] : 0U);
    window_ = (window_ << kShiftBits) | bytes;
    return bytes;
  }
  [[nodiscard]] std::uint64_t n_read() const noexcept { return n_read_; }
  [[nodiscard]] std::uint64_t window() const noexcept { return window_; }
  [[nodiscard]] std::size_t n_bytes() const noexcept { return payload_.size(); }

 private:
  std::span<const std::uint8_t> payload_;
  std::uint64_t n_read_ = 0;  // counting the zeros past the end
  std::uint64_t window_ = 0;  // the last eight bytes read
};

// An encoder's interval by itself, for a loop that keeps it in registers.
struct EncodingInterval {
  Interval interval;
  ByteSink& sink;

  // `probability` of bin 1 in units of 2^-16, in [1, 2^16 - 1].
  [[gnu::always_inline]] void encode(bool bin, std::uint32_t probability) {
    const std::uint64_t bound = bound_of(interval.range, probability);
    // Without a branch, which would be mispredicted.
    const std::uint64_t zero_mask = std::uint64_t{bin} - 1;
    const std::uint64_t rest = interval.range - bound;
    const std::uint64_t raised = bound & zero_mask;
    interval.offset += raised;
    if (interval.offset < raised) [[unlikely]]
      sink.carry();
    interval.range = bound ^ ((bound ^ rest) & zero_mask);
    renormalise();
  }
  // The same with a branch, where the caller goes different ways anyway and one bin is likelier:
  // then the next bin need not wait for this one.
  [[gnu::always_inline]] void encode_either(bool bin, std::uint32_t probability) {
    const std::uint64_t bound = bound_of(interval.range, probability);
    if (bin) {
      interval.range = bound;
    } else {
      interval.offset += bound;
      if (interval.offset < bound) [[unlikely]]
        sink.carry();
      interval.range -= bound;
    }
    interval.keep_apart();
    renormalise();
  }
  // Bins of even odds, most significant first.
  void encode_bypass(std::uint32_t value, int n_bins) {
    for (int bit = n_bins - 1; bit >= 0; --bit)
      encode(((value >> bit) & 1U) != 0, kEvenOdds);
  }

 private:
  // Range is above 2^16 times the least probability: one shift is enough.
  [[gnu::always_inline]] void renormalise() {
    if (interval.range >= kMinRange) [[likely]]
      return;
    sink.append(interval.offset);
    interval.offset <<= kShiftBits;
    interval.range <<= kShiftBits;
  }
};

// A decoder's interval by itself.
struct DecodingInterval {
  Interval interval;
  ByteSource& source;

  [[nodiscard, gnu::always_inline]] bool decode(std::uint32_t probability) noexcept {
    const std::uint64_t bound = bound_of(interval.range, probability);
    const bool bin = interval.offset < bound;
    const std::uint64_t zero_mask = std::uint64_t{bin} - 1;
    const std::uint64_t rest = interval.range - bound;
    interval.offset -= bound & zero_mask;
    interval.range = bound ^ ((bound ^ rest) & zero_mask);
    renormalise();
    return bin;
  }
  [[nodiscard, gnu::always_inline]] bool decode_either(std::uint32_t probability) noexcept {
    const std::uint64_t bound = bound_of(interval.range, probability);
    const bool bin = interval.offset < bound;
    if (bin) {
      interval.range = bound;
    } else {
      interval.offset -= bound;
      interval.range -= bound;
    }
    renormalise();
    return bin;
  }
  [[nodiscard]] std::uint32_t decode_bypass(int n_bins) noexcept {
    std::uint32_t value = 0;
    for (int bit = 0; bit < n_bins; ++bit)
      value = (value << 1) | (decode(kEvenOdds) ? 1U : 0U);
    return value;
  }

 private:
  [[gnu::always_inline]] void renormalise() noexcept {
    if (interval.range >= kMinRange) [[likely]]
      return;
    interval.offset = (interval.offset << kShiftBits) | source.next();
    interval.range <<= kShiftBits;
  }
};

class BinEncoder {
 public:
  using Detached = EncodingInterval;

  void encode(bool bin, std::uint32_t probability) {
    Detached detached = detach();
    detached.encode(bin, probability);
    interval_ = detached.interval;
  }
  void encode_bypass(std::uint32_t value, int n_bins) {
    Detached detached = detach();
    detached.encode_bypass(value, n_bins);
    interval_ = detached.interval;
  }
  // The interval to go on with elsewhere, and its return.
  [[nodiscard]] Detached detach(Interval interval) noexcept {
    interval.keep_apart();
    return {interval, sink_};
  }
  [[nodiscard]] Detached detach() noexcept { return detach(interval_); }
  void attach(const Interval& interval) noexcept { interval_ = interval; }

  // End the payload with as few bytes as name a number inside the interval (spec 6.3). The encoder
  // is spent afterwards.
  [[nodiscard]] std::vector<std::uint8_t> finish() {
    const PayloadEnd end = find_end(interval_.offset, interval_.range);
    if (end.has_carry) sink_.carry();
    return sink_.finish(end.number, end.n_kept_bytes);
  }
  // Information coded so far, in units of 2^-8 bit; equal on both sides after the same bins.
  [[nodiscard]] std::uint64_t position() const noexcept {
    return interval_cost(sink_.n_bytes() / kShiftBytes, interval_.range);
  }

 private:
  Interval interval_;
  ByteSink sink_;
};

class BinDecoder {
 public:
  using Detached = DecodingInterval;

  explicit BinDecoder(std::span<const std::uint8_t> payload) noexcept : source_(payload) {
    for (int half = 0; half < kWindowBytes / kShiftBytes; ++half)
      interval_.offset = (interval_.offset << kShiftBits) | source_.next();
  }

  [[nodiscard]] bool decode(std::uint32_t probability) noexcept {
    Detached detached = detach();
    const bool bin = detached.decode(probability);
    interval_ = detached.interval;
    return bin;
  }
  [[nodiscard]] std::uint32_t decode_bypass(int n_bins) noexcept {
    Detached detached = detach();
    const std::uint32_t value = detached.decode_bypass(n_bins);
    interval_ = detached.interval;
    return value;
  }
  [[nodiscard]] Detached detach(Interval interval) noexcept {
    interval.keep_apart();
    return {interval, source_};
  }
  [[nodiscard]] Detached detach() noexcept { return detach(interval_); }
  void attach(const Interval& interval) noexcept { interval_ = interval; }

  // Before the first bin: whether the payload lies in the interval, which it then always does
  // (spec 6.1).
  [[nodiscard]] bool is_within() const noexcept { return interval_.offset < interval_.range; }
  // After the last bin: whether the payload ends as its encoder must have ended it (spec 6.3).
  [[nodiscard]] Status check_end() const noexcept {
    // The last eight bytes read, less the offset, are `low` modulo 2^64.
    const PayloadEnd end = find_end(source_.window() - interval_.offset, interval_.range);
    const std::uint64_t expected_bytes =
        source_.n_read() - kWindowBytes + static_cast<std::uint64_t>(end.n_kept_bytes);
    if (source_.n_bytes() < expected_bytes) return Status::kPayloadTruncated;
    if (source_.n_bytes() > expected_bytes) return Status::kPayloadTrailing;
    return end.number == source_.window() ? Status::kOk : Status::kPayloadEnd;
  }
  [[nodiscard]] std::uint64_t n_read() const noexcept { return source_.n_read(); }
  // Whether `check_end` says truncated, whatever bins are still to come: no encoder leaves out more
  // zero bytes than the window holds.
  [[nodiscard]] bool is_beyond_end() const noexcept {
    return source_.n_read() > source_.n_bytes() + kWindowBytes;
  }
  [[nodiscard]] std::uint64_t position() const noexcept {
    return interval_cost((source_.n_read() - kWindowBytes) / kShiftBytes, interval_.range);
  }

 private:
  Interval interval_;
  ByteSource source_;
};

}  // namespace fl_deepcabac
