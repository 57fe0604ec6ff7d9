// SPDX-License-Identifier: Apache-2.0
#include "fl_deepcabac/stream_state.hpp"

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <utility>

#include "fl_deepcabac/byte_io.hpp"
#include "fl_deepcabac/parallel.hpp"
#include "fl_deepcabac/step.hpp"

namespace fl_deepcabac {
namespace {

constexpr std::uint8_t kStateVersion = 1;
constexpr std::int8_t kInvalidSignedCode = -128;

// Visits every context model and every mixer of a state in saved order (spec 10.2).
template <class State, class ModelVisitor, class MixerVisitor>
void visit_contexts(State& state, ModelVisitor&& visit_model, MixerVisitor&& visit_mixer) {
  TensorContexts::visit_models(state.tensor_contexts, visit_model);
  visit_context_sets(state, [&](auto& sets) {
    for (auto& contexts : sets) {
      using Contexts = std::remove_const_t<std::remove_reference_t<decltype(contexts)>>;
      Contexts::visit_models(contexts, visit_model);
      Contexts::visit_mixers(contexts, visit_mixer);
    }
  });
}

// A value outside its range, unless it is one because the bytes ended in it.
Result fault_at(const ByteReader& reader) {
  return {reader.is_overread() ? Status::kStateTruncated : Status::kStateValue,
          static_cast<std::int64_t>(reader.position())};
}

Result read_contexts(StreamState& state, ByteReader& reader) {
  bool is_valid = true;
  const auto read_model = [&](BitModel& model) {
    const std::uint32_t fast = reader.read_u32();
    const std::uint32_t slow = reader.read_u32();
    model = BitModel(fast, slow, reader.read_u8());
    is_valid =
        is_valid && std::min(fast, slow) >= kLeastEstimate && std::max(fast, slow) <= kMostEstimate;
  };
  const auto read_mixer = [&](auto& mixer) {
    for (std::int32_t& weight : mixer.weights) {
      weight = static_cast<std::int32_t>(reader.read_u32());
      is_valid = is_valid && weight >= -mixer.kMaxWeight && weight <= mixer.kMaxWeight;
    }
    mixer.count = reader.read_u16();
    is_valid = is_valid && mixer.count <= kSettledMixer;
  };
  visit_contexts(state, read_model, read_mixer);
  return is_valid ? Result{} : fault_at(reader);
}

}  // namespace

StreamState::StreamState(std::vector<TensorShape> tensor_shapes, Profile stream_profile)
    : shapes(std::move(tensor_shapes)), profile(stream_profile), level_contexts(stream_profile) {
  std::size_t n_levels = 0;
  for (const TensorShape& shape : shapes)
    n_levels += shape.n_levels();
  step_bits.assign(shapes.size(), 0);
  offsets.assign(shapes.size(), {});
  magnitude_history.assign(n_levels, 0);
  signed_history.assign(n_levels, 0);
}

StreamState copy_of(const StreamState& state, const Execution& execution) {
  StreamState copy;
  copy.shapes = state.shapes;
  copy.profile = state.profile;
  copy.level_contexts = state.level_contexts;
  copy.tensor_contexts = state.tensor_contexts;
  copy.step_bits = state.step_bits;
  copy.offsets = state.offsets;
  copy.magnitude_history.resize(state.n_levels());
  copy.signed_history.resize(state.n_levels());
  constexpr std::size_t kShare = std::size_t{1} << 20;
  run_parallel((state.n_levels() + kShare - 1) / kShare, execution, [&](std::size_t share) {
    const std::size_t begin = share * kShare;
    const std::size_t length = std::min(kShare, state.n_levels() - begin);
    std::memcpy(copy.magnitude_history.data() + begin, state.magnitude_history.data() + begin,
                length);
    std::memcpy(copy.signed_history.data() + begin, state.signed_history.data() + begin, length);
  });
  return copy;
}

std::vector<std::uint8_t> StreamState::to_bytes() const {
  ByteWriter writer;
  writer.write_u8(kStateVersion);
  writer.write_u8(static_cast<std::uint8_t>(profile));
  writer.write_u32(static_cast<std::uint32_t>(shapes.size()));
  writer.write_u64(n_levels());
  const auto write_model = [&](const BitModel& model) {
    writer.write_u32(model.fast());
    writer.write_u32(model.slow());
    writer.write_u8(static_cast<std::uint8_t>(std::min(model.count(), kSettled)));
  };
  const auto write_mixer = [&](const auto& mixer) {
    for (const std::int32_t weight : mixer.weights)
      writer.write_u32(static_cast<std::uint32_t>(weight));
    writer.write_u16(static_cast<std::uint16_t>(std::min(mixer.count, kSettledMixer)));
  };
  visit_contexts(*this, write_model, write_mixer);
  for (const std::uint32_t bits : step_bits)
    writer.write_u32(bits);
  for (const Offsets& tensor : offsets) {
    for (const std::int8_t offset : tensor.values)
      writer.write_u8(static_cast<std::uint8_t>(offset));
  }
  writer.write_bytes(magnitude_history.data(), magnitude_history.size());
  writer.write_bytes(signed_history.data(), signed_history.size());
  return writer.take();
}

Result StreamState::load_bytes(std::span<const std::uint8_t> bytes) {
  ByteReader reader(bytes);
  if (bytes.empty()) return {Status::kStateTruncated, 0};
  if (reader.read_u8() != kStateVersion) return {Status::kStateVersion, 0};
  const bool fits = reader.read_u8() == static_cast<std::uint8_t>(profile) &&
                    reader.read_u32() == shapes.size() && reader.read_u64() == n_levels();
  if (!fits) return {reader.is_overread() ? Status::kStateTruncated : Status::kStateLayout, 1};
  if (const Result result = read_contexts(*this, reader); !result.ok()) return result;
  for (std::uint32_t& bits : step_bits) {
    bits = reader.read_u32();
    if (bits != 0 && !is_valid_step(bits)) return fault_at(reader);
  }
  for (Offsets& tensor : offsets) {
    for (std::int8_t& offset : tensor.values) {
      offset = static_cast<std::int8_t>(reader.read_u8());
      if (offset < -kMaxOffset) return fault_at(reader);
    }
  }
  reader.read_bytes(magnitude_history.data(), magnitude_history.size());
  reader.read_bytes(signed_history.data(), signed_history.size());
  const auto position = static_cast<std::int64_t>(reader.position());
  if (reader.is_overread()) return {Status::kStateTruncated, position};
  if (reader.n_left() != 0) return {Status::kStateTrailing, position};
  for (const std::int8_t code : signed_history) {
    if (code == kInvalidSignedCode) return {Status::kStateValue, position};
  }
  return {};
}

}  // namespace fl_deepcabac
