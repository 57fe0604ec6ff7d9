// SPDX-License-Identifier: Apache-2.0
// The core against the plain decoder of the specification: what the core's encoders write must mean
// the same to both, down to the saved state.
#include "plain_decoder.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <set>
#include <utility>
#include <vector>

#include "check.hpp"
#include "compared_stream.hpp"
#include "fl_deepcabac/level_syntax.hpp"
#include "fl_deepcabac/step.hpp"
#include "update_source.hpp"

namespace fl_deepcabac::testing {
namespace {

// Short blocks come behind long tensors, whose few levels make them sparse.
const std::vector<TensorShape>& sparse_shapes() {
  static const std::vector<TensorShape> shapes{{1, 3000}, {1, 37},  {30, 97}, {2, 20},
                                               {300, 10}, {1, 950}, {1, 9},   {1, 790},
                                               {1, 50},   {2, 999}, {5, 7},   {1, 70}};
  return shapes;
}

void test_fresh_states_are_the_same() {
  for (const Profile profile : kProfiles) {
    for (const auto& shapes : {mixed_shapes(), sparse_shapes(), std::vector<TensorShape>{}}) {
      const StreamState state(shapes, profile);
      check(fresh_plain_state(state).to_bytes() == state.to_bytes(), "equal fresh states");
    }
  }
}

void test_levels_of_any_density_and_size() {
  Random random(301);
  for (const Profile profile : kProfiles) {
    ComparedStream stream(mixed_shapes(), profile);
    for (const float density : {0.0F, 0.02F, 0.3F, 0.95F, 0.1F}) {
      for (const std::int32_t largest : {1, 15, 300, kMaxLevel}) {
        stream.send(random_levels(random, stream.sender.n_levels(), density, largest),
                    Steps(mixed_shapes().size(), kStep));
      }
    }
  }
}

void test_sparse_levels() {
  Random random(302);
  for (const Profile profile : kProfiles) {
    ComparedStream stream(sparse_shapes(), profile);
    for (const float density : {0.003F, 0.02F, 0.001F, 0.0F, 0.005F, 0.01F, 0.005F, 0.004F}) {
      stream.send(random_levels(random, stream.sender.n_levels(), density, 3),
                  Steps(sparse_shapes().size(), kStep));
    }
  }
}

void test_extreme_levels() {
  for (const Profile profile : kProfiles) {
    ComparedStream stream({{1, 4}, {2, 3}}, profile);
    const Levels levels{kMaxLevel, -kMaxLevel, 0, 1, -kMaxLevel, kMaxLevel, kMaxLevel, -1, 0, 11};
    for (int round = 0; round < 3; ++round)
      stream.send(levels, {kMinStepBits, kMaxStepBits});
    // Histories follow a factor of about 2^17 at most (spec 7.5).
    for (const std::uint32_t exponent : {0U, 17U, 0U, 16U, 34U, 16U, 18U, 35U, 17U})
      stream.send(levels, {kStep + (exponent << 23), kStep + (exponent << 23) + 0x7FFFFFU});
  }
}

// Some change a little, so that histories are rescaled, some by more than a history can follow.
void test_changing_steps() {
  Random random(303);
  for (const Profile profile : kProfiles) {
    ComparedStream stream(mixed_shapes(), profile);
    for (int round = 0; round < 12; ++round) {
      Steps steps(mixed_shapes().size());
      for (std::uint32_t& step : steps) {
        step = round < 8 ? kStep + (random.below(60) << 19) + random.below(9)
                         : kMinStepBits + random.below(kMaxStepBits - kMinStepBits + 1);
      }
      stream.send(random_levels(random, stream.sender.n_levels(), 0.3F, 40), steps);
    }
  }
}

void test_chosen_levels_over_many_rounds() {
  for (const Profile profile : kProfiles) {
    for (const bool is_dependent : {false, true}) {
      UpdateSource source({{30, 40}, {1, 177}, {8, 9}, {5, 200}}, 304);
      ComparedStream stream(source.shapes(), profile);
      std::set<std::vector<PlainOffsets>> offsets;
      for (const float step : {1.1F, 1.1F, 1.1F, 0.3F, 1.1F, 2.5F, 1.2F}) {
        stream.send_values(source.next(), steps_of(stream.sender, step),
                           {.price = 0.02F, .is_dependent = is_dependent});
        offsets.insert(stream.receivers.plain().offsets);
      }
      check(offsets.size() > 3, "offsets that change");
    }
  }
}

// Whether quantisation is dependent changes from packet to packet.
void test_sparse_values() {
  Random random(305);
  for (const Profile profile : kProfiles) {
    ComparedStream stream(sparse_shapes(), profile);
    for (int round = 0; round < 4; ++round) {
      std::vector<float> values(stream.sender.n_levels(), 0.0F);
      for (float& value : values)
        value = random.chance(0.02F) ? 3.0F * random.heavy_tailed() : 0.0F;
      stream.send_values(values, steps_of(stream.sender, 1.0F),
                         {.price = 0.05F, .is_dependent = round % 3 != 1});
    }
  }
}

std::int64_t any_of(Random& random, std::int64_t least, std::int64_t largest) {
  if (random.chance(0.2F)) return random.chance(0.5F) ? least : largest;
  const auto n = static_cast<std::uint64_t>(largest - least) + 1;
  return least + static_cast<std::int64_t>(random.next() % n);
}

// Numbers anywhere within the bounds of a saved state (spec 10.3), where few streams ever get.
PlainState any_state(const std::vector<TensorShape>& shapes, Profile profile, Random& random) {
  PlainState state(plain_shapes(shapes), profile == Profile::kMax);
  const auto fill = [&](std::vector<PlainContext>& contexts) {
    for (PlainContext& context : contexts) {
      context.fast = any_of(random, kPlainLeastEstimate, kPlainLargestEstimate);
      context.slow = any_of(random, kPlainLeastEstimate, kPlainLargestEstimate);
      context.count = any_of(random, 0, 255);
    }
  };
  fill(state.tensor_contexts.all);
  for (PlainLevelContexts& set : state.sets) {
    fill(set.all);
    for (PlainMixer& mixer : set.mixers) {
      for (std::size_t j = 0; j < mixer.n_inputs; ++j)
        mixer.weights.at(j) = any_of(random, -kPlainLargestWeight, kPlainLargestWeight);
      mixer.count = any_of(random, 0, 4096);
    }
  }
  for (std::int64_t& step : state.steps)
    step = random.chance(0.2F) ? 0 : any_of(random, kPlainLeastStep, kPlainLargestStep);
  for (PlainOffsets& own : state.offsets) {
    for (std::int64_t& offset : own)
      offset = any_of(random, -127, 127);
  }
  for (std::int64_t& code : state.magnitudes)
    code = any_of(random, 0, 255);
  for (std::int64_t& code : state.signed_averages)
    code = any_of(random, -127, 127);
  return state;
}

void test_any_states_go_on() {
  Random random(312);
  for (const Profile profile : kProfiles) {
    for (int i = 0; i < 8; ++i) {
      PlainState plain = any_state(mixed_shapes(), profile, random);
      StreamState core(mixed_shapes(), profile);
      check(core.load_bytes(plain.to_bytes()).ok(), "a good state");
      ComparedStream stream(core, std::move(plain));
      for (int round = 0; round < 2; ++round) {
        Steps steps = stream.sender.step_bits;
        std::replace(steps.begin(), steps.end(), 0U, kStep);
        const Levels levels = random_levels(random, core.n_levels(), 0.4F, 1 << random.below(25));
        stream.send(levels, steps);
      }
    }
  }
}

// Most weights do not move; those that do, here and there.
std::vector<float> still_values(Random& random, std::size_t n_values) {
  std::vector<float> values(n_values, 0.0F);
  for (int i = 0; i < 600; ++i) {
    const std::size_t at = random.below(static_cast<std::uint32_t>(n_values));
    for (std::size_t k = at; k < std::min(at + 3, n_values); ++k)
      values[k] = 2.0F * random.heavy_tailed();
  }
  return values;
}

void test_two_chunks() {
  Random random(311);
  const std::vector<TensorShape> shapes{{1, 200001}, {0, 3}, {650, 500}};
  for (const Profile profile : kProfiles) {
    ComparedStream stream(shapes, profile);
    check_equal(plain_chunks(plain_shapes(shapes)).size(), 2U);
    for (const bool is_dependent : {true, false}) {
      stream.send_values(still_values(random, stream.sender.n_levels()),
                         steps_of(stream.sender, 1.0F),
                         {.price = 0.05F, .is_dependent = is_dependent});
    }
  }
}

}  // namespace
}  // namespace fl_deepcabac::testing

int main() {
  using namespace fl_deepcabac::testing;
  return run_tests({
      {"fresh_states_are_the_same", test_fresh_states_are_the_same},
      {"levels_of_any_density_and_size", test_levels_of_any_density_and_size},
      {"sparse_levels", test_sparse_levels},
      {"extreme_levels", test_extreme_levels},
      {"changing_steps", test_changing_steps},
      {"chosen_levels_over_many_rounds", test_chosen_levels_over_many_rounds},
      {"sparse_values", test_sparse_values},
      {"any_states_go_on", test_any_states_go_on},
      {"two_chunks", test_two_chunks},
  });
}
