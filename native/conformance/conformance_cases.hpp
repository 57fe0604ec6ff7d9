// SPDX-License-Identifier: Apache-2.0
// Streams that between them use everything an encoder can do, made up the same on every machine.
#pragma once

#include <bit>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <vector>

#include "fl_deepcabac/byte_io.hpp"
#include "fl_deepcabac/level_codec.hpp"
#include "random.hpp"
#include "update_source.hpp"

namespace fl_deepcabac::conformance {

using testing::Random;

// How the levels of a stream are chosen.
enum class Way { kValues, kGivenLevels, kImportance, kGrid };

// What the values are like.
enum class Values { kTrained, kSparse, kExtreme };

struct Case {
  const char* name;
  Profile profile = Profile::kFast;
  Way way = Way::kValues;
  Values values = Values::kTrained;
  bool is_dependent = false;
  float price = 0.13F;
  bool is_large = false;  // several chunks
  int n_packets = 4;
};

inline const std::vector<Case>& cases() {
  constexpr Profile kFast = Profile::kFast;
  constexpr Profile kMax = Profile::kMax;
  static const std::vector<Case> all{
      {.name = "fast", .price = 0.01F},
      {.name = "fast_dependent", .is_dependent = true},
      {.name = "fast_levels", .way = Way::kGivenLevels},
      {.name = "fast_importance", .way = Way::kImportance},
      {.name = "fast_grid", .way = Way::kGrid, .price = 0.01F},
      {.name = "fast_sparse", .values = Values::kSparse},
      {.name = "fast_extreme", .way = Way::kGrid, .values = Values::kExtreme},
      {.name = "max", .profile = kMax, .price = 0.01F},
      {.name = "max_dependent", .profile = kMax, .is_dependent = true, .price = 0.01F},
      {.name = "max_levels", .profile = kMax, .way = Way::kGivenLevels, .price = 0.01F},
      {.name = "max_importance", .profile = kMax, .way = Way::kImportance, .is_dependent = true},
      {.name = "max_grid", .profile = kMax, .way = Way::kGrid, .is_dependent = true},
      {.name = "max_sparse", .profile = kMax, .values = Values::kSparse, .is_dependent = true},
      {.name = "max_extreme", .profile = kMax, .way = Way::kGrid, .values = Values::kExtreme},
      {.name = "fast_large",
       .profile = kFast,
       .values = Values::kSparse,
       .is_large = true,
       .n_packets = 2},
      {.name = "max_large",
       .profile = kMax,
       .values = Values::kSparse,
       .is_dependent = true,
       .is_large = true,
       .n_packets = 2},
  };
  return all;
}

inline std::vector<TensorShape> shapes_of(const Case& made) {
  if (made.is_large) return {{700, 900}, {1, 130000}, {0, 4}, {90000, 1}, {3, 30}, {1, 1}};
  return {{40, 90}, {1, 40}, {0, 7}, {33, 2}, {1, 1}, {150, 9}, {7, 1}};
}

// Values in units of a step of 2^-6.
class ValueSource {
 public:
  explicit ValueSource(const Case& made)
      : kind_(made.values), trained_(shapes_of(made), 11), random_(12) {}

  std::vector<float> next() {
    std::vector<float> values;
    if (kind_ == Values::kTrained) {
      values = trained_.next();
      for (float& value : values)
        value *= 3.0F;  // about one in three has a level other than zero
    } else {
      for (const TensorShape& shape : trained_.shapes())
        values.resize(values.size() + shape.n_levels(), 0.0F);
      const float density = kind_ == Values::kSparse ? 0.004F : 0.5F;
      for (float& value : values) {
        if (random_.chance(density)) value = some_value();
      }
    }
    for (float& value : values)
      value *= 0x1p-6F;
    return values;
  }

 private:
  float some_value() {
    if (kind_ == Values::kSparse) return 2.0F * random_.heavy_tailed();
    // Whole steps of every size up to the largest.
    const std::int32_t most = 1 << random_.below(25);
    return static_cast<float>(random_.between(-most, most));
  }

  Values kind_;
  testing::UpdateSource trained_;
  Random random_;
};

// Steps that stay, move a little, and move far.
inline std::vector<std::uint32_t> steps_of(const Case& made, std::size_t n_tensors, int packet) {
  std::vector<std::uint32_t> steps(n_tensors, std::bit_cast<std::uint32_t>(0x1p-6F));
  if (made.values == Values::kExtreme) return steps;
  if (packet == 2) {
    for (std::size_t tensor = 0; tensor < n_tensors; ++tensor)
      steps[tensor] += static_cast<std::uint32_t>(tensor << 20) + (tensor % 2 == 0 ? 0x345 : 0);
  }
  return steps;
}

template <class Numbers>
std::uint32_t checksum(const Numbers& numbers) {
  ByteWriter writer;
  for (const auto number : numbers)
    writer.write_u32(std::bit_cast<std::uint32_t>(number));
  return testing::crc32(writer.take());
}

inline void require(bool holds, const char* expectation, const Case& made) {
  if (!holds) throw std::runtime_error(std::string(made.name) + ": expected " + expectation);
}

inline CodedLevels encode(StreamState& state, const Case& made, const std::vector<float>& values,
                          const std::vector<std::uint32_t>& steps, std::size_t n_threads) {
  std::vector<float> importance;
  if (made.way == Way::kImportance) {
    Random random(13);
    for (std::size_t i = 0; i < values.size(); ++i)
      importance.push_back(2.0F * random.unit());
  }
  const Choice choice{.price = made.price,
                      .is_dependent = made.is_dependent,
                      .importance = importance,
                      .fits_offsets = made.way != Way::kGrid};
  CodedLevels coded;
  if (made.way != Way::kGivenLevels) {
    require(encode_values(state, values, steps, choice, coded, n_threads).ok(), "values coded",
            made);
    return coded;
  }
  std::vector<std::int32_t> levels;
  for (const float value : values)
    levels.push_back(static_cast<std::int32_t>(value * 0x1p6F));
  const OffsetFit fit{values, made.price};
  require(encode_levels(state, levels, steps, coded, n_threads, fit).ok(), "levels coded", made);
  return coded;
}

// A line for each packet; what is decoded must be what was encoded.
inline std::vector<std::string> run_case(const Case& made, std::size_t n_threads) {
  StreamState sender(shapes_of(made), made.profile);
  StreamState receiver = sender;
  ValueSource source(made);
  std::vector<std::string> lines;
  for (int packet = 0; packet < made.n_packets; ++packet) {
    const std::vector<std::uint32_t> steps = steps_of(made, sender.shapes.size(), packet);
    const CodedLevels sent = encode(sender, made, source.next(), steps, n_threads);
    CodedLevels received;
    require(decode_levels(receiver, sent.payload, received, n_threads).ok(), "a packet to decode",
            made);
    require(received.levels == sent.levels, "the levels that were sent", made);
    require(checksum(received.values) == checksum(sent.values), "the values sent", made);
    const std::vector<std::uint8_t> saved = receiver.to_bytes();
    require(saved == sender.to_bytes(), "equal states", made);
    char line[120];
    std::snprintf(line, sizeof line, "%s %d %zu %08x %08x %08x %08x", made.name, packet,
                  sent.payload.size(), static_cast<unsigned>(testing::crc32(sent.payload)),
                  static_cast<unsigned>(checksum(sent.levels)),
                  static_cast<unsigned>(checksum(sent.values)),
                  static_cast<unsigned>(testing::crc32(saved)));
    lines.emplace_back(line);
  }
  return lines;
}

}  // namespace fl_deepcabac::conformance
