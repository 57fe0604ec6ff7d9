// SPDX-License-Identifier: Apache-2.0
#include "fl_deepcabac/status.hpp"

#include <utility>

#include "check.hpp"

namespace fl_deepcabac::testing {
namespace {

// The Python side knows these numbers; a retired one is never reused.
void test_status_numbers_are_frozen() {
  constexpr std::pair<Status, int> kNumbers[] = {
      {Status::kOk, 0},
      {Status::kNonFinite, 10},
      {Status::kLevelRange, 11},
      {Status::kStepRange, 12},
      {Status::kPayloadTruncated, 20},
      {Status::kPayloadTrailing, 21},
      {Status::kPayloadLevelRange, 22},
      {Status::kPayloadStepRange, 23},
      {Status::kPayloadEnd, 24},
      {Status::kPayloadOffsetRange, 25},
      {Status::kPayloadLength, 26},
      {Status::kPayloadInterval, 27},
      {Status::kStateTruncated, 30},
      {Status::kStateTrailing, 31},
      {Status::kStateVersion, 32},
      {Status::kStateLayout, 33},
      {Status::kStateValue, 34},
      {Status::kLengthMismatch, 40},
  };
  for (const auto& [status, number] : kNumbers)
    check_equal(static_cast<int>(status), number);
}

void test_only_ok_is_ok() {
  check(Result{}.ok(), "a fresh result to be ok");
  check(Result{Status::kOk, 5}.ok(), "the position not to matter");
  check(!Result{Status::kLengthMismatch, 0}.ok(), "every other status not to be ok");
}

}  // namespace
}  // namespace fl_deepcabac::testing

int main() {
  using namespace fl_deepcabac::testing;
  return run_tests({
      {"status_numbers_are_frozen", test_status_numbers_are_frozen},
      {"only_ok_is_ok", test_only_ok_is_ok},
  });
}
