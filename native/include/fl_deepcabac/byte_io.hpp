// SPDX-License-Identifier: Apache-2.0
// Little-endian integers in and out of a byte string, for the saved state (spec 10).
//
// Reading past the end gives zeros and remembers that it happened; the caller asks once, at the
// end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

namespace fl_deepcabac {

inline constexpr std::uint64_t kMaxVarint = 0xFFFFFFFF;

class ByteWriter {
 public:
  void write_u8(std::uint8_t value) { bytes_.push_back(value); }
  void write_u16(std::uint16_t value) {
    write_u8(static_cast<std::uint8_t>(value));
    write_u8(static_cast<std::uint8_t>(value >> 8));
  }
  void write_u32(std::uint32_t value) {
    for (int shift = 0; shift < 32; shift += 8)
      bytes_.push_back(static_cast<std::uint8_t>(value >> shift));
  }
  void write_u64(std::uint64_t value) {
    write_u32(static_cast<std::uint32_t>(value));
    write_u32(static_cast<std::uint32_t>(value >> 32));
  }
  // Seven bits a byte, least significant first, top bit set on all but the last.
  void write_varint(std::uint32_t value) {
    for (; value >= 0x80; value >>= 7)
      write_u8(static_cast<std::uint8_t>(value | 0x80));
    write_u8(static_cast<std::uint8_t>(value));
  }
  void write_bytes(const void* bytes, std::size_t n_bytes) {
    const auto* first = static_cast<const std::uint8_t*>(bytes);
    bytes_.insert(bytes_.end(), first, first + n_bytes);
  }
  [[nodiscard]] std::vector<std::uint8_t> take() { return std::move(bytes_); }

 private:
  std::vector<std::uint8_t> bytes_;
};

class ByteReader {
 public:
  explicit ByteReader(std::span<const std::uint8_t> bytes) noexcept : bytes_(bytes) {}

  [[nodiscard]] std::uint8_t read_u8() noexcept {
    if (position_ >= bytes_.size()) {
      is_overread_ = true;
      return 0;
    }
    return bytes_[position_++];
  }
  [[nodiscard]] std::uint16_t read_u16() noexcept {
    const std::uint16_t low = read_u8();
    return static_cast<std::uint16_t>(low | (read_u8() << 8));
  }
  [[nodiscard]] std::uint32_t read_u32() noexcept {
    std::uint32_t value = 0;
    for (int shift = 0; shift < 32; shift += 8)
      value |= std::uint32_t{read_u8()} << shift;
    return value;
  }
  [[nodiscard]] std::uint64_t read_u64() noexcept {
    const std::uint64_t low = read_u32();
    return low | (std::uint64_t{read_u32()} << 32);
  }
  // What `write_varint` wrote; above kMaxVarint where it is longer than it need be or too large.
  [[nodiscard]] std::uint64_t read_varint() noexcept {
    std::uint64_t value = 0;
    for (int shift = 0; shift < 35; shift += 7) {
      const std::uint8_t byte = read_u8();
      value |= std::uint64_t{byte & 0x7FU} << shift;
      if ((byte & 0x80U) == 0) return byte == 0 && shift > 0 ? kMaxVarint + 1 : value;
    }
    return kMaxVarint + 1;
  }
  void read_bytes(void* bytes, std::size_t n_bytes) noexcept {
    if (n_bytes > bytes_.size() - position_) {
      is_overread_ = true;
      position_ = bytes_.size();
      return;
    }
    if (n_bytes > 0) std::memcpy(bytes, bytes_.data() + position_, n_bytes);
    position_ += n_bytes;
  }

  [[nodiscard]] bool is_overread() const noexcept { return is_overread_; }
  [[nodiscard]] std::size_t position() const noexcept { return position_; }
  [[nodiscard]] std::size_t n_left() const noexcept { return bytes_.size() - position_; }

 private:
  std::span<const std::uint8_t> bytes_;
  std::size_t position_ = 0;  // at most bytes_.size()
  bool is_overread_ = false;  // sticky
};

}  // namespace fl_deepcabac
