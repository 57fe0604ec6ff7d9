// SPDX-License-Identifier: Apache-2.0
// Speed and size of the three coding functions, on updates near 0.4 bit a weight; with levels
// chosen one by one, then by the trellis.
//
//     bench_level_codec [COLUMNS [ROUNDS [PROFILE [greedy|trellis [THREADS]]]]]
//
// The layout is a matrix of 512 rows and a vector. With few columns and one round the run is short
// and does the same work every time, so that instruction counts (callgrind) compare between
// versions.
#include <algorithm>
#include <bit>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <string_view>
#include <utility>

#include "fl_deepcabac/level_codec.hpp"
#include "update_source.hpp"

namespace fl_deepcabac::testing {
namespace {

constexpr float kStep = 1.25F;
constexpr float kPrice = 0.1F;
// Rounds that contexts and history learn from before anything is measured.
constexpr int kWarmRounds = 2;

constexpr std::pair<Profile, const char*> kProfiles[] = {{Profile::kFast, "fast"},
                                                         {Profile::kMax, "max"}};
constexpr std::pair<bool, const char*> kChoices[] = {{false, "greedy"}, {true, "trellis"}};

struct Timer {
  double seconds = 0.0;

  template <class Call>
  auto run(Call&& call) {
    const auto start = std::chrono::steady_clock::now();
    const Result result = call();
    seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (!result.ok()) {
      std::fprintf(stderr, "expected status 0, found %d\n", static_cast<int>(result.status));
      std::exit(1);
    }
  }
};

struct Measured {
  Timer encode_values;
  Timer encode_levels;
  Timer decode_levels;
  double n_weights = 0.0;
  double n_bytes = 0.0;
};

// What is measured, and how often; empty names stand for all.
struct Plan {
  std::uint32_t n_columns = 2048;
  int n_rounds = 3;
  std::string_view profile;
  std::string_view choice;
  std::size_t n_threads = 1;
};

// Codes one update in the three ways; the stream moves on by it.
void measure_round(StreamState& state, const std::vector<float>& values, const Choice& choice,
                   std::size_t n_threads, Measured& measured) {
  const std::vector<std::uint32_t> steps(state.shapes.size(), std::bit_cast<std::uint32_t>(kStep));
  StreamState given = state;
  StreamState receiver = state;
  CodedLevels chosen;
  CodedLevels repeated;
  CodedLevels received;
  measured.encode_values.run(
      [&] { return encode_values(state, values, steps, choice, chosen, n_threads); });
  measured.encode_levels.run(
      [&] { return encode_levels(given, chosen.levels, steps, repeated, n_threads); });
  measured.decode_levels.run(
      [&] { return decode_levels(receiver, chosen.payload, received, n_threads); });
  if (received.values != chosen.values) {
    std::fprintf(stderr, "expected the values that were encoded\n");
    std::exit(1);
  }
  measured.n_weights += static_cast<double>(values.size());
  measured.n_bytes += static_cast<double>(chosen.payload.size());
}

void print(const char* profile, const char* choice, const Measured& measured) {
  const auto rate = [&](const Timer& timer) { return measured.n_weights / timer.seconds / 1e6; };
  std::printf(
      "%-5s %-8s %7.3f bit/weight   million weights/s: encode_values %6.1f  encode_levels %6.1f  "
      "decode_levels %6.1f\n",
      profile, choice, 8.0 * measured.n_bytes / measured.n_weights, rate(measured.encode_values),
      rate(measured.encode_levels), rate(measured.decode_levels));
}

void measure_case(const Plan& plan, std::pair<Profile, const char*> profile,
                  std::pair<bool, const char*> choice) {
  UpdateSource source({{512, plan.n_columns}, {1, plan.n_columns}}, 1);
  StreamState state(source.shapes(), profile.first);
  const Choice way{.price = kPrice, .is_dependent = choice.first};
  Measured warming;
  for (int round = 0; round < kWarmRounds; ++round)
    measure_round(state, source.next(), way, plan.n_threads, warming);
  Measured measured;
  for (int round = 0; round < plan.n_rounds; ++round)
    measure_round(state, source.next(), way, plan.n_threads, measured);
  print(profile.second, choice.second, measured);
}

void run_benchmark(const Plan& plan) {
  for (const auto& profile : kProfiles) {
    if (!plan.profile.empty() && plan.profile != profile.second) continue;
    for (const auto& choice : kChoices) {
      if (plan.choice.empty() || plan.choice == choice.second) measure_case(plan, profile, choice);
    }
  }
}

template <class Names>
bool is_one_of(std::string_view name, const Names& names) {
  return name.empty() || std::any_of(std::begin(names), std::end(names),
                                     [&](const auto& known) { return name == known.second; });
}

}  // namespace
}  // namespace fl_deepcabac::testing

int main(int argc, char** argv) {
  using namespace fl_deepcabac::testing;
  const auto number = [&](int i, long otherwise) {
    return argc > i ? std::strtol(argv[i], nullptr, 10) : otherwise;
  };
  const long n_columns = number(1, 2048);
  const long n_rounds = number(2, 3);
  const long n_threads = number(5, 1);
  if (n_columns < 1 || n_columns > 1'000'000 || n_rounds < 1 || n_rounds > 1000 || n_threads < 1 ||
      n_threads > 64) {
    std::fprintf(stderr, "expected 1 to 1000000 columns, 1 to 1000 rounds and 1 to 64 threads\n");
    return 2;
  }
  const Plan plan{.n_columns = static_cast<std::uint32_t>(n_columns),
                  .n_rounds = static_cast<int>(n_rounds),
                  .profile = argc > 3 ? argv[3] : "",
                  .choice = argc > 4 ? argv[4] : "",
                  .n_threads = static_cast<std::size_t>(n_threads)};
  if (!is_one_of(plan.profile, kProfiles) || !is_one_of(plan.choice, kChoices)) {
    std::fprintf(stderr, "expected the profile fast or max, and greedy or trellis\n");
    return 2;
  }
  run_benchmark(plan);
  return 0;
}
