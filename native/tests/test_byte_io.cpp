// SPDX-License-Identifier: Apache-2.0
#include "fl_deepcabac/byte_io.hpp"

#include <array>
#include <utility>

#include "check.hpp"
#include "random.hpp"

namespace fl_deepcabac::testing {
namespace {

void test_integers_are_little_endian_and_come_back() {
  ByteWriter writer;
  writer.write_u8(0x01);
  writer.write_u16(0x0302);
  writer.write_u32(0x07060504);
  writer.write_u64(0x0F0E0D0C0B0A0908);
  const std::vector<std::uint8_t> bytes = writer.take();
  check_equal(bytes.size(), 15U);
  for (std::size_t i = 0; i < bytes.size(); ++i)
    check_equal(bytes[i], i + 1);

  ByteReader reader(bytes);
  check_equal(reader.read_u8(), 0x01U);
  check_equal(reader.read_u16(), 0x0302U);
  check_equal(reader.read_u32(), 0x07060504U);
  check_equal(reader.position(), 7U);
  check_equal(reader.n_left(), 8U);
  check(reader.read_u64() == 0x0F0E0D0C0B0A0908, "a u64 to come back");
  check(!reader.is_overread(), "no read past the end");
  check_equal(reader.n_left(), 0U);
}

void test_largest_integers_come_back() {
  ByteWriter writer;
  writer.write_u16(0xFFFF);
  writer.write_u32(0xFFFFFFFF);
  writer.write_u64(0xFFFFFFFFFFFFFFFF);
  const std::vector<std::uint8_t> bytes = writer.take();
  ByteReader reader(bytes);
  check_equal(reader.read_u16(), 0xFFFFU);
  check_equal(reader.read_u32(), 0xFFFFFFFFU);
  check(reader.read_u64() == 0xFFFFFFFFFFFFFFFF, "all bits set");
}

void test_bytes_come_back() {
  const std::array<std::int8_t, 3> written{-1, 0, 5};
  ByteWriter writer;
  writer.write_bytes(written.data(), written.size());
  writer.write_bytes(nullptr, 0);
  const std::vector<std::uint8_t> bytes = writer.take();
  std::array<std::int8_t, 3> read{};
  ByteReader reader(bytes);
  reader.read_bytes(read.data(), read.size());
  reader.read_bytes(nullptr, 0);
  check_equal(read, written);
  check(!reader.is_overread(), "no read past the end");
}

// Seven bits a byte, least significant first.
void test_varints_by_hand() {
  const std::pair<std::uint32_t, std::vector<std::uint8_t>> cases[] = {
      {0, {0x00}},
      {1, {0x01}},
      {127, {0x7F}},
      {128, {0x80, 0x01}},
      {300, {0xAC, 0x02}},
      {(1U << 14) - 1, {0xFF, 0x7F}},
      {1U << 14, {0x80, 0x80, 0x01}},
      {1U << 28, {0x80, 0x80, 0x80, 0x80, 0x01}},
      {0xFFFFFFFF, {0xFF, 0xFF, 0xFF, 0xFF, 0x0F}}};
  for (const auto& [value, bytes] : cases) {
    ByteWriter writer;
    writer.write_varint(value);
    check_equal(writer.take(), bytes);
    ByteReader reader(bytes);
    check_equal(reader.read_varint(), std::uint64_t{value});
    check_equal(reader.n_left(), 0U);
    check(!reader.is_overread(), "no read past the end");
  }
}

void test_varints_of_every_length_come_back() {
  Random random(21);
  std::vector<std::uint32_t> values;
  ByteWriter writer;
  for (int i = 0; i < 5000; ++i) {
    values.push_back(static_cast<std::uint32_t>((random.next() >> 32) >> random.below(33)));
    writer.write_varint(values.back());
  }
  const std::vector<std::uint8_t> bytes = writer.take();
  ByteReader reader(bytes);
  for (const std::uint32_t value : values)
    check_equal(reader.read_varint(), std::uint64_t{value});
  check_equal(reader.n_left(), 0U);
  check(!reader.is_overread(), "no read past the end");
}

// Longer than it need be, or too large.
void test_other_varints_are_told_apart() {
  const std::vector<std::uint8_t> cases[] = {{0x80, 0x00},
                                             {0xFF, 0x00},
                                             {0x80, 0x80, 0x00},
                                             {0xFF, 0xFF, 0xFF, 0xFF, 0x00},
                                             {0x80, 0x80, 0x80, 0x80, 0x10},
                                             {0xFF, 0xFF, 0xFF, 0xFF, 0x7F},
                                             {0x80, 0x80, 0x80, 0x80, 0x80, 0x01},
                                             {0x80, 0x80, 0x80, 0x80, 0x80, 0x00}};
  for (const auto& bytes : cases) {
    ByteReader reader(bytes);
    check(reader.read_varint() > kMaxVarint, "no varint");
    check(!reader.is_overread(), "no read past the end");
    check(reader.position() <= 5, "five bytes at most");
  }
}

void test_cut_varints_are_overread() {
  const std::vector<std::uint8_t> bytes{0xFF, 0xFF, 0xFF, 0xFF, 0x0F};
  for (std::size_t n_bytes = 0; n_bytes < bytes.size(); ++n_bytes) {
    ByteReader reader({bytes.data(), n_bytes});
    (void)reader.read_varint();
    check(reader.is_overread(), "the read past the end to be remembered");
  }
}

void test_reading_past_the_end_gives_zeros_and_is_remembered() {
  const std::vector<std::uint8_t> bytes{0xAA, 0xBB};
  ByteReader reader(bytes);
  check_equal(reader.read_u32(), 0xBBAAU);
  check(reader.is_overread(), "the read past the end to be remembered");
  check_equal(reader.position(), 2U);
  check_equal(reader.read_u8(), 0U);

  ByteReader fresh(bytes);
  std::array<std::uint8_t, 3> target{7, 7, 7};
  fresh.read_bytes(target.data(), target.size());
  check(fresh.is_overread(), "the read past the end to be remembered");
  check_equal(target, std::array<std::uint8_t, 3>{7, 7, 7});
  check_equal(fresh.n_left(), 0U);
  fresh.read_bytes(nullptr, 0);
  check(fresh.is_overread(), "a good read not to clear the flag");
}

void test_reader_of_nothing_is_overread_by_the_first_byte() {
  ByteReader reader({});
  check(!reader.is_overread(), "nothing read yet");
  check_equal(reader.read_u8(), 0U);
  check(reader.is_overread(), "the read past the end to be remembered");
}

}  // namespace
}  // namespace fl_deepcabac::testing

int main() {
  using namespace fl_deepcabac::testing;
  return run_tests({
      {"integers_are_little_endian_and_come_back", test_integers_are_little_endian_and_come_back},
      {"largest_integers_come_back", test_largest_integers_come_back},
      {"bytes_come_back", test_bytes_come_back},
      {"varints_by_hand", test_varints_by_hand},
      {"varints_of_every_length_come_back", test_varints_of_every_length_come_back},
      {"other_varints_are_told_apart", test_other_varints_are_told_apart},
      {"cut_varints_are_overread", test_cut_varints_are_overread},
      {"reading_past_the_end_gives_zeros_and_is_remembered",
       test_reading_past_the_end_gives_zeros_and_is_remembered},
      {"reader_of_nothing_is_overread_by_the_first_byte",
       test_reader_of_nothing_is_overread_by_the_first_byte},
  });
}
