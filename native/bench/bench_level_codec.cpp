// SPDX-License-Identifier: Apache-2.0
// Speed and size of the three coding functions, on updates near 0.4 bit a weight.
//
//     bench_level_codec [COLUMNS [ROUNDS [PROFILE]]]
//
// The layout is a matrix of 512 rows and a vector. With few columns and one round the run is short
// and does the same work every time, so that instruction counts (callgrind) compare between
// versions.
#include <bit>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "fl_deepcabac/level_codec.hpp"
#include "update_source.hpp"

namespace fl_deepcabac::testing {
namespace {

constexpr float kStep = 1.25F;
constexpr float kPrice = 0.1F;
// Rounds that contexts and history learn from before anything is measured.
constexpr int kWarmRounds = 2;

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

// Codes one update in the three ways; the stream moves on by it.
void measure_round(StreamState& state, const std::vector<float>& values, Measured& measured) {
  const std::vector<std::uint32_t> steps(state.shapes.size(), std::bit_cast<std::uint32_t>(kStep));
  StreamState given = state;
  StreamState receiver = state;
  CodedLevels chosen;
  CodedLevels repeated;
  CodedLevels received;
  measured.encode_values.run([&] { return encode_values(state, values, steps, kPrice, chosen); });
  measured.encode_levels.run([&] { return encode_levels(given, chosen.levels, steps, repeated); });
  measured.decode_levels.run([&] { return decode_levels(receiver, chosen.payload, received); });
  if (received.levels != chosen.levels) {
    std::fprintf(stderr, "expected the levels that were encoded\n");
    std::exit(1);
  }
  measured.n_weights += static_cast<double>(values.size());
  measured.n_bytes += static_cast<double>(chosen.payload.size());
}

void print(const char* profile, const Measured& measured) {
  const auto rate = [&](const Timer& timer) { return measured.n_weights / timer.seconds / 1e6; };
  std::printf(
      "%-5s %7.3f bit/weight   million weights/s: encode_values %6.1f  encode_levels %6.1f  "
      "decode_levels %6.1f\n",
      profile, 8.0 * measured.n_bytes / measured.n_weights, rate(measured.encode_values),
      rate(measured.encode_levels), rate(measured.decode_levels));
}

// An empty `only` stands for all profiles.
void run_benchmark(std::uint32_t n_columns, int n_rounds, std::string_view only) {
  const std::pair<Profile, const char*> profiles[] = {{Profile::kFast, "fast"},
                                                      {Profile::kMax, "max"}};
  for (const auto& [profile, name] : profiles) {
    if (!only.empty() && only != name) continue;
    UpdateSource source({{512, n_columns}, {1, n_columns}}, 1);
    StreamState state(source.shapes(), profile);
    Measured warming;
    for (int round = 0; round < kWarmRounds; ++round)
      measure_round(state, source.next(), warming);
    Measured measured;
    for (int round = 0; round < n_rounds; ++round)
      measure_round(state, source.next(), measured);
    print(name, measured);
  }
}

}  // namespace
}  // namespace fl_deepcabac::testing

int main(int argc, char** argv) {
  const long n_columns = argc > 1 ? std::strtol(argv[1], nullptr, 10) : 2048;
  const long n_rounds = argc > 2 ? std::strtol(argv[2], nullptr, 10) : 3;
  const std::string_view profile = argc > 3 ? argv[3] : "";
  if (n_columns < 1 || n_columns > 1'000'000 || n_rounds < 1 || n_rounds > 1000) {
    std::fprintf(stderr, "expected 1 to 1000000 columns and 1 to 1000 rounds\n");
    return 2;
  }
  if (!profile.empty() && profile != "fast" && profile != "max") {
    std::fprintf(stderr, "expected the profile fast or max, found %s\n", argv[3]);
    return 2;
  }
  fl_deepcabac::testing::run_benchmark(static_cast<std::uint32_t>(n_columns),
                                       static_cast<int>(n_rounds), profile);
  return 0;
}
