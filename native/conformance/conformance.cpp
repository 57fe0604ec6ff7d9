// SPDX-License-Identifier: Apache-2.0
// The same bytes from every build: encodes made-up streams and compares what comes out with a
// committed list, then decodes the golden packets.
//
//     conformance LIST [--quick] [--golden FOLDER] [--write]
//
// One line of the list is one packet: its length and checksums of its payload, levels, values and
// saved state. `--quick` leaves out updates of several chunks, which are coded on 1 to 8 threads.
// FOLDER holds what tests/golden/export_vectors.py writes. All numbers are taken apart into bytes
// by shifts, so lists do not depend on the byte order of the machine.
#include <bit>
#include <cstdio>
#include <cstring>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "conformance_cases.hpp"
#include "golden_vectors.hpp"

namespace fl_deepcabac::conformance {
namespace {

constexpr std::size_t kMostThreads = 8;

struct Arguments {
  std::string list;
  std::string golden_folder;
  bool is_quick = false;
  bool writes = false;
};

bool parse(int argc, char** argv, Arguments& arguments) {
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--quick") {
      arguments.is_quick = true;
    } else if (argument == "--write") {
      arguments.writes = true;
    } else if (argument == "--golden" && i + 1 < argc) {
      arguments.golden_folder = argv[++i];
    } else if (arguments.list.empty() && argument[0] != '-') {
      arguments.list = argument;
    } else {
      return false;
    }
  }
  return !arguments.list.empty();
}

// What all cases give on one thread; several threads must agree with it.
std::vector<std::string> run_cases(bool is_quick, int& n_faults) {
  std::vector<std::string> lines;
  for (const Case& made : cases()) {
    if (made.is_large && is_quick) continue;
    const std::vector<std::string> own = run_case(made, 1);
    lines.insert(lines.end(), own.begin(), own.end());
    for (std::size_t n_threads = 2; made.is_large && n_threads <= kMostThreads; ++n_threads) {
      if (run_case(made, n_threads) == own) continue;
      std::printf("FAULT %s: other bytes on %zu threads\n", made.name, n_threads);
      ++n_faults;
    }
  }
  return lines;
}

std::vector<std::string> read_lines(const std::string& path) {
  std::vector<std::string> lines;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);)
    lines.push_back(line);
  return lines;
}

// Lines of the list that a run lacks are no fault where it left cases out.
int compare(const std::vector<std::string>& found, const std::vector<std::string>& listed,
            bool is_quick) {
  int n_faults = 0;
  std::size_t next = 0;
  for (const std::string& line : found) {
    const std::string key = line.substr(0, line.find(' ', line.find(' ') + 1));
    while (next < listed.size() && is_quick && !listed[next].starts_with(key + ' '))
      ++next;
    if (next < listed.size() && listed[next] == line) {
      ++next;
      continue;
    }
    std::printf("FAULT expected %s\n      found    %s\n",
                next < listed.size() ? listed[next].c_str() : "no more lines", line.c_str());
    ++n_faults;
    ++next;
  }
  if (!is_quick && next < listed.size()) {
    std::printf("FAULT expected %zu lines more\n", listed.size() - next);
    ++n_faults;
  }
  return n_faults;
}

int run(const Arguments& arguments) {
  int n_faults = 0;
  const std::vector<std::string> found = run_cases(arguments.is_quick, n_faults);
  if (arguments.writes) {
    std::ofstream file(arguments.list);
    for (const std::string& line : found)
      file << line << '\n';
    return n_faults == 0 ? 0 : 1;
  }
  n_faults += compare(found, read_lines(arguments.list), arguments.is_quick);
  std::size_t n_golden = 0;
  if (!arguments.golden_folder.empty()) n_faults += check_golden(arguments.golden_folder, n_golden);
  std::printf("%zu packets coded, %zu golden packets decoded: %d faults\n", found.size(), n_golden,
              n_faults);
  return n_faults == 0 ? 0 : 1;
}

}  // namespace
}  // namespace fl_deepcabac::conformance

int main(int argc, char** argv) {
  using namespace fl_deepcabac::conformance;
  Arguments arguments;
  if (!parse(argc, argv, arguments)) {
    std::fprintf(stderr, "expected: conformance LIST [--quick] [--golden FOLDER] [--write]\n");
    return 2;
  }
  try {
    return run(arguments);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 2;
  }
}
