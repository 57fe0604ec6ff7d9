// SPDX-License-Identifier: Apache-2.0
#include "fl_deepcabac/trellis.hpp"

#include <array>
#include <cstdlib>
#include <set>

#include "check.hpp"
#include "fl_deepcabac/level_syntax.hpp"
#include "fl_deepcabac/trellis_chooser.hpp"
#include "random.hpp"

namespace fl_deepcabac::testing {
namespace {

// States keep apart whatever the level: a run of equal parities never loses what came before.
void test_each_parity_permutes_the_states() {
  for (const auto& of_parity : kTrellis) {
    const std::set<std::uint8_t> reached(of_parity.begin(), of_parity.end());
    check_equal(reached.size(), kTrellisStates);
    check(*reached.rbegin() < kTrellisStates, "states below their number");
  }
}

void test_zeros_lead_back_after_one_two_or_four() {
  std::array<std::size_t, 5> n_states{};
  for (std::uint8_t begin = 0; begin < kTrellisStates; ++begin) {
    std::uint8_t state = begin;
    std::size_t length = 0;
    do {
      state = kTrellis[0][state];
      ++length;
    } while (state != begin && length < kTrellisStates);
    check(length == 1 || length == 2 || length == 4, "a cycle of 1, 2 or 4 zeros");
    if (length < n_states.size()) ++n_states[length];
  }
  check_equal(n_states, std::array<std::size_t, 5>{0, 1 + 1, 2, 0, 4});
  check_equal(static_cast<int>(kTrellis[0][0]), 0);
}

// From any state every other one is within reach of three levels.
void test_three_levels_reach_every_state() {
  for (std::uint8_t begin = 0; begin < kTrellisStates; ++begin) {
    std::set<std::uint8_t> reached;
    for (unsigned parities = 0; parities < 8; ++parities) {
      std::uint8_t state = begin;
      for (unsigned i = 0; i < 3; ++i)
        state = kTrellis[(parities >> i) & 1U][state];
      reached.insert(state);
    }
    check_equal(reached.size(), kTrellisStates);
  }
}

void test_sources_invert_the_trellis() {
  for (std::size_t parity = 0; parity < 2; ++parity) {
    for (std::uint8_t state = 0; state < kTrellisStates; ++state) {
      check_equal(static_cast<int>(kTrellisSources[parity][kTrellis[parity][state]]), state);
      check_equal(static_cast<int>(kTrellis[parity][kTrellisSources[parity][state]]), state);
    }
  }
}

void test_places_by_hand() {
  const std::array<std::array<std::int32_t, 3>, 9> cases{{{0, 0, 0},
                                                          {1, 2, 1},
                                                          {-1, -2, -1},
                                                          {2, 4, 3},
                                                          {-2, -4, -3},
                                                          {11, 22, 21},
                                                          {-11, -22, -21},
                                                          {kMaxLevel, 1 << 25, (1 << 25) - 1},
                                                          {-kMaxLevel, -(1 << 25), 1 - (1 << 25)}}};
  for (const auto& [level, first, second] : cases) {
    check_equal(place_of(level, 0), first);
    check_equal(place_of(level, 1), second);
  }
}

// Between them the two quantisers have every half step, and share zero alone.
void test_quantisers_share_zero_alone() {
  std::set<std::int32_t> first;
  std::set<std::int32_t> both;
  for (std::int32_t level = -20; level <= 20; ++level) {
    first.insert(place_of(level, 0));
    both.insert(place_of(level, 0));
  }
  for (std::int32_t level = -20; level <= 20; ++level) {
    const std::int32_t place = place_of(level, 1);
    check(level == 0 || !first.contains(place), "a place of one quantiser");
    both.insert(place);
  }
  for (std::int32_t place = -40; place <= 40; ++place)
    check(both.contains(place), "every half step");
}

void test_path_follows_the_table() {
  Random random(141);
  TrellisPath path(true);
  TrellisPath plain(false);
  std::uint32_t state = 0;
  check(path.is_dependent() && !plain.is_dependent(), "paths that know their table");
  for (int i = 0; i < 5000; ++i) {
    check_equal(path.state(), state);
    check_equal(path.quantizer(), state % 2);
    check_equal(plain.state(), 0U);
    check_equal(plain.quantizer(), 0U);
    const std::int32_t level = i % 50 == 0 ? kMaxLevel - i : random.between(-9, 9);
    path.advance(level);
    plain.advance(level);
    state = kTrellis[static_cast<std::size_t>(std::abs(level) % 2)][state];
  }
}

void test_run_of_zeros_equals_zeros_one_by_one() {
  for (unsigned parities = 0; parities < 8; ++parities) {
    for (std::size_t n_zeros = 0; n_zeros < 70; ++n_zeros) {
      TrellisPath run(true);
      for (unsigned i = 0; i < 3; ++i)
        run.advance(static_cast<std::int32_t>((parities >> i) & 1U));
      TrellisPath single = run;
      run.advance_zeros(n_zeros);
      for (std::size_t i = 0; i < n_zeros; ++i)
        single.advance(0);
      check_equal(run.state(), single.state());
    }
  }
}

}  // namespace
}  // namespace fl_deepcabac::testing

int main() {
  using namespace fl_deepcabac::testing;
  return run_tests({
      {"each_parity_permutes_the_states", test_each_parity_permutes_the_states},
      {"zeros_lead_back_after_one_two_or_four", test_zeros_lead_back_after_one_two_or_four},
      {"three_levels_reach_every_state", test_three_levels_reach_every_state},
      {"sources_invert_the_trellis", test_sources_invert_the_trellis},
      {"places_by_hand", test_places_by_hand},
      {"quantisers_share_zero_alone", test_quantisers_share_zero_alone},
      {"path_follows_the_table", test_path_follows_the_table},
      {"run_of_zeros_equals_zeros_one_by_one", test_run_of_zeros_equals_zeros_one_by_one},
  });
}
