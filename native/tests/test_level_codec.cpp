// SPDX-License-Identifier: Apache-2.0
#include "fl_deepcabac/level_codec.hpp"

#include <algorithm>
#include <bit>

#include "fl_deepcabac/level_syntax.hpp"
#include "fl_deepcabac/step.hpp"
#include "stream.hpp"
#include "update_source.hpp"

namespace fl_deepcabac::testing {
namespace {

void test_levels_of_any_density_and_size_come_back() {
  Random random(101);
  for (const Profile profile : kProfiles) {
    Stream stream(mixed_shapes(), profile);
    for (const float density : {0.0F, 0.003F, 0.1F, 0.9F, 0.0F}) {
      for (const std::int32_t largest : {1, 15, kMaxLevel}) {
        const std::size_t n_levels = stream.sender.n_levels();
        stream.send(random_levels(random, n_levels, density, largest),
                    Steps(mixed_shapes().size(), kStep));
      }
    }
  }
}

void test_each_shape_comes_back_alone() {
  Random random(102);
  constexpr TensorShape kShapes[] = {{1, 1}, {1, 64}, {1, 65}, {64, 1},
                                     {2, 2}, {3, 63}, {65, 3}, {1, 1000}};
  for (const Profile profile : kProfiles) {
    for (const TensorShape& shape : kShapes) {
      Stream stream({shape}, profile);
      for (int round = 0; round < 3; ++round) {
        stream.send(random_levels(random, shape.n_levels(), 0.3F, 12), {kStep});
      }
    }
  }
}

void test_extreme_levels_come_back() {
  for (const Profile profile : kProfiles) {
    Stream stream({{1, 4}, {2, 3}}, profile);
    const Levels levels{kMaxLevel, -kMaxLevel, 0, 1, -kMaxLevel, kMaxLevel, kMaxLevel, -1, 0, 11};
    for (int round = 0; round < 3; ++round)
      stream.send(levels, {kMinStepBits, kMaxStepBits});
  }
}

void test_changing_steps_come_back() {
  Random random(103);
  for (const Profile profile : kProfiles) {
    Stream stream(mixed_shapes(), profile);
    for (int round = 0; round < 8; ++round) {
      Steps steps(mixed_shapes().size());
      for (std::uint32_t& step : steps) {
        step = round < 4 ? kStep + (random.below(5) << 19)
                         : kMinStepBits + random.below(kMaxStepBits - kMinStepBits + 1);
      }
      stream.send(random_levels(random, stream.sender.n_levels(), 0.2F, 40), steps);
    }
  }
}

void test_nothing_to_code_is_an_empty_payload() {
  for (const Profile profile : kProfiles) {
    Stream none({}, profile);
    check_equal(none.send({}, {}), 0U);
    Stream empty({{0, 3}, {1, 0}}, profile);
    check_equal(empty.send({}, {kStep, kStep}), 0U);
  }
}

void test_zero_tensors_keep_their_step_and_soon_cost_nothing() {
  for (const Profile profile : kProfiles) {
    Stream stream({{20, 50}, {1, 9}}, profile);
    Levels levels(1009, 0);
    levels[3] = 2;
    stream.send(levels, {kStep, kStep});
    check_equal(stream.sender.step_bits[1], 0U);
    std::size_t n_bytes = 0;
    for (int round = 0; round < 20; ++round)
      n_bytes = stream.send(Levels(1009, 0), {kStep + 1, kStep});
    check(n_bytes <= 1, "twenty rounds of zeros to be learnt");
    check_equal(stream.sender.step_bits[0], kStep);
    check_equal(static_cast<int>(stream.sender.magnitude_history[3]), 0);
  }
}

void test_tensor_costs_add_up_to_the_payload() {
  Random random(104);
  StreamState state(mixed_shapes(), Profile::kFast);
  CodedLevels coded;
  const Levels levels = random_levels(random, state.n_levels(), 0.5F, 9);
  check(encode_levels(state, levels, Steps(mixed_shapes().size(), kStep), coded).ok(),
        "levels coded");
  double n_bits = 0.0;
  for (const std::uint64_t cost : coded.tensor_costs)
    n_bits += static_cast<double>(cost) / 256.0;
  check_near(8.0 * static_cast<double>(coded.payload.size()), n_bits, 34.0);
  check_equal(coded.tensor_costs[2], 0U);
}

void test_chosen_levels_come_back_over_many_rounds() {
  for (const Profile profile : kProfiles) {
    UpdateSource source({{30, 40}, {1, 77}, {8, 9}}, 105);
    Stream stream(source.shapes(), profile);
    for (int round = 0; round < 6; ++round) {
      const Steps steps(3, std::bit_cast<std::uint32_t>(round % 3 == 2 ? 1.5F : 1.1F));
      stream.send_values(source.next(), steps, {.price = 0.1F});
    }
  }
}

// Given levels that it would have chosen, and the values to fit offsets to, the encoder writes the
// same payload; as long as no tensor's levels were all chosen to be zero, which it learns too late
// for the bin `tensor_zero`.
void test_choosing_and_being_given_levels_write_the_same_bytes() {
  for (const Profile profile : kProfiles) {
    UpdateSource source({{30, 40}, {1, 77}}, 106);
    StreamState choosing(source.shapes(), profile);
    StreamState given(source.shapes(), profile);
    const Steps steps(2, std::bit_cast<std::uint32_t>(1.2F));
    for (int round = 0; round < 3; ++round) {
      const std::vector<float> values = source.next();
      CodedLevels chosen;
      CodedLevels repeated;
      check(encode_values(choosing, values, steps, {.price = 0.02F}, chosen).ok(), "values coded");
      check(encode_levels(given, chosen.levels, steps, repeated, 1, {values, 0.02F}).ok(),
            "levels coded");
      check_equal(repeated.payload, chosen.payload);
      check(same_bits(repeated.values, chosen.values), "the same values");
      check(given.to_bytes() == choosing.to_bytes(), "equal states");
    }
    check(choosing.offsets != std::vector<Offsets>(2), "offsets fitted");
  }
}

// Without values to fit them to, offsets stay what they were, and cost next to nothing.
void test_given_levels_alone_keep_the_offsets() {
  for (const Profile profile : kProfiles) {
    UpdateSource source({{30, 40}, {1, 77}}, 110);
    Stream stream(source.shapes(), profile);
    const Steps steps(2, std::bit_cast<std::uint32_t>(1.2F));
    const CodedLevels sent = stream.send_values(source.next(), steps, {.price = 0.02F});
    const std::vector<Offsets> before = stream.sender.offsets;
    check(before != std::vector<Offsets>(2), "offsets fitted");
    stream.send(sent.levels, steps);
    check(stream.sender.offsets == before, "the same offsets");
  }
}

// Multiples of the step need no offset: then both write the same bytes.
void test_exact_values_and_their_levels_write_the_same_bytes() {
  Random random(109);
  for (const Profile profile : kProfiles) {
    StreamState choosing(mixed_shapes(), profile);
    StreamState given(mixed_shapes(), profile);
    const Steps steps(mixed_shapes().size(), kStep);
    for (int round = 0; round < 3; ++round) {
      const Levels levels = random_levels(random, given.n_levels(), 0.7F, 14);
      std::vector<float> values;
      for (const std::int32_t level : levels)
        values.push_back(static_cast<float>(level) * std::bit_cast<float>(kStep));
      CodedLevels chosen;
      CodedLevels repeated;
      check(encode_values(choosing, values, steps, {}, chosen).ok(), "values coded");
      check(encode_levels(given, levels, steps, repeated).ok(), "levels coded");
      check_equal(chosen.levels, levels);
      check_equal(repeated.payload, chosen.payload);
      check(same_bits(chosen.values, values), "values of exact levels");
      check(given.to_bytes() == choosing.to_bytes(), "equal states");
    }
  }
}

// Callers that want values only are told the same otherwise.
void test_levels_are_left_out_where_nobody_wants_them() {
  for (const Profile profile : kProfiles) {
    UpdateSource source({{30, 40}, {1, 77}, {4, 200}}, 111);
    StreamState wanting(source.shapes(), profile);
    StreamState waiving = wanting;
    StreamState receiving = wanting;
    const Steps steps(3, std::bit_cast<std::uint32_t>(1.2F));
    for (const bool is_dependent : {false, true, false}) {
      const std::vector<float> values = source.next();
      const Choice choice{.price = 0.05F, .is_dependent = is_dependent};
      CodedLevels with;
      CodedLevels without;
      CodedLevels received;
      without.wants_levels = received.wants_levels = false;
      check(encode_values(wanting, values, steps, choice, with).ok(), "values coded");
      check(encode_values(waiving, values, steps, choice, without).ok(), "values coded");
      check(decode_levels(receiving, with.payload, received).ok(), "a payload to decode");
      check(without.levels.empty() && received.levels.empty(), "no levels");
      check_equal(without.payload, with.payload);
      check(same_bits(without.values, with.values), "the same values");
      check(same_bits(received.values, with.values), "the same values");
      check_equal(without.tensor_nonzeros, nonzeros_of(source.shapes(), with.levels));
      check_equal(received.tensor_nonzeros, without.tensor_nonzeros);
      check_equal(without.tensor_errors, with.tensor_errors);
      check(waiving.to_bytes() == wanting.to_bytes(), "equal states");
      check(receiving.to_bytes() == wanting.to_bytes(), "equal states");
    }
  }
}

// Errors are told where values are given to fit offsets to, too.
void test_given_levels_tell_errors_of_their_values() {
  UpdateSource source({{30, 40}, {1, 77}, {2, 3}}, 113);
  StreamState state(source.shapes(), Profile::kFast);
  const Steps steps(3, std::bit_cast<std::uint32_t>(1.2F));
  std::vector<float> values = source.next();
  Levels levels;
  for (const float value : values)
    levels.push_back(static_cast<std::int32_t>(value / 1.2F));
  std::fill(levels.end() - 6, levels.end(), 0);  // a tensor that is not coded at all
  CodedLevels coded;
  check(encode_levels(state, levels, steps, coded, 1, {values, 0.02F}).ok(), "levels coded");
  check_equal(coded.step_bits[2], 0U);
  check_errors(coded.tensor_errors, errors_of(source.shapes(), values, coded.values));
  check(coded.tensor_errors[2] > 0.0, "the error of a tensor of zeros");
  check_equal(coded.tensor_nonzeros, nonzeros_of(source.shapes(), levels));
}

// Adapted contexts and history make the same stream cheaper than coding each update afresh.
void test_stream_is_cheaper_than_separate_updates() {
  for (const Profile profile : kProfiles) {
    UpdateSource source({{50, 60}}, 107);
    StreamState stream(source.shapes(), profile);
    std::size_t n_stream_bytes = 0;
    std::size_t n_separate_bytes = 0;
    for (int round = 0; round < 8; ++round) {
      const std::vector<float> values = source.next();
      const Steps steps{std::bit_cast<std::uint32_t>(1.0F)};
      CodedLevels coded;
      check(encode_values(stream, values, steps, {.price = 0.1F}, coded).ok(), "values coded");
      n_stream_bytes += coded.payload.size();
      StreamState fresh(source.shapes(), profile);
      CodedLevels alone;
      check(encode_levels(fresh, coded.levels, steps, alone).ok(), "levels coded");
      check_equal(alone.levels, coded.levels);
      n_separate_bytes += alone.payload.size();
    }
    check(10 * n_stream_bytes < 9 * n_separate_bytes, "a tenth saved at least");
  }
}

}  // namespace
}  // namespace fl_deepcabac::testing

int main() {
  using namespace fl_deepcabac::testing;
  return run_tests({
      {"levels_of_any_density_and_size_come_back", test_levels_of_any_density_and_size_come_back},
      {"each_shape_comes_back_alone", test_each_shape_comes_back_alone},
      {"extreme_levels_come_back", test_extreme_levels_come_back},
      {"changing_steps_come_back", test_changing_steps_come_back},
      {"nothing_to_code_is_an_empty_payload", test_nothing_to_code_is_an_empty_payload},
      {"zero_tensors_keep_their_step_and_soon_cost_nothing",
       test_zero_tensors_keep_their_step_and_soon_cost_nothing},
      {"tensor_costs_add_up_to_the_payload", test_tensor_costs_add_up_to_the_payload},
      {"chosen_levels_come_back_over_many_rounds", test_chosen_levels_come_back_over_many_rounds},
      {"choosing_and_being_given_levels_write_the_same_bytes",
       test_choosing_and_being_given_levels_write_the_same_bytes},
      {"given_levels_alone_keep_the_offsets", test_given_levels_alone_keep_the_offsets},
      {"exact_values_and_their_levels_write_the_same_bytes",
       test_exact_values_and_their_levels_write_the_same_bytes},
      {"levels_are_left_out_where_nobody_wants_them",
       test_levels_are_left_out_where_nobody_wants_them},
      {"given_levels_tell_errors_of_their_values", test_given_levels_tell_errors_of_their_values},
      {"stream_is_cheaper_than_separate_updates", test_stream_is_cheaper_than_separate_updates},
  });
}
