// SPDX-License-Identifier: Apache-2.0
// Compares the search with a plain one from the last level to the first, state by state in double.
//
// Costs are multiples of 2^-12 below 8, so that sums of them are exact in float: what is equal has
// to be equal to the last bit, and paths that cost the same may be taken one for the other.
#include "fl_deepcabac/trellis_search.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "check.hpp"
#include "random.hpp"

namespace fl_deepcabac::testing {
namespace {

constexpr float kNone = std::numeric_limits<float>::infinity();
constexpr std::size_t kMostLevels = kBlockLevels + kLookahead;

using AllOptions = std::vector<Options>;
using Magnitudes = std::vector<std::int32_t>;

// Magnitudes that say which option they are of. There is always an even one, at least zero.
Options random_options(Random& random, float odd_chance) {
  Options options{};
  for (std::int32_t parity = 0; parity < 2; ++parity) {
    for (std::int32_t quantizer = 0; quantizer < 2; ++quantizer) {
      const auto row = static_cast<std::size_t>(parity);
      const auto column = static_cast<std::size_t>(quantizer);
      const bool is_there = parity == 0 || random.chance(odd_chance);
      options.costs[row][column] =
          is_there ? static_cast<float>(random.below(1U << 15)) * 0x1p-12F : kNone;
      options.magnitudes[row][column] = 4 * random.between(0, 100) + 2 * quantizer + parity;
    }
  }
  return options;
}

AllOptions random_case(Random& random, std::size_t n_levels, float odd_chance) {
  AllOptions all;
  for (std::size_t i = 0; i < n_levels; ++i)
    all.push_back(random_options(random, odd_chance));
  return all;
}

// [level][state before it]: what the cheapest path from there to the last level costs.
using CostsAhead = std::vector<std::array<double, kTrellisStates>>;

CostsAhead costs_ahead(const AllOptions& all) {
  CostsAhead ahead(all.size() + 1);
  for (std::size_t i = all.size(); i-- > 0;) {
    for (std::uint32_t state = 0; state < kTrellisStates; ++state) {
      const std::uint32_t quantizer = quantizer_of(state);
      ahead[i][state] =
          std::min(double{all[i].costs[0][quantizer]} + ahead[i + 1][next_state(state, false)],
                   double{all[i].costs[1][quantizer]} + ahead[i + 1][next_state(state, true)]);
    }
  }
  return ahead;
}

// State before a level, and its parity.
using Moves = std::set<std::pair<std::uint32_t, bool>>;

// What the search found is a path, costs what was said, and no other costs less in all.
void check_search(const AllOptions& all, std::size_t n_block, std::uint32_t begin, Moves& moves) {
  TrellisSearch search;
  const float found = search.run(all, n_block, begin);
  Magnitudes magnitudes(n_block, -1);
  search.trace(all, magnitudes);
  double cost = 0.0;
  std::uint32_t state = begin;
  for (std::size_t i = 0; i < n_block; ++i) {
    const bool is_odd = magnitudes[i] % 2 != 0;
    const std::size_t parity = is_odd ? 1 : 0;
    check_equal(magnitudes[i], all[i].magnitudes[parity][quantizer_of(state)]);
    cost += double{all[i].costs[parity][quantizer_of(state)]};
    moves.emplace(state, is_odd);
    state = next_state(state, is_odd);
  }
  const CostsAhead ahead = costs_ahead(all);
  check_equal(double{found}, cost);
  check_equal(cost + ahead[n_block][state], ahead[0][begin]);
}

void test_search_finds_the_cheapest_path() {
  Random random(221);
  Moves moves;
  for (std::uint32_t begin = 0; begin < kTrellisStates; ++begin) {
    for (std::size_t n_ahead = 0; n_ahead <= kLookahead; ++n_ahead) {
      for (const std::size_t n_block : {std::size_t{1} + random.below(63), kBlockLevels}) {
        const float odd_chance = random.chance(0.5F) ? 1.0F : random.unit();
        check_search(random_case(random, n_block + n_ahead, odd_chance), n_block, begin, moves);
      }
    }
  }
  // Every lane and bit of what the search keeps of a level has been gone through.
  check_equal(moves.size(), 2 * kTrellisStates);
}

// One way only, whatever it is: all other levels cost more than the whole of it.
void test_search_finds_any_path() {
  Random random(222);
  for (std::uint32_t begin = 0; begin < kTrellisStates; ++begin) {
    for (int round = 0; round < 20; ++round) {
      AllOptions all(kMostLevels);
      Magnitudes expected(kBlockLevels);
      std::uint32_t state = begin;
      for (std::size_t i = 0; i < all.size(); ++i) {
        all[i] = random_options(random, 1.0F);
        for (auto& of_parity : all[i].costs)
          of_parity.fill(1000.0F);
        const bool is_odd = random.chance(0.5F);
        const std::size_t parity = is_odd ? 1 : 0;
        all[i].costs[parity][quantizer_of(state)] = 1.0F;
        if (i < kBlockLevels) expected[i] = all[i].magnitudes[parity][quantizer_of(state)];
        state = next_state(state, is_odd);
      }
      TrellisSearch search;
      check_equal(search.run(all, kBlockLevels, begin), static_cast<float>(kBlockLevels));
      Magnitudes magnitudes(kBlockLevels);
      search.trace(all, magnitudes);
      check_equal(magnitudes, expected);
    }
  }
}

// An even level stays in state 0, of quantiser 0; an odd one leads by 4 and 2 to 1, of quantiser 1:
// where only this has what the fourth level needs, so far has to be looked.
void test_levels_ahead_decide_by_hand() {
  AllOptions all(4, Options{{{{0.0F, 0.0F}, {1.0F, 1.0F}}}, {{{0, 0}, {1, 1}}}});
  all[1].costs[1] = all[2].costs[1] = {kNone, kNone};
  all[3].costs = {{{10.0F, 0.0F}, {10.0F, 0.0F}}};
  for (std::size_t n_ahead = 0; n_ahead <= 3; ++n_ahead) {
    TrellisSearch search;
    const auto options = std::span<const Options>(all).first(1 + n_ahead);
    check_equal(search.run(options, 1, 0), n_ahead == 3 ? 1.0F : 0.0F);
    Magnitudes magnitudes(1);
    search.trace(options, magnitudes);
    check_equal(magnitudes[0], n_ahead == 3 ? 1 : 0);
  }
}

// A search leaves nothing to the next one.
void test_searches_are_independent() {
  Random random(223);
  const AllOptions all = random_case(random, kMostLevels, 0.8F);
  TrellisSearch fresh;
  TrellisSearch used;
  (void)used.run(random_case(random, kMostLevels, 1.0F), kBlockLevels, 17);
  check_equal(used.run(all, kBlockLevels, 5), fresh.run(all, kBlockLevels, 5));
  Magnitudes one(kBlockLevels);
  Magnitudes other(kBlockLevels);
  used.trace(all, one);
  fresh.trace(all, other);
  check_equal(one, other);
}

}  // namespace
}  // namespace fl_deepcabac::testing

int main() {
  using namespace fl_deepcabac::testing;
  return run_tests({
      {"search_finds_the_cheapest_path", test_search_finds_the_cheapest_path},
      {"search_finds_any_path", test_search_finds_any_path},
      {"levels_ahead_decide_by_hand", test_levels_ahead_decide_by_hand},
      {"searches_are_independent", test_searches_are_independent},
  });
}
