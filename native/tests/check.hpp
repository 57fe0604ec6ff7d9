// SPDX-License-Identifier: Apache-2.0
// What the C++ tests check with: no framework, so that nothing has to be fetched.
//
// A failed check prints its place and what it found, and the test goes on. A test that checks
// nothing fails too. Everything else that can go wrong ends the process under the sanitizers.
#pragma once

#include <cstdio>
#include <initializer_list>
#include <type_traits>

namespace fl_deepcabac::testing {

struct CheckCounts {
  long n_checks = 0;
  long n_failures = 0;
};

inline CheckCounts& check_counts() {
  static CheckCounts counts;
  return counts;
}

// Failures beyond this many are counted, not printed.
inline constexpr long kPrintedFailures = 20;

// Counts one check; true where it failed and is to be printed.
inline bool count_check(bool holds) {
  CheckCounts& counts = check_counts();
  ++counts.n_checks;
  if (holds) return false;
  return ++counts.n_failures <= kPrintedFailures;
}

inline void check(bool holds, const char* expectation, int line = __builtin_LINE(),
                  const char* file = __builtin_FILE()) {
  if (count_check(holds)) std::fprintf(stderr, "%s:%d: expected %s\n", file, line, expectation);
}

template <class Found, class Expected>
void check_equal(const Found& found, const Expected& expected, int line = __builtin_LINE(),
                 const char* file = __builtin_FILE()) {
  if (!count_check(found == expected)) return;
  if constexpr (std::is_arithmetic_v<Found> || std::is_enum_v<Found>) {
    std::fprintf(stderr, "%s:%d: expected %.17g, found %.17g\n", file, line,
                 static_cast<double>(expected), static_cast<double>(found));
  } else {
    std::fprintf(stderr, "%s:%d: expected equal values\n", file, line);
  }
}

inline void check_near(double found, double expected, double tolerance, int line = __builtin_LINE(),
                       const char* file = __builtin_FILE()) {
  const double distance = found < expected ? expected - found : found - expected;
  if (count_check(distance <= tolerance)) {
    std::fprintf(stderr, "%s:%d: expected %.9g +- %.3g, found %.9g\n", file, line, expected,
                 tolerance, found);
  }
}

struct Test {
  const char* name;
  void (*run)();
};

// Exit status of a test program: 0 where every test checked something and nothing failed.
inline int run_tests(std::initializer_list<Test> tests) {
  int n_failed_tests = 0;
  for (const Test& test : tests) {
    check_counts() = {};
    test.run();
    const CheckCounts counts = check_counts();
    const bool is_passed = counts.n_checks > 0 && counts.n_failures == 0;
    n_failed_tests += is_passed ? 0 : 1;
    std::printf("%s  %s: %ld of %ld checks failed\n", is_passed ? "pass" : "FAIL", test.name,
                counts.n_failures, counts.n_checks);
  }
  return n_failed_tests == 0 ? 0 : 1;
}

}  // namespace fl_deepcabac::testing
