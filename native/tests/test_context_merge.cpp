// SPDX-License-Identifier: Apache-2.0
#include "fl_deepcabac/context_merge.hpp"

#include <array>
#include <memory>

#include "check.hpp"
#include "first_level.hpp"
#include "fl_deepcabac/mixed_contexts.hpp"
#include "random.hpp"

namespace fl_deepcabac::testing {
namespace {

// As few contexts as there can be, of which all numbers are at hand.
struct TwoContexts {
  std::array<BitModel, 2> models;
  MixerWeights<3> mixer;

  template <class Self, class Visitor>
  static void visit_models(Self& self, Visitor&& visit) {
    for (auto& model : self.models)
      visit(model);
  }
  template <class Self, class Visitor>
  static void visit_mixers(Self& self, Visitor&& visit) {
    visit(self.mixer);
  }
};

void merge(TwoContexts& merged, std::vector<TwoContexts> copies) {
  std::vector<TwoContexts*> pointers;
  for (TwoContexts& copy : copies)
    pointers.push_back(&copy);
  merge_contexts(merged, std::span<TwoContexts* const>(pointers));
}

void test_estimates_become_the_mean_weighed_by_bins() {
  TwoContexts merged;
  merged.models[0] = {5000, 6000, 10};
  TwoContexts one = merged;
  TwoContexts other = merged;
  one.models[0] = {1000, 2001, 11};    // one bin
  other.models[0] = {4000, 8001, 13};  // three bins
  merge(merged, {one, other});
  check_equal(merged.models[0].fast(), 3250U);  // (1000 + 3 * 4000) / 4
  check_equal(merged.models[0].slow(), 6501U);  // (2001 + 3 * 8001) / 4
  check_equal(merged.models[0].count(), 14U);
}

// The copy that saw no bin has no weight, whatever its numbers are.
void test_copies_without_bins_have_no_weight() {
  TwoContexts merged;
  merged.models[0] = {5000, 6000, 10};
  TwoContexts one = merged;
  TwoContexts unused = merged;
  one.models[0] = {1001, 2003, 17};
  merge(merged, {unused, one, unused});
  check_equal(merged.models[0].fast(), 1001U);
  check_equal(merged.models[0].slow(), 2003U);
  check_equal(merged.models[0].count(), 17U);
}

void test_what_no_copy_used_stays() {
  TwoContexts merged;
  merged.models[1] = {123, 456, 255};
  merged.mixer.weights = {1, -2, 3};
  merged.mixer.count = 77;
  merge(merged, {merged, merged});
  check(merged.models[1].fast() == 123 && merged.models[1].slow() == 456, "the same estimates");
  check_equal(merged.models[1].count(), 255U);
  check_equal(merged.mixer.weights, std::array<std::int32_t, 3>{1, -2, 3});
  check_equal(merged.mixer.count, 77U);
}

// Division truncates towards zero, of negative weights too.
void test_mixer_weights_become_the_mean_weighed_by_bins() {
  TwoContexts merged;
  merged.mixer.weights = {0, 0, 0};
  merged.mixer.count = 4096;
  TwoContexts one = merged;
  TwoContexts other = merged;
  one.mixer.weights = {-10, 1 << 19, 7};
  one.mixer.count += 1;
  other.mixer.weights = {-15, -(1 << 19), 8};
  other.mixer.count += 2;
  merge(merged, {one, other});
  check_equal(merged.mixer.weights, std::array<std::int32_t, 3>{-13, -174762, 7});
  check_equal(merged.mixer.count, 4099U);
}

void test_many_bins_do_not_overflow() {
  // A schema has at most 2^31 - 1 elements, and no context more than one bin for each.
  TwoContexts merged;
  TwoContexts copy = merged;
  copy.models[0] = {kMostEstimate, kMostEstimate, 1U << 26};
  copy.mixer.weights.fill(-MixerWeights<3>::kMaxWeight);
  copy.mixer.count = 1U << 26;
  std::vector<TwoContexts> copies(32, copy);
  copies.back().models[0] = {kMostEstimate, kMostEstimate, (1U << 26) - 1};
  merge(merged, copies);
  check_equal(merged.models[0].fast(), kMostEstimate);
  check_equal(merged.models[0].slow(), kMostEstimate);
  check_equal(merged.models[0].count(), 0x7FFFFFFFU);
  check_equal(merged.mixer.weights[2], -MixerWeights<3>::kMaxWeight);
}

void test_counts_settle_before_a_packet() {
  std::vector<TwoContexts> sets(2);
  sets[0].models[0] = BitModel(123456789, 987654321, 254);
  sets[0].models[1] = BitModel(123456789, 987654321, 255);
  sets[1].models[0] = BitModel(123456789, 987654321, 256);
  sets[1].models[1] = BitModel(123456789, 987654321, 0xFFFFFFFF);
  sets[0].mixer.count = 4095;
  sets[1].mixer.count = 5000;
  settle_counts(std::span(sets));
  check_equal(sets[0].models[0].count(), 254U);
  check_equal(sets[0].models[1].count(), 255U);
  check_equal(sets[1].models[0].count(), 255U);
  check_equal(sets[1].models[1].count(), 255U);
  check_equal(sets[1].models[1].fast(), 123456789U);
  check_equal(sets[1].models[1].slow(), 987654321U);
  check_equal(sets[0].mixer.count, 4095U);
  check_equal(sets[1].mixer.count, 4096U);
}

// Of real context sets: a copy alone replaces what was there, and bins of two copies end between
// what each of them learnt.
template <class Contexts>
void check_real_contexts() {
  Random random(143);
  const auto merged = std::make_unique<Contexts>();
  const auto one = std::make_unique<Contexts>(*merged);
  const auto other = std::make_unique<Contexts>(*merged);
  for (int i = 0; i < 500; ++i) {
    one->significant(first_level()).update(random.chance(0.1F));
    other->significant(first_level()).update(random.chance(0.6F));
  }
  const std::uint32_t low = one->significant(first_level()).probability();
  const std::uint32_t high = other->significant(first_level()).probability();
  std::array<Contexts*, 1> alone{one.get()};
  const auto copied = std::make_unique<Contexts>(*merged);
  merge_contexts(*copied, std::span<Contexts* const>(alone));
  check_equal(copied->significant(first_level()).probability(), low);
  std::array<Contexts*, 2> both{one.get(), other.get()};
  merge_contexts(*merged, std::span<Contexts* const>(both));
  const std::uint32_t between = merged->significant(first_level()).probability();
  check(low < between && between < high, "a probability between those of the copies");
  check_equal(merged->greater(first_level(), 1).probability(),
              Contexts().greater(first_level(), 1).probability());
}

void test_real_contexts_are_merged() {
  check_real_contexts<FastContexts>();
  check_real_contexts<MixedContexts>();
}

}  // namespace
}  // namespace fl_deepcabac::testing

int main() {
  using namespace fl_deepcabac::testing;
  return run_tests({
      {"estimates_become_the_mean_weighed_by_bins", test_estimates_become_the_mean_weighed_by_bins},
      {"copies_without_bins_have_no_weight", test_copies_without_bins_have_no_weight},
      {"what_no_copy_used_stays", test_what_no_copy_used_stays},
      {"mixer_weights_become_the_mean_weighed_by_bins",
       test_mixer_weights_become_the_mean_weighed_by_bins},
      {"many_bins_do_not_overflow", test_many_bins_do_not_overflow},
      {"counts_settle_before_a_packet", test_counts_settle_before_a_packet},
      {"real_contexts_are_merged", test_real_contexts_are_merged},
  });
}
