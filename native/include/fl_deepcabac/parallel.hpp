// SPDX-License-Identifier: Apache-2.0
// Independent tasks on several threads.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace fl_deepcabac {

// Calls task(0) .. task(n_tasks - 1), each once, on at most `n_threads` threads, this one among
// them. An exception of a task is thrown here after all threads have ended.
template <class Task>
void run_parallel(std::size_t n_tasks, std::size_t n_threads, Task&& task) {
  std::atomic<std::size_t> next{0};
  std::mutex mutex;
  std::exception_ptr failure;
  const auto work = [&] {
    try {
      for (std::size_t i = next++; i < n_tasks; i = next++)
        task(i);
    } catch (...) {
      const std::scoped_lock lock(mutex);
      if (!failure) failure = std::current_exception();
      next = n_tasks;
    }
  };
  {
    std::vector<std::jthread> helpers;
    for (std::size_t i = 1; i < std::min(n_threads, n_tasks); ++i) {
      try {
        helpers.emplace_back(work);
      } catch (...) {
        break;  // a system without threads to spare: those there are do it all
      }
    }
    work();
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace fl_deepcabac
