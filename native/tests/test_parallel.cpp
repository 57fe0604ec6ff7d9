// SPDX-License-Identifier: Apache-2.0
#include "fl_deepcabac/parallel.hpp"

#include <set>
#include <stdexcept>
#include <string>

#include "check.hpp"

namespace fl_deepcabac::testing {
namespace {

constexpr std::size_t kThreadCounts[] = {0, 1, 2, 3, 8};

void test_each_task_runs_once() {
  for (const std::size_t n_threads : kThreadCounts) {
    for (const std::size_t n_tasks : {0U, 1U, 2U, 5U, 1000U}) {
      std::vector<std::atomic<int>> n_runs(n_tasks);
      run_parallel(n_tasks, n_threads, [&](std::size_t i) { ++n_runs[i]; });
      bool is_each_once = true;
      for (const auto& n : n_runs)
        is_each_once = is_each_once && n == 1;
      check(is_each_once, "each task to run once");
    }
  }
}

// Written without locks: run_parallel() must have ended all threads when it returns.
void test_results_are_there_afterwards() {
  for (int round = 0; round < 50; ++round) {
    std::vector<std::size_t> squares(64, 0);
    run_parallel(squares.size(), 4, [&](std::size_t i) { squares[i] = i * i; });
    for (std::size_t i = 0; i < squares.size(); ++i)
      check_equal(squares[i], i * i);
  }
}

void test_no_more_threads_than_asked_for() {
  for (const std::size_t n_threads : kThreadCounts) {
    std::mutex mutex;
    std::set<std::thread::id> ids;
    run_parallel(200, n_threads, [&](std::size_t) {
      const std::scoped_lock lock(mutex);
      ids.insert(std::this_thread::get_id());
    });
    check(ids.size() <= std::max<std::size_t>(n_threads, 1), "no more threads than asked for");
  }
  std::thread::id id;
  run_parallel(1, 8, [&](std::size_t) { id = std::this_thread::get_id(); });
  check(id == std::this_thread::get_id(), "one task to run here");
}

void test_exceptions_arrive_and_end_the_work() {
  for (const std::size_t n_threads : kThreadCounts) {
    std::atomic<int> n_runs{0};
    std::string found;
    try {
      run_parallel(100000, n_threads, [&](std::size_t i) {
        ++n_runs;
        if (i == 7) throw std::runtime_error("seven");
      });
    } catch (const std::runtime_error& error) {
      found = error.what();
    }
    check(found == "seven", "the exception of a task");
    check(n_runs >= 8, "the tasks before to have been begun");
    if (n_threads <= 1) check_equal(n_runs.load(), 8);
  }
}

void test_one_of_many_exceptions_arrives() {
  for (int round = 0; round < 20; ++round) {
    int n_caught = 0;
    try {
      run_parallel(64, 4, [](std::size_t i) { throw i; });
    } catch (const std::size_t i) {
      n_caught += i < 64 ? 1 : 0;
    }
    check_equal(n_caught, 1);
  }
}

}  // namespace
}  // namespace fl_deepcabac::testing

int main() {
  using namespace fl_deepcabac::testing;
  return run_tests({
      {"each_task_runs_once", test_each_task_runs_once},
      {"results_are_there_afterwards", test_results_are_there_afterwards},
      {"no_more_threads_than_asked_for", test_no_more_threads_than_asked_for},
      {"exceptions_arrive_and_end_the_work", test_exceptions_arrive_and_end_the_work},
      {"one_of_many_exceptions_arrives", test_one_of_many_exceptions_arrives},
  });
}
