// SPDX-License-Identifier: Apache-2.0
// The golden packets, as tests/golden/export_vectors.py writes them: one file a packet.
//
// Integers are little-endian. Profile u8; number of tensors u32, of each its rows and columns u32;
// then as a length u32 and bytes each: the level state before (empty where fresh), the payload, the
// levels as i32, the bits of the values as u32, the level state after.
#pragma once

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

#include "conformance_cases.hpp"
#include "fl_deepcabac/byte_io.hpp"
#include "fl_deepcabac/level_codec.hpp"

namespace fl_deepcabac::conformance {

using Bytes = std::vector<std::uint8_t>;

struct GoldenVector {
  StreamState state;
  Bytes before;
  Bytes payload;
  Bytes levels;
  Bytes values;
  Bytes after;
};

inline Bytes read_section(ByteReader& reader) {
  const std::uint32_t length = reader.read_u32();
  if (length > reader.n_left()) throw std::runtime_error("expected a whole file, found it cut");
  Bytes section(length);
  reader.read_bytes(section.data(), section.size());
  return section;
}

inline GoldenVector read_vector(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  const Bytes bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  ByteReader reader(bytes);
  const auto profile = static_cast<Profile>(reader.read_u8());
  std::vector<TensorShape> shapes;
  for (std::uint32_t left = reader.read_u32(); left > 0 && !reader.is_overread(); --left) {
    const std::uint32_t n_rows = reader.read_u32();
    shapes.push_back({n_rows, reader.read_u32()});
  }
  GoldenVector golden{StreamState(shapes, profile), {}, {}, {}, {}, {}};
  for (Bytes* section :
       {&golden.before, &golden.payload, &golden.levels, &golden.values, &golden.after})
    *section = read_section(reader);
  return golden;
}

template <class Numbers>
Bytes bytes_of(const Numbers& numbers) {
  ByteWriter writer;
  for (const auto number : numbers)
    writer.write_u32(std::bit_cast<std::uint32_t>(number));
  return writer.take();
}

inline bool is_decoded_right(const GoldenVector& golden, std::size_t n_threads) {
  StreamState state = golden.state;
  if (!golden.before.empty() && !state.load_bytes(golden.before).ok()) return false;
  CodedLevels coded;
  return decode_levels(state, golden.payload, coded, n_threads).ok() &&
         bytes_of(coded.levels) == golden.levels && bytes_of(coded.values) == golden.values &&
         state.to_bytes() == golden.after;
}

// Number of faults; `n_checked` counts the packets.
inline int check_golden(const std::string& folder, std::size_t& n_checked) {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end());
  if (paths.empty()) throw std::runtime_error("expected golden packets, found none in " + folder);
  int n_faults = 0;
  for (const auto& path : paths) {
    const GoldenVector golden = read_vector(path);
    for (const std::size_t n_threads : {1U, 3U}) {
      if (is_decoded_right(golden, n_threads)) continue;
      std::printf("FAULT %s on %zu threads\n", path.filename().c_str(), n_threads);
      ++n_faults;
    }
    ++n_checked;
  }
  return n_faults;
}

}  // namespace fl_deepcabac::conformance
