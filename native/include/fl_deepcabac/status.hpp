// SPDX-License-Identifier: Apache-2.0
// What a core function can report.
//
// Numbers are stable: families leave gaps and a retired number is never reused. The Python side
// maps each of them to one exception class.
#pragma once

#include <cstdint>

namespace fl_deepcabac {

enum class Status : std::int32_t {
  kOk = 0,

  // The caller's numbers cannot be coded.
  kNonFinite = 10,
  kLevelRange = 11,
  kStepRange = 12,

  // The payload contradicts the format (spec 11).
  kPayloadTruncated = 20,
  kPayloadTrailing = 21,
  kPayloadLevelRange = 22,
  kPayloadStepRange = 23,
  kPayloadEnd = 24,
  kPayloadOffsetRange = 25,
  kPayloadLength = 26,
  kPayloadInterval = 27,

  // The saved state contradicts the layout (spec 10).
  kStateTruncated = 30,
  kStateTrailing = 31,
  kStateVersion = 32,
  kStateLayout = 33,
  kStateValue = 34,

  // The caller's arrays do not fit the layout.
  kLengthMismatch = 40,
};

// A status and the place it speaks of: an element index for values, a byte offset for payload and
// state.
struct [[nodiscard]] Result {
  Status status = Status::kOk;
  std::int64_t position = 0;

  [[nodiscard]] bool ok() const noexcept { return status == Status::kOk; }
};

}  // namespace fl_deepcabac
