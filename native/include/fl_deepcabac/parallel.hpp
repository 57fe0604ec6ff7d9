// SPDX-License-Identifier: Apache-2.0
// Independent tasks on several threads.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "fl_deepcabac/watch.hpp"

namespace fl_deepcabac {

// Tasks that several threads take from each other, and what became of them.
template <class Task>
class TaskQueue {
 public:
  TaskQueue(std::size_t n_tasks, const Execution& execution, Task& task)
      : n_tasks_(n_tasks), execution_(execution), task_(task) {}

  // Run tasks until none is left. Never throws: what a task throws ends the others.
  void work() noexcept {
    try {
      for (std::size_t i = next_++; i < n_tasks_; i = next_++) {
        execution_.look();
        task_(i);
      }
    } catch (const Watch::Stopped&) {
      next_ = n_tasks_;  // the thread that asked has the reason
    } catch (...) {
      fail(std::current_exception());
    }
    const std::scoped_lock lock(mutex_);
    ++n_ended_;
    ended_.notify_all();
  }
  // Until `n_workers` have ended, with an ear for the caller.
  void wait_for(std::size_t n_workers) {
    std::unique_lock lock(mutex_);
    const auto all_ended = [&] { return n_ended_ >= n_workers; };
    if (execution_.watch == nullptr) {
      ended_.wait(lock, all_ended);
      return;
    }
    while (!ended_.wait_for(lock, execution_.watch->interval(), all_ended)) {
      if (failure_) continue;  // nothing more to ask about: the others are about to end
      lock.unlock();
      try {
        execution_.look();
      } catch (...) {
        fail(std::current_exception());
      }
      lock.lock();
    }
  }
  void rethrow() const {
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  void fail(const std::exception_ptr& failure) noexcept {
    const std::scoped_lock lock(mutex_);
    if (!failure_) failure_ = failure;
    next_ = n_tasks_;
  }

  std::size_t n_tasks_;
  const Execution& execution_;
  Task& task_;
  std::atomic<std::size_t> next_{0};
  std::mutex mutex_;
  std::condition_variable ended_;
  std::size_t n_ended_ = 0;     // workers that found nothing more to do; under mutex_
  std::exception_ptr failure_;  // the first one; under mutex_
};

// Calls task(0) .. task(n_tasks - 1), each once, on at most as many threads as `execution` says,
// this one among them. An exception of a task, or of the watch, is thrown here after all threads
// have ended.
template <class Task>
void run_parallel(std::size_t n_tasks, const Execution& execution, Task&& task) {
  TaskQueue<std::remove_reference_t<Task>> queue(n_tasks, execution, task);
  {
    std::vector<std::jthread> helpers;
    for (std::size_t i = 1; i < std::min(execution.n_threads, n_tasks); ++i) {
      try {
        helpers.emplace_back([&queue] { queue.work(); });
      } catch (...) {
        break;  // a system without threads to spare: those there are do it all
      }
    }
    queue.work();
    queue.wait_for(helpers.size() + 1);
  }
  queue.rethrow();
}

}  // namespace fl_deepcabac
