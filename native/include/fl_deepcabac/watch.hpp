// SPDX-License-Identifier: Apache-2.0
// Lets the caller of a long call end it: with Ctrl-C, say.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <exception>
#include <functional>
#include <thread>
#include <utility>

namespace fl_deepcabac {

// Asks the caller, now and then and only on the thread that made the watch, whether to go on. A
// caller that does not want to throws, and that exception ends the call; its other threads end soon
// after, each by a `Stopped` that nobody outside sees.
class Watch {
 public:
  class Stopped : public std::exception {};

  // A second must not pass before the caller is heard, and asking may cost some milliseconds.
  static constexpr std::chrono::milliseconds kInterval{200};

  explicit Watch(std::function<void()> ask, std::chrono::nanoseconds interval = kInterval)
      : ask_(std::move(ask)), interval_(interval) {}

  // From any thread, at least every few milliseconds.
  void look() {
    if (is_stopped_.load(std::memory_order_relaxed)) throw Stopped{};
    if (std::this_thread::get_id() != owner_) return;
    const auto now = std::chrono::steady_clock::now();
    if (now - last_asked_ < interval_) return;
    last_asked_ = now;
    try {
      ask_();
    } catch (...) {
      is_stopped_.store(true, std::memory_order_relaxed);
      throw;
    }
  }
  [[nodiscard]] std::chrono::nanoseconds interval() const noexcept { return interval_; }

 private:
  std::function<void()> ask_;
  std::chrono::nanoseconds interval_;
  std::thread::id owner_ = std::this_thread::get_id();
  std::chrono::steady_clock::time_point last_asked_ = std::chrono::steady_clock::now();
  std::atomic<bool> is_stopped_{false};
};

// How a call runs: on how many threads at most, and who may end it.
struct Execution {
  // A number of threads alone will do.
  // NOLINTNEXTLINE(*explicit-constructor*)
  Execution(std::size_t threads = 1, Watch* caller = nullptr) noexcept
      : n_threads(threads), watch(caller) {}

  void look() const {
    if (watch != nullptr) watch->look();
  }

  std::size_t n_threads;
  Watch* watch;
};

}  // namespace fl_deepcabac
