// SPDX-License-Identifier: Apache-2.0
// The contexts of what is coded once a tensor: its step and its reconstruction (spec 5.2, 5.7).
//
// The same in every profile, and shared by all tensors.
#pragma once

#include <array>
#include <cstddef>

#include "fl_deepcabac/contexts.hpp"

namespace fl_deepcabac {

struct TensorContexts {
  BitModel dependent;                   // the packet's levels follow the trellis
  std::array<BitModel, 2> tensor_zero;  // [tensor of more than one row]
  std::array<BitModel, 2> repeats;      // [a step of the tensor's own is known]
  std::array<BitModel, kMaxPrefix> prefix;
  BitModel negative;
  BitModel has_low_bits;
  BitModel keeps_offsets;   // the tensor's offsets are those it had
  BitModel copies_offsets;  // they are those of the tensor before
  std::array<BitModel, kMaxPrefix> offset_prefix;

  // Every model once, in the order of the saved state (spec 10.2).
  template <class Self, class Visitor>
  static void visit_models(Self& self, Visitor&& visit) {
    visit(self.dependent);
    visit_all(self.tensor_zero, visit);
    visit_all(self.repeats, visit);
    visit_all(self.prefix, visit);
    visit(self.negative);
    visit(self.has_low_bits);
    visit(self.keeps_offsets);
    visit(self.copies_offsets);
    visit_all(self.offset_prefix, visit);
  }

  [[nodiscard]] bool operator==(const TensorContexts&) const noexcept = default;
};

}  // namespace fl_deepcabac
