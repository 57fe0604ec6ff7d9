// SPDX-License-Identifier: Apache-2.0
// Contexts that chunks have moved apart become one again (spec 7.8).
//
// Every chunk begins with the stream's contexts and moves a copy of them. Afterwards each number is
// the mean of the copies', weighed by the bins that each copy has seen in this packet.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "fl_deepcabac/bit_model.hpp"
#include "fl_deepcabac/mixer.hpp"

namespace fl_deepcabac {

[[nodiscard]] inline std::uint32_t count_of(const BitModel& model) noexcept {
  return model.count();
}
template <std::size_t n_inputs>
[[nodiscard]] std::uint32_t count_of(const MixerWeights<n_inputs>& mixer) noexcept {
  return mixer.count;
}

// Before a packet: counts need not grow beyond the age at which rates settle, so that within the
// packet they count bins.
template <class Contexts>
void settle_counts(std::span<Contexts> sets) {
  for (Contexts& contexts : sets) {
    Contexts::visit_models(contexts, [](BitModel& model) { model.settle(); });
    Contexts::visit_mixers(contexts,
                           [](auto& mixer) { mixer.count = std::min(mixer.count, kSettledMixer); });
  }
}

// Replaces `merged`, as it was before the packet, by the mean of `copies`.
template <class Contexts>
void merge_contexts(Contexts& merged, std::span<Contexts* const> copies) {
  // The n-th model, or mixer, of every copy: visits are in the same order.
  const auto each = [&](auto&& visit_copies, auto&& merge_one) {
    std::vector<std::vector<void*>> found(copies.size());
    for (std::size_t copy = 0; copy < copies.size(); ++copy) {
      visit_copies(*copies[copy], [&](auto& item) { found[copy].push_back(&item); });
    }
    std::size_t n = 0;
    visit_copies(merged, [&]<class Item>(Item& item) {
      std::vector<const Item*> items;
      items.reserve(found.size());
      for (const auto& of_copy : found)
        items.push_back(static_cast<const Item*>(of_copy[n]));
      merge_one(item, items);
      ++n;
    });
  };
  const auto weigh = [](const auto& before, const auto& copies_of, auto&& value_of) {
    std::int64_t sum = 0;
    std::int64_t total = 0;
    for (const auto* copy : copies_of) {
      const auto n_bins = static_cast<std::int64_t>(count_of(*copy) - count_of(before));
      sum += n_bins * static_cast<std::int64_t>(value_of(*copy));
      total += n_bins;
    }
    return total == 0 ? static_cast<std::int64_t>(value_of(before)) : sum / total;
  };
  const auto n_bins_of = [](const auto& before, const auto& copies_of) {
    std::uint32_t n_bins = 0;
    for (const auto* copy : copies_of)
      n_bins += count_of(*copy) - count_of(before);
    return n_bins;
  };
  each([](Contexts& contexts, auto&& visit) { Contexts::visit_models(contexts, visit); },
       [&](BitModel& model, const auto& items) {
         const auto fast = weigh(model, items, [](const BitModel& m) { return m.fast(); });
         const auto slow = weigh(model, items, [](const BitModel& m) { return m.slow(); });
         model = BitModel(static_cast<std::uint32_t>(fast), static_cast<std::uint32_t>(slow),
                          model.count() + n_bins_of(model, items));
       });
  each([](Contexts& contexts, auto&& visit) { Contexts::visit_mixers(contexts, visit); },
       [&](auto& mixer, const auto& items) {
         const auto before = mixer;
         for (std::size_t i = 0; i < mixer.weights.size(); ++i) {
           mixer.weights[i] = static_cast<std::int32_t>(
               weigh(before, items, [i](const auto& m) { return m.weights[i]; }));
         }
         mixer.count += n_bins_of(before, items);
       });
}

}  // namespace fl_deepcabac
