// SPDX-License-Identifier: Apache-2.0
#include "fl_deepcabac/trellis.hpp"

#include <array>
#include <cstdlib>
#include <map>
#include <set>

#include "check.hpp"
#include "fl_deepcabac/level_syntax.hpp"
#include "random.hpp"

namespace fl_deepcabac::testing {
namespace {

// Spec 5.6 by hand: halved, 18 flipped behind an odd state, 4 flipped by an odd level.
void test_next_states_by_hand() {
  const std::array<std::array<std::uint32_t, 3>, 9> cases{{{0, 0, 4},
                                                           {1, 18, 22},
                                                           {2, 1, 5},
                                                           {4, 2, 6},
                                                           {7, 17, 21},
                                                           {8, 4, 0},
                                                           {17, 26, 30},
                                                           {30, 15, 11},
                                                           {31, 29, 25}}};
  for (const auto& [state, even, odd] : cases) {
    check_equal(next_state(state, false), even);
    check_equal(next_state(state, true), odd);
  }
}

// All of them, bit by bit: a shift to the right where bit 0 comes in at bit 4 and flips bit 1, and
// the level flips bit 2.
void test_table_is_that_of_a_shift_register() {
  for (std::uint32_t state = 0; state < kTrellisStates; ++state) {
    const auto bit = [&](std::uint32_t i) { return (state >> i) & 1U; };
    for (std::uint32_t parity = 0; parity < 2; ++parity) {
      const std::uint32_t next =
          bit(1) + 2 * (bit(2) ^ bit(0)) + 4 * (bit(3) ^ parity) + 8 * bit(4) + 16 * bit(0);
      check_equal(std::uint32_t{kTrellis[parity][state]}, next);
      check_equal(next_state(state, parity == 1), next);
    }
  }
}

// States keep apart whatever the level: a run of equal parities never loses what came before.
void test_each_parity_permutes_the_states() {
  for (const auto& of_parity : kTrellis) {
    const std::set<std::uint8_t> reached(of_parity.begin(), of_parity.end());
    check_equal(reached.size(), kTrellisStates);
    check(*reached.rbegin() < kTrellisStates, "states below their number");
  }
}

void test_zeros_keep_state_0_and_go_round_all_others() {
  std::map<std::size_t, std::size_t> n_states;  // by the length of their cycle
  for (std::uint8_t begin = 0; begin < kTrellisStates; ++begin) {
    std::size_t length = 1;
    for (std::uint8_t state = kTrellis[0][begin]; state != begin && length <= kTrellisStates;
         ++length)
      state = kTrellis[0][state];
    ++n_states[length];
  }
  check_equal(n_states, std::map<std::size_t, std::size_t>{{1, 1}, {31, 31}});
  check_equal(static_cast<int>(kTrellis[0][0]), 0);
  check_equal(kZerosPeriod, 31U);
}

// From any state every one is reached by five levels, and so by one set of parities alone.
void test_five_levels_reach_every_state() {
  for (std::uint8_t begin = 0; begin < kTrellisStates; ++begin) {
    std::set<std::uint8_t> reached;
    for (unsigned parities = 0; parities < 32; ++parities) {
      std::uint8_t state = begin;
      for (unsigned i = 0; i < 5; ++i)
        state = kTrellis[(parities >> i) & 1U][state];
      reached.insert(state);
    }
    check_equal(reached.size(), kTrellisStates);
  }
}

// States that lead to the same one by different parities are of one quantiser, and so are those
// that are led to: a choice between two paths is one between levels of the same quantiser.
void test_states_that_meet_are_of_one_quantiser() {
  for (std::uint8_t one = 0; one < kTrellisStates; ++one) {
    for (std::uint8_t other = 0; other < kTrellisStates; ++other) {
      if (kTrellis[0][one] == kTrellis[1][other])
        check_equal(quantizer_of(one), quantizer_of(other));
    }
    check_equal(quantizer_of(kTrellis[0][one]), quantizer_of(kTrellis[1][one]));
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
  std::set<std::uint32_t> visited;
  check(path.is_dependent() && !plain.is_dependent(), "paths that know their table");
  for (int i = 0; i < 5000; ++i) {
    visited.insert(state);
    check_equal(path.state(), state);
    check_equal(path.quantizer(), state % 2);
    check_equal(plain.state(), 0U);
    check_equal(plain.quantizer(), 0U);
    const std::int32_t level = i % 50 == 0 ? kMaxLevel - i : random.between(-9, 9);
    path.advance(level);
    plain.advance(level);
    state = kTrellis[static_cast<std::size_t>(std::abs(level) % 2)][state];
  }
  check_equal(visited.size(), kTrellisStates);
}

// A path that begins in any state; without a trellis there is but one.
TrellisPath path_after(unsigned parities, bool is_dependent) {
  TrellisPath path(is_dependent);
  for (unsigned i = 0; i < 5; ++i)
    path.advance(static_cast<std::int32_t>((parities >> i) & 1U));
  return path;
}

// Runs of up to three times round and more than a block.
void test_run_of_zeros_equals_zeros_one_by_one() {
  for (const bool is_dependent : {false, true}) {
    for (unsigned parities = 0; parities < 32; ++parities) {
      TrellisPath single = path_after(parities, is_dependent);
      for (std::size_t n_zeros = 0; n_zeros < 130; ++n_zeros) {
        TrellisPath run = path_after(parities, is_dependent);
        run.advance_zeros(n_zeros);
        check_equal(run.state(), single.state());
        TrellisPath twice = path_after(parities, is_dependent);
        twice.advance_zeros(n_zeros / 3);
        twice.advance_zeros(n_zeros - n_zeros / 3);
        check_equal(twice.state(), single.state());
        if (n_zeros % 2 == 0) {
          single.advance_zero();
        } else {
          single.advance(0);
        }
      }
    }
  }
}

}  // namespace
}  // namespace fl_deepcabac::testing

int main() {
  using namespace fl_deepcabac::testing;
  return run_tests({
      {"next_states_by_hand", test_next_states_by_hand},
      {"table_is_that_of_a_shift_register", test_table_is_that_of_a_shift_register},
      {"each_parity_permutes_the_states", test_each_parity_permutes_the_states},
      {"zeros_keep_state_0_and_go_round_all_others",
       test_zeros_keep_state_0_and_go_round_all_others},
      {"five_levels_reach_every_state", test_five_levels_reach_every_state},
      {"states_that_meet_are_of_one_quantiser", test_states_that_meet_are_of_one_quantiser},
      {"places_by_hand", test_places_by_hand},
      {"quantisers_share_zero_alone", test_quantisers_share_zero_alone},
      {"path_follows_the_table", test_path_follows_the_table},
      {"run_of_zeros_equals_zeros_one_by_one", test_run_of_zeros_equals_zeros_one_by_one},
  });
}
