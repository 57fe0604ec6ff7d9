// SPDX-License-Identifier: Apache-2.0
// A number that two different updates hardly share (spec 8.1): against accidents and mistakes, not
// against an attacker, who can work it out.
#pragma once

#include <cstdint>
#include <span>

namespace fl_deepcabac {

[[nodiscard]] std::uint32_t value_digest(std::span<const float> values) noexcept;

}  // namespace fl_deepcabac
