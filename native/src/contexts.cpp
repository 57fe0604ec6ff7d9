// SPDX-License-Identifier: Apache-2.0
#include "fl_deepcabac/contexts.hpp"

#include "fl_deepcabac/start_values.hpp"

namespace fl_deepcabac {
namespace {

// Calls set(model, indices...) for every model of a table.
template <class Set, class... Indices>
void for_each_model(BitModel& model, Set&& set, Indices... indices) {
  set(model, indices...);
}
template <class Table, std::size_t n, class Set, class... Indices>
void for_each_model(std::array<Table, n>& table, Set&& set, Indices... indices) {
  for (std::size_t i = 0; i < n; ++i)
    for_each_model(table[i], set, indices..., static_cast<std::int32_t>(i));
}

}  // namespace

FastContexts::FastContexts() noexcept {
  using Index = std::int32_t;
  for_each_model(block_coded_, [](BitModel& model, Index left, Index up, Index activity) {
    model = start_at(start_of_block_coded(left, up, activity));
  });
  for_each_model(left_half_, [](BitModel& model, Index /*depth*/, Index balance) {
    model = start_at(start_of_left_half(balance));
  });
  for_each_model(right_half_, [](BitModel& model, Index depth, Index active) {
    model = start_at(start_of_right_half(depth, active));
  });
  for_each_model(significant_, [](BitModel& model, Index quantizer, Index history, Index spatial) {
    model = start_at(start_of_significant(quantizer, history, spatial));
  });
  for_each_model(negative_, [](BitModel& model, Index sign, Index left) {
    model = start_at(start_of_negative(sign, left));
  });
  for_each_model(greater_, [](BitModel& model, Index index, Index magnitude) {
    const bool is_second = index == kGreaterBins;
    model = start_at(start_of_greater(is_second ? 1 : index + 1, is_second ? 1 : 0, magnitude));
  });
}

}  // namespace fl_deepcabac
