// SPDX-License-Identifier: Apache-2.0
// What an encoder says its levels stand for is what a decoder makes of them, bit by bit.
#include <bit>
#include <cmath>

#include "fl_deepcabac/level_syntax.hpp"
#include "fl_deepcabac/step.hpp"
#include "stream.hpp"
#include "update_source.hpp"

namespace fl_deepcabac::testing {
namespace {

double total_error(const StreamState& state, const std::vector<float>& wanted,
                   const CodedLevels& coded) {
  double error = 0.0;
  for (const double of_tensor : errors_of(state.shapes, wanted, coded.values))
    error += of_tensor;
  return error;
}

const std::vector<std::vector<TensorShape>>& layouts() {
  static const std::vector<std::vector<TensorShape>> all{
      {{30, 40}, {1, 77}, {8, 9}},
      {{1, 1}, {1, 64}, {1, 65}, {1, 1000}},
      {{200, 1}, {100, 2}, {60, 3}, {40, 5}},
      {{9, 95}, {9, 96}, {9, 97}, {15, 48}, {2, 300}},
      mixed_shapes()};
  return all;
}

// Cold, warm, and through changes of steps and between the two ways of choosing.
void check_rounds(const std::vector<TensorShape>& shapes, Profile profile, unsigned dependence) {
  UpdateSource source(shapes, 171);
  Stream stream(shapes, profile);
  for (unsigned round = 0; round < 7; ++round) {
    const std::vector<float> values = source.next();
    Steps steps(shapes.size(), std::bit_cast<std::uint32_t>(round < 3 ? 1.1F : 0.7F));
    if (round == 5) steps.back() = std::bit_cast<std::uint32_t>(5.0F);
    const Choice choice{.price = round % 2 == 0 ? 0.1F : 0.0F,
                        .is_dependent = ((dependence >> (round % 3)) & 1U) != 0};
    stream.send_values(values, steps, choice);
  }
}

void test_values_arrive_bit_by_bit() {
  for (const Profile profile : kProfiles) {
    for (const std::vector<TensorShape>& shapes : layouts()) {
      for (const unsigned dependence : {0U, 7U, 5U})
        check_rounds(shapes, profile, dependence);
    }
  }
}

void test_nothing_and_zeros_arrive() {
  for (const Profile profile : kProfiles) {
    Stream none({{0, 3}}, profile);
    none.send_values({}, {kStep}, {.is_dependent = true});
    Stream zeros({{3, 50}, {1, 9}}, profile);
    for (int round = 0; round < 3; ++round) {
      const CodedLevels sent = zeros.send_values(std::vector<float>(159, 0.0F), {kStep, kStep},
                                                 {.price = 0.1F, .is_dependent = true});
      check_equal(sent.levels, Levels(159, 0));
      check_equal(sent.step_bits, Steps{0, 0});
      check(same_bits(sent.values, std::vector<float>(159, 0.0F)), "zeros");
    }
  }
}

// Sparse updates: most blocks are found by halving, and lone levels stay where they were.
void test_sparse_values_arrive() {
  Random random(172);
  for (const Profile profile : kProfiles) {
    for (const bool is_dependent : {false, true}) {
      Stream stream({{60, 100}, {1, 777}, {300, 3}}, profile);
      for (int round = 0; round < 5; ++round) {
        std::vector<float> values(stream.sender.n_levels(), 0.0F);
        for (float& value : values) {
          if (random.chance(0.004F)) value = 6.0F * random.heavy_tailed();
        }
        stream.send_values(values, Steps(3, std::bit_cast<std::uint32_t>(1.0F)),
                           {.price = 0.02F, .is_dependent = is_dependent});
      }
    }
  }
}

// At the price of the greedy choice, and over a stream, dependent levels have less error + price *
// bits.
void test_dependent_stream_costs_less() {
  constexpr float kPrice = 0.05F;
  for (const Profile profile : kProfiles) {
    double costs[2] = {0.0, 0.0};
    for (const bool is_dependent : {false, true}) {
      UpdateSource source({{60, 80}, {1, 200}}, 173);
      Stream stream(source.shapes(), profile);
      for (int round = 0; round < 5; ++round) {
        const std::vector<float> values = source.next();
        const CodedLevels sent =
            stream.send_values(values, Steps(2, std::bit_cast<std::uint32_t>(1.0F)),
                               {.price = kPrice, .is_dependent = is_dependent});
        costs[is_dependent ? 1 : 0] +=
            total_error(stream.sender, values, sent) +
            double{kPrice} * 8.0 * static_cast<double>(sent.payload.size());
      }
    }
    check(costs[1] < 0.98 * costs[0], "a few per cent less");
  }
}

// Offsets are fitted where they help: a stream without them has more error from the same levels.
void test_offsets_lessen_the_error() {
  for (const Profile profile : kProfiles) {
    UpdateSource source({{60, 80}}, 174);
    StreamState state(source.shapes(), profile);
    double with = 0.0;
    double without = 0.0;
    for (int round = 0; round < 4; ++round) {
      const std::vector<float> values = source.next();
      StreamState plain = state;
      plain.offsets.assign(1, {});
      CodedLevels chosen;
      CodedLevels given;
      const Steps steps{std::bit_cast<std::uint32_t>(1.0F)};
      check(encode_values(state, values, steps, {.price = 0.01F}, chosen).ok(), "values coded");
      check(encode_levels(plain, chosen.levels, steps, given).ok(), "levels coded");
      with += total_error(state, values, chosen);
      without += total_error(state, values, given);
    }
    check(state.offsets != std::vector<Offsets>(1), "offsets fitted");
    check(with < 0.995 * without, "less error");
  }
}

// The largest values there are, where history and offsets say most: on both sides, both ways. Where
// an offset of up to 125 steps leads away from one, there is no level to make up for it.
// Without offsets, values are the places of their levels.
void test_values_stay_on_whole_and_half_steps_without_offsets() {
  for (const Profile profile : kProfiles) {
    for (const bool is_dependent : {false, true}) {
      UpdateSource source({{60, 80}, {1, 200}}, 175);
      Stream stream(source.shapes(), profile);
      for (int round = 0; round < 4; ++round) {
        const CodedLevels sent = stream.send_values(
            source.next(), Steps(2, std::bit_cast<std::uint32_t>(0.5F)),
            {.price = 0.1F, .is_dependent = is_dependent, .fits_offsets = false});
        const float unit = is_dependent ? 0.25F : 0.5F;
        for (const float value : sent.values)
          check(std::remainder(value, unit) == 0.0F, "a multiple of a step, or of half of one");
      }
      for (const Offsets& offsets : stream.sender.offsets)
        check(offsets == Offsets{}, "no offsets");
    }
  }
}

void test_largest_values_are_coded_over_a_stream() {
  constexpr float kLargest = 16777216.0F;
  Random random(175);
  for (const Profile profile : kProfiles) {
    for (const bool is_dependent : {false, true}) {
      Stream stream({{1, 40}}, profile);
      for (int round = 0; round < 6; ++round) {
        std::vector<float> values(40);
        for (std::size_t i = 0; i < values.size(); ++i) {
          const bool is_large = i % 2 == 0;
          const float sign = (i % 4 < 2) == (round < 3 || i % 8 < 4) ? 1.0F : -1.0F;
          values[i] = sign * (is_large ? kLargest - static_cast<float>(i / 8)
                                       : 40.0F * (0.8F + 0.1F * random.unit()));
        }
        const CodedLevels sent = stream.send_values(values, {std::bit_cast<std::uint32_t>(1.0F)},
                                                    {.price = 0.01F, .is_dependent = is_dependent});
        for (std::size_t i = 0; i < values.size() && i < sent.values.size(); ++i)
          check(std::fabs(values[i] - sent.values[i]) <= 128.0F, "a value near the wanted one");
      }
    }
  }
}

}  // namespace
}  // namespace fl_deepcabac::testing

int main() {
  using namespace fl_deepcabac::testing;
  return run_tests({
      {"values_arrive_bit_by_bit", test_values_arrive_bit_by_bit},
      {"nothing_and_zeros_arrive", test_nothing_and_zeros_arrive},
      {"sparse_values_arrive", test_sparse_values_arrive},
      {"dependent_stream_costs_less", test_dependent_stream_costs_less},
      {"offsets_lessen_the_error", test_offsets_lessen_the_error},
      {"values_stay_on_whole_and_half_steps_without_offsets",
       test_values_stay_on_whole_and_half_steps_without_offsets},
      {"largest_values_are_coded_over_a_stream", test_largest_values_are_coded_over_a_stream},
  });
}
