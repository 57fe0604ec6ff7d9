// SPDX-License-Identifier: Apache-2.0
// Any settings, steps and values are encoded, and arrive.
//
// Input: a byte that chooses the layout, a byte of settings, then what `Source` makes numbers of,
// packet after packet until it is used up. What cannot be encoded is refused with the place of a
// number that is really at fault; what can comes out of the decoder as the encoder said it would.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>

#include "fl_deepcabac/level_codec.hpp"
#include "fl_deepcabac/step.hpp"
#include "fuzz_target.hpp"

namespace fl_deepcabac::fuzzing {
namespace {

constexpr int kMostPackets = 4;

// Numbers from bytes; zeros once there are no more.
class Source {
 public:
  explicit Source(std::span<const std::uint8_t> bytes) : bytes_(bytes) {}

  [[nodiscard]] bool is_empty() const { return bytes_.empty(); }
  std::uint8_t byte() {
    if (bytes_.empty()) return 0;
    const std::uint8_t first = bytes_.front();
    bytes_ = bytes_.subspan(1);
    return first;
  }
  std::uint32_t word() {
    std::uint32_t value = 0;
    for (int i = 0; i < 4; ++i)
      value = (value << 8) | byte();
    return value;
  }
  // Float32 bits of a step, most of them valid.
  std::uint32_t step() {
    static constexpr std::array<std::uint32_t, 6> kSteps{kMinStepBits, kMaxStepBits, 0x3C000000,
                                                         0x3F800000,   0x3F800001,   0x2F123456};
    const std::uint8_t kind = byte();
    return kind < kSteps.size() ? kSteps[kind]
                                : (kind == 6 ? word() : 0x38000000U | (std::uint32_t{kind} << 16));
  }
  // Values of a tensor in runs of one kind.
  void fill(std::span<float> values, float step) {
    while (!values.empty()) {
      const std::uint8_t control = byte();
      const std::size_t length = std::min<std::size_t>((control & 31U) + 1U, values.size());
      for (float& value : values.first(length))
        value = number(control >> 5, step);
      values = values.subspan(length);
    }
  }

 private:
  float number(unsigned kind, float step) {
    static constexpr float kInfinity = std::numeric_limits<float>::infinity();
    switch (kind) {
      case 0:
        return 0.0F;
      case 1:
        return step * static_cast<float>(static_cast<std::int8_t>(byte()) % 4) / 2;
      case 2:
        return step * static_cast<float>(static_cast<std::int8_t>(byte()));
      case 3:
        return step * static_cast<float>(static_cast<std::int32_t>(word()) >> 7);
      case 4:
        return step * std::ldexp((byte() & 1U) != 0 ? 1.0F : -1.0F, 24);
      case 5:
        return std::bit_cast<float>(word());
      case 6:
        return step * std::ldexp(static_cast<float>(static_cast<std::int8_t>(byte())), -6);
      default:
        return byte() == 0xFF ? kInfinity : step;
    }
  }

  std::span<const std::uint8_t> bytes_;
};

struct Update {
  std::vector<float> values;
  std::vector<float> importance;
  std::vector<std::uint32_t> steps;
  Choice choice;
};

Update next_update(const StreamState& state, std::uint8_t settings, Source& source) {
  static constexpr std::array<float, 4> kPrices{0.0F, 0.02F, 0.13F, 1000.0F};
  Update update;
  update.values.resize(state.n_levels());
  std::span<float> rest(update.values);
  for (const TensorShape& shape : state.shapes) {
    update.steps.push_back(source.step());
    source.fill(rest.first(shape.n_levels()), std::bit_cast<float>(update.steps.back()));
    rest = rest.subspan(shape.n_levels());
  }
  if ((settings & 4U) != 0) {
    for (std::size_t i = 0; i < update.values.size(); ++i)
      update.importance.push_back(static_cast<float>((i * settings) % 5));
  }
  update.choice = {.price = kPrices[(settings >> 4) & 3U],
                   .is_dependent = (settings & 1U) != 0,
                   .importance = update.importance,
                   .fits_offsets = (settings & 2U) == 0};
  return update;
}

bool has_level(float value, std::uint32_t step_bits) {
  return std::fabs(value) <= 0x1p24F * std::bit_cast<float>(step_bits);
}

// The place of a refusal is that of a number that deserves it.
void check_refusal(const StreamState& state, const Update& update, const Result& result) {
  const auto at = static_cast<std::size_t>(result.position);
  if (result.status == Status::kStepRange) {
    expect(at < update.steps.size() && !is_valid_step(update.steps[at]), "an invalid step there");
    return;
  }
  expect(result.status == Status::kNonFinite || result.status == Status::kLevelRange,
         "a refusal for numbers");
  expect(at < update.values.size(), "a place among the values");
  std::size_t tensor = 0;
  for (std::size_t end = state.shapes[0].n_levels(); at >= end;)
    end += state.shapes[++tensor].n_levels();
  expect(!has_level(update.values[at], update.steps[tensor]), "a value without a level there");
  expect(std::isfinite(update.values[at]) == (result.status == Status::kLevelRange),
         "the right reason");
}

void check_arrives(StreamState& receiver, const StreamState& sender, const CodedLevels& sent) {
  CodedLevels received;
  const ExactBytes payload(sent.payload);
  expect(decode_levels(receiver, payload.span(), received).ok(), "an encoded payload to decode");
  expect(received.levels == sent.levels, "the same levels");
  expect(same_bits(received.values, sent.values), "the same values");
  expect(received.step_bits == sent.step_bits, "the same steps");
  expect(received.tensor_nonzeros == sent.tensor_nonzeros, "the same numbers of levels");
  expect(receiver == sender, "equal states on both ends");
}

}  // namespace
}  // namespace fl_deepcabac::fuzzing

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t n_bytes) {
  using namespace fl_deepcabac;
  using namespace fl_deepcabac::fuzzing;
  if (n_bytes < 2) return 0;
  StreamState sender = chosen_state(bytes[0]);
  StreamState receiver = sender;
  Source source({bytes + 2, n_bytes - 2});
  for (int packet = 0; packet < kMostPackets && !source.is_empty(); ++packet) {
    const Update update = next_update(sender, bytes[1], source);
    StreamState after = sender;
    CodedLevels sent;
    const Result result = encode_values(after, update.values, update.steps, update.choice, sent);
    if (!result.ok()) {
      check_refusal(sender, update, result);
      continue;
    }
    if ((bytes[1] & 8U) != 0) {  // the same by way of given levels
      const CodedLevels chosen = sent;
      after = sender;
      const OffsetFit fit{update.values, update.choice.price};
      expect(encode_levels(after, chosen.levels, update.steps, sent, 1, fit).ok(),
             "chosen levels to be good levels");
      expect(sent.levels == chosen.levels, "the levels that were given");
    }
    sender = after;
    check_arrives(receiver, sender, sent);
  }
  return 0;
}
