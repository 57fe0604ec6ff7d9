// SPDX-License-Identifier: Apache-2.0
// What the plain decoder keeps of a stream (spec 7.1, 7.4, 10.2): contexts, steps, offsets and
// histories, from and to the bytes of the saved state.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "fl_deepcabac/byte_io.hpp"
#include "plain_contexts.hpp"
#include "plain_walk.hpp"

namespace fl_deepcabac::testing {

using PlainOffsets = std::array<std::int64_t, 7>;  // in the order of spec 5.7

inline constexpr std::int64_t kPlainLeastStep = (127 - 100) << 23;  // bits of 2^-100
inline constexpr std::int64_t kPlainLargestStep = (127 + 100) << 23;

struct PlainState {
  std::vector<PlainShape> shapes;
  bool is_max = false;
  PlainTensorContexts tensor_contexts;
  std::vector<PlainLevelContexts> sets;  // tensors of one row, all others (spec 7.1)
  std::vector<std::int64_t> steps;       // bits, 0 for none
  std::vector<PlainOffsets> offsets;
  // Codes of all levels, tensors end to end.
  std::vector<std::int64_t> magnitudes;
  std::vector<std::int64_t> signed_averages;

  // Fresh.
  PlainState(std::vector<PlainShape> tensors, bool max);

  [[nodiscard]] std::size_t n_levels() const { return magnitudes.size(); }
  // Where the levels of a tensor begin among all.
  [[nodiscard]] std::size_t first_level(std::size_t tensor) const {
    std::size_t n = 0;
    for (std::size_t t = 0; t < tensor; ++t)
      n += shapes.at(t).n_levels();
    return n;
  }

  [[nodiscard]] std::vector<std::uint8_t> to_bytes() const;
  // Nothing where spec 10.3 has the bytes rejected.
  [[nodiscard]] static std::optional<PlainState> load(std::vector<PlainShape> shapes, bool is_max,
                                                      std::span<const std::uint8_t> bytes);
};

inline PlainState::PlainState(std::vector<PlainShape> tensors, bool max)
    : shapes(std::move(tensors)),
      is_max(max),
      sets(2, PlainLevelContexts(max)),
      steps(shapes.size(), 0),
      offsets(shapes.size(), PlainOffsets{}),
      magnitudes(first_level(shapes.size()), 0),
      signed_averages(magnitudes.size(), 0) {}

// Spec 10.2, written: numbers of so many bytes, two's complement, larger counts as the largest.
class PlainStateWriter {
 public:
  void number(std::int64_t value, int n_bytes) {
    for (int i = 0; i < n_bytes; ++i)
      bytes_.push_back(static_cast<std::uint8_t>(value >> (8 * i)));
  }
  void contexts(const std::vector<PlainContext>& contexts) {
    for (const PlainContext& context : contexts) {
      number(context.fast, 4);
      number(context.slow, 4);
      number(std::min<std::int64_t>(context.count, 255), 1);
    }
  }
  void mixers(const std::vector<PlainMixer>& mixers) {
    for (const PlainMixer& mixer : mixers) {
      for (std::size_t j = 0; j < mixer.n_inputs; ++j)
        number(mixer.weights.at(j), 4);
      number(std::min<std::int64_t>(mixer.count, 4096), 2);
    }
  }
  [[nodiscard]] std::vector<std::uint8_t> take() { return std::move(bytes_); }

 private:
  std::vector<std::uint8_t> bytes_;
};

inline std::vector<std::uint8_t> PlainState::to_bytes() const {
  PlainStateWriter writer;
  writer.number(1, 1);
  writer.number(is_max ? 1 : 0, 1);
  writer.number(static_cast<std::int64_t>(shapes.size()), 4);
  writer.number(static_cast<std::int64_t>(n_levels()), 8);
  writer.contexts(tensor_contexts.all);
  for (const PlainLevelContexts& set : sets) {
    writer.contexts(set.all);
    writer.mixers(set.mixers);
  }
  for (const std::int64_t step : steps)
    writer.number(step, 4);
  for (const PlainOffsets& own : offsets) {
    for (const std::int64_t offset : own)
      writer.number(offset, 1);
  }
  for (const std::int64_t code : magnitudes)
    writer.number(code, 1);
  for (const std::int64_t code : signed_averages)
    writer.number(code, 1);
  return writer.take();
}

// Spec 10.2, read, with the bounds of spec 10.3. After the first fault numbers mean nothing.
class PlainStateReader {
 public:
  explicit PlainStateReader(std::span<const std::uint8_t> bytes) : reader_(bytes) {}

  void expected(std::uint64_t found, std::uint64_t value) { is_good_ = is_good_ && found == value; }
  void header(const PlainState& state) {
    expected(reader_.read_u8(), 1);
    expected(reader_.read_u8(), state.is_max ? 1 : 0);
    expected(reader_.read_u32(), state.shapes.size());
    expected(reader_.read_u64(), state.n_levels());
  }
  void contexts(std::vector<PlainContext>& contexts) {
    for (PlainContext& context : contexts) {
      context.fast = within(reader_.read_u32(), kPlainLeastEstimate, kPlainLargestEstimate);
      context.slow = within(reader_.read_u32(), kPlainLeastEstimate, kPlainLargestEstimate);
      context.count = reader_.read_u8();
    }
  }
  void mixers(std::vector<PlainMixer>& mixers) {
    for (PlainMixer& mixer : mixers) {
      for (std::size_t j = 0; j < mixer.n_inputs; ++j) {
        const auto weight = static_cast<std::int32_t>(reader_.read_u32());
        mixer.weights.at(j) = within(weight, -kPlainLargestWeight, kPlainLargestWeight);
      }
      mixer.count = within(reader_.read_u16(), 0, 4096);
    }
  }
  std::int64_t step() {
    const std::int64_t bits = reader_.read_u32();
    return bits == 0 ? 0 : within(bits, kPlainLeastStep, kPlainLargestStep);
  }
  std::int64_t signed_byte() {
    return within(static_cast<std::int8_t>(reader_.read_u8()), -127, 127);
  }
  std::int64_t byte() { return reader_.read_u8(); }
  [[nodiscard]] bool is_good_and_at_the_end() const {
    return is_good_ && !reader_.is_overread() && reader_.n_left() == 0;
  }

 private:
  std::int64_t within(std::int64_t number, std::int64_t least, std::int64_t largest) {
    is_good_ = is_good_ && number >= least && number <= largest;
    return number;
  }

  ByteReader reader_;
  bool is_good_ = true;
};

inline std::optional<PlainState> PlainState::load(std::vector<PlainShape> shapes, bool is_max,
                                                  std::span<const std::uint8_t> bytes) {
  PlainState state(std::move(shapes), is_max);
  PlainStateReader reader(bytes);
  reader.header(state);
  reader.contexts(state.tensor_contexts.all);
  for (PlainLevelContexts& set : state.sets) {
    reader.contexts(set.all);
    reader.mixers(set.mixers);
  }
  for (std::int64_t& step : state.steps)
    step = reader.step();
  for (PlainOffsets& own : state.offsets) {
    for (std::int64_t& offset : own)
      offset = reader.signed_byte();
  }
  for (std::int64_t& code : state.magnitudes)
    code = reader.byte();
  for (std::int64_t& code : state.signed_averages)
    code = reader.signed_byte();
  if (!reader.is_good_and_at_the_end()) return std::nullopt;
  return state;
}

// The history of a tensor in units of another step (spec 7.5); both are the bits of good steps.
inline void rescale_history(PlainState& state, std::size_t tensor, std::int64_t old_step,
                            std::int64_t new_step) {
  const auto exponent = [](std::int64_t bits) { return bits >> 23; };
  const auto mantissa = [](std::int64_t bits) { return (1 << 23) | (bits & ((1 << 23) - 1)); };
  constexpr std::int64_t kLargestRatio = std::int64_t{1} << 32;
  const std::int64_t x = 16 + exponent(old_step) - exponent(new_step);
  std::int64_t ratio = 0;
  if (x > 33) {
    ratio = kLargestRatio;
  } else if (x >= -1) {
    const std::int64_t scaled =
        x == -1 ? mantissa(old_step) / 2 : std::int64_t{mantissa(old_step)} << x;
    ratio = std::min(scaled / mantissa(new_step), kLargestRatio);
  }
  const auto rescaled = [&](std::int64_t value) {
    return std::min((value * ratio + (1 << 15)) >> 16, std::int64_t{1} << 30);
  };
  const std::size_t begin = state.first_level(tensor);
  for (std::size_t i = begin; i < begin + state.shapes.at(tensor).n_levels(); ++i) {
    std::int64_t& magnitude = state.magnitudes.at(i);
    magnitude = history_code(rescaled(history_value(magnitude)), kLargestMagnitudeCode);
    std::int64_t& average = state.signed_averages.at(i);
    average = sign_of(average) * signed_code(rescaled(history_value(std::abs(average))));
  }
}

// The history after a packet, which had a level at the place `l` there (spec 7.4).
inline void move_history(PlainState& state, std::size_t i, std::int64_t l) {
  l = std::clamp<std::int64_t>(l, -(1 << 21), 1 << 21);
  std::int64_t& magnitude = state.magnitudes.at(i);
  magnitude =
      history_code((history_value(magnitude) + 16 * std::abs(l)) / 2, kLargestMagnitudeCode);
  const std::int64_t t = signed_value(state.signed_averages.at(i)) + 16 * l;
  state.signed_averages.at(i) = signed_code(sign_of(t) * (std::abs(t) / 2));
}

}  // namespace fl_deepcabac::testing
