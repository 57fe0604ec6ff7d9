// SPDX-License-Identifier: Apache-2.0
#include "fl_deepcabac/level_syntax.hpp"

#include <memory>
#include <vector>

#include "check.hpp"
#include "fl_deepcabac/mixed_contexts.hpp"
#include "fl_deepcabac/step.hpp"
#include "level_bins.hpp"
#include "random.hpp"

namespace fl_deepcabac::testing {
namespace {

constexpr LevelFeatures kFeatures{};

// Every class of magnitude: unary ones, the first remainders, and both sides of every power of two.
std::vector<std::int32_t> levels_of_every_class() {
  std::vector<std::int32_t> levels;
  for (std::int32_t magnitude = 0; magnitude <= 40; ++magnitude)
    levels.push_back(magnitude);
  for (int exponent = 6; exponent <= 24; ++exponent) {
    for (const std::int32_t offset : {-1, 0, 1, 9, 10, 11, 12}) {
      levels.push_back(std::min((1 << exponent) + offset, kMaxLevel));
    }
  }
  const std::size_t n_positive = levels.size();
  for (std::size_t i = 0; i < n_positive; ++i)
    levels.push_back(-levels[i]);
  return levels;
}

template <class Contexts>
void check_levels_come_back() {
  const std::vector<std::int32_t> levels = levels_of_every_class();
  check_equal(levels.back(), -kMaxLevel);
  BinEncoder encoder;
  EncodedBins<> encoded{encoder};
  const auto written = std::make_unique<Contexts>();
  for (const std::int32_t level : levels) {
    check_equal(code_level(encoded, *written, kFeatures, level), level);
  }
  const std::uint64_t position = encoder.position();
  const std::vector<std::uint8_t> payload = encoder.finish();
  BinDecoder decoder(payload);
  DecodedBins<> decoded{decoder};
  const auto read = std::make_unique<Contexts>();
  for (const std::int32_t level : levels) {
    check_equal(code_level(decoded, *read, kFeatures, 0), level);
  }
  check_equal(decoder.check_end(), Status::kOk);
  check_equal(decoder.position(), position);
}

void test_levels_of_every_class_come_back() {
  check_levels_come_back<FastContexts>();
  check_levels_come_back<MixedContexts>();
}

void test_binarisation_is_that_of_the_specification() {
  const std::pair<std::int32_t, std::vector<int>> cases[] = {
      {0, {0}},
      {1, {1, 0, 0}},
      {-1, {1, 1, 0}},
      {3, {1, 0, 1, 1, 0}},
      {-10, {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0}},
      {11, {1, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0}},
      {12, {1, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0}},
      {16, {1, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 1, 0}},
  };
  for (const auto& [level, bins] : cases) {
    Recorder recorder;
    RecordedBins<> recorded{recorder};
    FastContexts contexts;
    code_level(recorded, contexts, kFeatures, level);
    check_equal(recorder.bins, bins);
  }
}

// Prefix bins all 1 leave out the closing 0, and the suffix reaches the largest value there is.
void test_longest_exp_golomb_code_has_no_closing_zero() {
  std::array<BitModel, kMaxPrefix> written{};
  BinEncoder encoder;
  EncodedBins<> encoded{encoder};
  for (BitModel& model : written)
    encoded.code(PlainEstimate{&model}, true);
  encoder.encode_bypass(0xFFFFFF, kMaxPrefix);
  const std::vector<std::uint8_t> payload = encoder.finish();

  std::array<BitModel, kMaxPrefix> read{};
  BinDecoder decoder(payload);
  DecodedBins<> decoded{decoder};
  const auto prefix = [&](int position) {
    return PlainEstimate{&read[static_cast<std::size_t>(position)]};
  };
  check_equal(code_exp_golomb(decoded, prefix, 0), (1U << 25) - 2);
  check_equal(decoder.check_end(), Status::kOk);
}

struct StepCase {
  std::uint32_t own;
  std::uint32_t previous;
  std::uint32_t step;
};

void test_steps_come_back() {
  std::vector<StepCase> cases;
  const std::uint32_t some_steps[] = {kMinStepBits, kMinStepBits + 1, 0x3C000000,
                                      0x3C0FFFFF,   0x3C100000,       0x3B83126F,
                                      0x3F800000,   kMaxStepBits - 1, kMaxStepBits};
  for (const std::uint32_t step : some_steps) {
    for (const std::uint32_t predicted : some_steps) {
      cases.push_back({0, predicted, step});
      cases.push_back({predicted, 0x3C000000, step});
    }
  }
  Random random(61);
  for (int i = 0; i < 2000; ++i) {
    const auto any_step = [&] {
      return kMinStepBits + random.below(kMaxStepBits - kMinStepBits + 1);
    };
    cases.push_back({random.chance(0.5F) ? 0 : any_step(), any_step(), any_step()});
  }
  BinEncoder encoder;
  EncodedBins<> encoded{encoder};
  TensorContexts written{};
  for (const StepCase& step : cases) {
    check_equal(code_step(encoded, written, step.own, step.previous, step.step), step.step);
  }
  const std::vector<std::uint8_t> payload = encoder.finish();
  BinDecoder decoder(payload);
  DecodedBins<> decoded{decoder};
  TensorContexts read{};
  for (const StepCase& step : cases) {
    check_equal(code_step(decoded, read, step.own, step.previous, 0), step.step);
  }
}

void test_repeated_step_is_one_bin_and_a_power_of_two_needs_no_low_bits() {
  TensorContexts contexts{};
  const auto bins_of = [&](std::uint32_t step) {
    Recorder recorder;
    RecordedBins<> recorded{recorder};
    code_step(recorded, contexts, 0x3C000000, 0, step);
    return recorder.bins;
  };
  check_equal(bins_of(0x3C000000), std::vector<int>{1});
  // One octave down is 8 units of 2^20: 1110 and 001, negative, no low bits.
  check_equal(bins_of(0x3B800000), std::vector<int>{0, 1, 1, 1, 0, 0, 0, 1, 1, 0});
  // No difference, so no sign; 20 low bits.
  check_equal(bins_of(0x3C000001).size(), 1U + 1 + 1 + 20);
}

// Bins coded where the caller goes different ways are the same bins, and move the same contexts.
void test_branching_bins_are_the_same_bins() {
  Random random(62);
  BitModel plain;
  BitModel branching;
  BitModel decoded_model;
  BinEncoder one;
  BinEncoder other;
  EncodedBins<> one_bins{one};
  auto interval = other.detach();
  EncodedBins<>::Detached other_bins{interval};
  std::vector<bool> values;
  for (int i = 0; i < 3000; ++i) {
    values.push_back(random.chance(0.2F));
    check_equal(one_bins.code(PlainEstimate{&plain}, values.back()), values.back());
    check_equal(other_bins.code_either(PlainEstimate{&branching}, values.back()), values.back());
    check_equal(branching.probability(), plain.probability());
  }
  other.attach(interval.interval);
  const std::vector<std::uint8_t> payload = one.finish();
  check_equal(other.finish(), payload);
  BinDecoder decoder(payload);
  auto decoding = decoder.detach();
  DecodedBins<>::Detached decoded{decoding};
  for (const bool value : values)
    check_equal(decoded.code_either(PlainEstimate{&decoded_model}, false), value);
  check_equal(decoded_model.probability(), plain.probability());
  decoder.attach(decoding.interval);
  check_equal(decoder.check_end(), Status::kOk);
}

// The decoder must not fold a difference of 2^12 back onto a valid step.
void test_difference_beyond_twelve_bits_is_no_step() {
  for (const std::uint32_t size : {0xC3FU - 0x3C0U, 0x1000U, 0x1008U, 0x3C1U, (1U << 24) - 2}) {
    for (const bool is_negative : {false, true}) {
      TensorContexts written{};
      BinEncoder encoder;
      EncodedBins<> encoded{encoder};
      encoded.code(PlainEstimate{&written.repeats[0]}, false);
      const auto prefix = [&](int position) {
        return PlainEstimate{&written.prefix[static_cast<std::size_t>(position)]};
      };
      code_exp_golomb(encoded, prefix, size);
      encoded.code(PlainEstimate{&written.negative}, is_negative);
      encoded.code(PlainEstimate{&written.has_low_bits}, false);
      const std::vector<std::uint8_t> payload = encoder.finish();

      TensorContexts read{};
      BinDecoder decoder(payload);
      DecodedBins<> decoded{decoder};
      check(!is_valid_step(code_step(decoded, read, 0, 0x3C000000, 0)), "no valid step");
    }
  }
}

}  // namespace
}  // namespace fl_deepcabac::testing

int main() {
  using namespace fl_deepcabac::testing;
  return run_tests({
      {"levels_of_every_class_come_back", test_levels_of_every_class_come_back},
      {"binarisation_is_that_of_the_specification", test_binarisation_is_that_of_the_specification},
      {"longest_exp_golomb_code_has_no_closing_zero",
       test_longest_exp_golomb_code_has_no_closing_zero},
      {"steps_come_back", test_steps_come_back},
      {"repeated_step_is_one_bin_and_a_power_of_two_needs_no_low_bits",
       test_repeated_step_is_one_bin_and_a_power_of_two_needs_no_low_bits},
      {"branching_bins_are_the_same_bins", test_branching_bins_are_the_same_bins},
      {"difference_beyond_twelve_bits_is_no_step", test_difference_beyond_twelve_bits_is_no_step},
  });
}
