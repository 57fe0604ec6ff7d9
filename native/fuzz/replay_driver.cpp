// SPDX-License-Identifier: Apache-2.0
// Runs a fuzz target without a fuzzing engine: on every file of a corpus folder, then on a fixed
// number of mutations of each, the same on every machine.
//
//     fuzz_NAME CORPUS_FOLDER [MUTATIONS_PER_FILE]
//
// With an engine, the same target is built by: clang++ -std=c++20
// -fsanitize=fuzzer,address,undefined -Iinclude fuzz/fuzz_NAME.cpp src/*.cpp
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <vector>

#include "random.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t n_bytes);

namespace {

using Bytes = std::vector<std::uint8_t>;
using fl_deepcabac::testing::Random;

constexpr long kDefaultMutations = 15;

Bytes read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::vector<Bytes> read_corpus(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.is_regular_file()) paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  std::vector<Bytes> corpus;
  for (const auto& path : paths)
    corpus.push_back(read_file(path));
  return corpus;
}

void run_target(const Bytes& input) {
  const auto exact = std::make_unique<std::uint8_t[]>(input.size());
  std::copy(input.begin(), input.end(), exact.get());
  LLVMFuzzerTestOneInput(exact.get(), input.size());
}

// One change: a flipped bit, another byte, a cut, a byte more, or the end of another input.
void mutate(Bytes& input, const std::vector<Bytes>& corpus, Random& random) {
  const auto at = [&](const Bytes& bytes) {
    return bytes.begin() + random.below(static_cast<std::uint32_t>(bytes.size()) + 1);
  };
  const Bytes& other = corpus[random.below(static_cast<std::uint32_t>(corpus.size()))];
  const std::uint32_t kind = input.empty() ? 3 : random.below(5);
  if (kind == 0) {
    input[random.below(static_cast<std::uint32_t>(input.size()))] ^=
        static_cast<std::uint8_t>(1U << random.below(8));
  } else if (kind == 1) {
    input[random.below(static_cast<std::uint32_t>(input.size()))] =
        static_cast<std::uint8_t>(random.next());
  } else if (kind == 2) {
    input.erase(at(input), input.end());
  } else if (kind == 3) {
    input.insert(at(input), static_cast<std::uint8_t>(random.next()));
  } else {
    input.erase(at(input), input.end());
    input.insert(input.end(), at(other), other.end());
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2 || !std::filesystem::is_directory(argv[1])) {
    std::fprintf(stderr, "expected a corpus folder, found %s\n", argc < 2 ? "none" : argv[1]);
    return 2;
  }
  const std::vector<Bytes> corpus = read_corpus(argv[1]);
  if (corpus.empty()) {
    std::fprintf(stderr, "expected files in %s, found none\n", argv[1]);
    return 2;
  }
  const long n_mutations = argc > 2 ? std::strtol(argv[2], nullptr, 10) : kDefaultMutations;
  Random random(1);
  for (const Bytes& original : corpus) {
    run_target(original);
    Bytes input = original;
    for (long i = 0; i < n_mutations; ++i) {
      // Changes pile up to eight deep, then the original is taken again.
      if (i % 8 == 0) input = original;
      mutate(input, corpus, random);
      run_target(input);
    }
  }
  std::printf("%zu files and %ld mutations of each: no fault found\n", corpus.size(), n_mutations);
  return 0;
}
