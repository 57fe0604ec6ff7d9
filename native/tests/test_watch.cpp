// SPDX-License-Identifier: Apache-2.0
// A caller that throws ends a call, on one thread and on several, and soon.
#include "fl_deepcabac/watch.hpp"

#include <bit>
#include <chrono>
#include <thread>

#include "fl_deepcabac/parallel.hpp"
#include "fl_deepcabac/parts.hpp"
#include "stream.hpp"

namespace fl_deepcabac::testing {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

struct Enough {};

// Asks at every look, and throws at one of them.
struct Caller {
  int n_looks = 0;
  int patience;

  explicit Caller(int looks) : patience(looks) {}
  [[nodiscard]] Watch watch() {
    return Watch(
        [this] {
          if (++n_looks > patience) throw Enough{};
        },
        nanoseconds(0));
  }
};

template <class Call>
bool is_ended(Call&& call) {
  try {
    call();
  } catch (const Enough&) {
    return true;
  }
  return false;
}

void test_a_watch_asks_no_more_often_than_it_should() {
  int n_asked = 0;
  Watch seldom([&] { ++n_asked; }, std::chrono::hours(1));
  for (int i = 0; i < 1000; ++i)
    seldom.look();
  check_equal(n_asked, 0);
  Watch always([&] { ++n_asked; }, nanoseconds(0));
  for (int i = 0; i < 10; ++i)
    always.look();
  check_equal(n_asked, 10);
}

void test_only_the_own_thread_is_asked() {
  int n_asked = 0;
  Watch watch([&] { ++n_asked; }, nanoseconds(0));
  std::jthread([&] { watch.look(); }).join();
  check_equal(n_asked, 0);
}

void test_others_stop_once_the_caller_has_thrown() {
  Watch watch([] { throw Enough{}; }, nanoseconds(0));
  check(is_ended([&] { watch.look(); }), "the caller's exception");
  bool is_stopped = false;
  std::jthread([&] {
    try {
      watch.look();
    } catch (const Watch::Stopped&) {
      is_stopped = true;
    }
  }).join();
  check(is_stopped, "another thread to stop");
}

void test_tasks_end_with_the_caller_s_exception() {
  for (const std::size_t n_threads : {1U, 2U, 8U}) {
    for (int round = 0; round < 20; ++round) {
      Caller caller(round);
      Watch watch = caller.watch();
      check(is_ended([&] {
              run_parallel(1'000'000, {n_threads, &watch}, [](std::size_t) {
                std::this_thread::sleep_for(std::chrono::microseconds(50));
              });
            }),
            "the caller's exception");
    }
  }
}

// This thread has nothing to do but wait, and hears the caller all the same.
void test_a_thread_that_waits_is_asked() {
  const std::thread::id own = std::this_thread::get_id();
  Watch watch([] { throw Enough{}; }, milliseconds(20));
  check(is_ended([&] {
          run_parallel(2, {2, &watch}, [&](std::size_t) {
            if (std::this_thread::get_id() == own) {
              // Until the helper has taken the other task, which it would not end by itself.
              std::this_thread::sleep_for(milliseconds(5));
              return;
            }
            try {
              for (;;) {
                watch.look();
                std::this_thread::sleep_for(milliseconds(1));
              }
            } catch (const Watch::Stopped&) {
              throw;
            }
          });
        }),
        "the caller's exception");
}

// Calls of the codec, on states large enough for several looks; a call that is ended has changed
// nothing that anybody keeps.
void test_calls_of_the_codec_end() {
  const std::vector<TensorShape> shapes{{700, 900}};
  const Steps steps{std::bit_cast<std::uint32_t>(1.0F)};
  Random random(7);
  std::vector<float> values(std::size_t{700} * 900, 0.0F);
  for (std::size_t i = 0; i < values.size(); i += 1 + random.below(400))
    values[i] = 3.0F * random.heavy_tailed();
  const StreamState before(shapes, Profile::kFast);
  StreamState after = before;
  CodedLevels sent;
  check(encode_values(after, values, steps, {.price = 0.1F}, sent).ok(), "values coded");
  for (const std::size_t n_threads : {1U, 2U}) {
    for (const int patience : {0, 1, 3, 6}) {
      Caller caller(patience);
      const auto ends = [&](auto&& call) {
        Watch watch = caller.watch();
        StreamState state = before;
        CodedLevels coded;
        caller.n_looks = 0;
        return is_ended([&] { (void)call(state, coded, Execution(n_threads, &watch)); });
      };
      check(ends([&](StreamState& state, CodedLevels& coded, const Execution& execution) {
              return encode_values(state, values, steps, {.price = 0.1F}, coded, execution);
            }),
            "an encoder of values to end");
      check(ends([&](StreamState& state, CodedLevels& coded, const Execution& execution) {
              return encode_levels(state, sent.levels, steps, coded, execution);
            }),
            "an encoder of levels to end");
      check(ends([&](StreamState& state, CodedLevels& coded, const Execution& execution) {
              return decode_levels(state, sent.payload, coded, execution);
            }),
            "a decoder to end");
    }
  }
  Caller patient(1'000'000);
  Watch watch = patient.watch();
  StreamState again = before;
  CodedLevels repeated;
  check(encode_values(again, values, steps, {.price = 0.1F}, repeated, {1, &watch}).ok(),
        "values coded");
  check(repeated.payload == sent.payload, "the same payload, whoever watches");
  check(patient.n_looks >= 8, "a look every 65 536 levels");
}

}  // namespace
}  // namespace fl_deepcabac::testing

int main() {
  using namespace fl_deepcabac::testing;
  return run_tests({
      {"a_watch_asks_no_more_often_than_it_should", test_a_watch_asks_no_more_often_than_it_should},
      {"only_the_own_thread_is_asked", test_only_the_own_thread_is_asked},
      {"others_stop_once_the_caller_has_thrown", test_others_stop_once_the_caller_has_thrown},
      {"tasks_end_with_the_caller_s_exception", test_tasks_end_with_the_caller_s_exception},
      {"a_thread_that_waits_is_asked", test_a_thread_that_waits_is_asked},
      {"calls_of_the_codec_end", test_calls_of_the_codec_end},
  });
}
