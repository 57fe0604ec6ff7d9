// SPDX-License-Identifier: Apache-2.0
// Memory runs out at each allocation of a call in turn: the call throws std::bad_alloc, leaks
// nothing (the address sanitizer counts), and a repetition on the state before gives what it would
// have given.
#include <atomic>
#include <bit>
#include <cstdlib>
#include <new>

#include "stream.hpp"

namespace {

// Allocations until one fails; negative: none does. Of all threads.
std::atomic<long> n_left{-1};
std::atomic<long> n_allocations{0};

void* allocate(std::size_t n_bytes) {
  ++n_allocations;
  if (n_left >= 0 && n_left-- == 0) throw std::bad_alloc();
  void* memory = std::malloc(n_bytes == 0 ? 1 : n_bytes);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

void* operator new(std::size_t n_bytes) {
  return allocate(n_bytes);
}
void* operator new[](std::size_t n_bytes) {
  return allocate(n_bytes);
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete[](void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t /*n_bytes*/) noexcept {
  std::free(memory);
}
void operator delete[](void* memory, std::size_t /*n_bytes*/) noexcept {
  std::free(memory);
}

namespace fl_deepcabac::testing {
namespace {

// Runs `call` with its k-th allocation failing, for every `stride`-th k until it needs fewer;
// returns how often it failed.
template <class Call>
int fail_in_turn(long stride, Call&& call) {
  int n_failed = 0;
  for (long k = 0;; k += stride) {
    bool is_done = false;
    n_left = k;
    try {
      call();
      is_done = n_left >= 0;
    } catch (const std::bad_alloc&) {
      ++n_failed;
    }
    // Where a helper thread could not be made, others do its work and nobody throws.
    const bool is_failure_past = n_left < 0;
    n_left = -1;
    if (is_done && !is_failure_past) return n_failed;
  }
}

struct Sent {
  StreamState before;
  StreamState after;
  std::vector<float> values;
  Steps steps;
  CodedLevels coded;
};

// The second packet of a stream.
Sent make_packet(const std::vector<TensorShape>& shapes, Profile profile, const Choice& choice,
                 float density) {
  Sent sent{StreamState(shapes, profile), {}, {}, {}, {}};
  Random random(5);
  sent.steps.assign(shapes.size(), std::bit_cast<std::uint32_t>(1.0F));
  for (int round = 0; round < 2; ++round) {
    if (round > 0) sent.before = sent.after;
    sent.values.assign(sent.before.n_levels(), 0.0F);
    for (float& value : sent.values) {
      if (random.chance(density)) value = 3.0F * random.heavy_tailed();
    }
    sent.after = sent.before;
    check(encode_values(sent.after, sent.values, sent.steps, choice, sent.coded).ok(),
          "values coded");
  }
  return sent;
}

void check_every_call(const std::vector<TensorShape>& shapes, Profile profile, const Choice& choice,
                      float density, std::size_t n_threads, long stride) {
  const Sent sent = make_packet(shapes, profile, choice, density);
  const Bytes saved_before = sent.before.to_bytes();
  const Bytes saved_after = sent.after.to_bytes();
  const auto check_call = [&](auto&& call) {
    const int n_failed = fail_in_turn(stride, [&] {
      StreamState state = copy_of(sent.before, n_threads);
      CodedLevels coded;
      if (!call(state, coded).ok()) std::abort();
    });
    check(n_failed > 0, "allocations to fail");
    check(sent.before.to_bytes() == saved_before, "the state before as it was");
    StreamState state = sent.before;
    CodedLevels coded;
    check(call(state, coded).ok(), "a repetition to succeed");
    check(state.to_bytes() == saved_after, "the state after it");
    check(same_bits(coded.values, sent.coded.values), "the same values, bit by bit");
  };
  check_call([&](StreamState& state, CodedLevels& coded) {
    return encode_values(state, sent.values, sent.steps, choice, coded, n_threads);
  });
  check_call([&](StreamState& state, CodedLevels& coded) {
    return decode_levels(state, sent.coded.payload, coded, n_threads);
  });
  const int n_failed = fail_in_turn(stride, [&] {
    StreamState state = sent.before;
    if (!state.load_bytes(saved_after).ok() || state.to_bytes() != saved_after) std::abort();
  });
  check(n_failed > 0, "allocations to fail");
}

void test_small_updates() {
  // The contexts of `max` are megabytes: fewer of its many allocations.
  check_every_call(mixed_shapes(), Profile::kFast, {.price = 0.1F}, 0.3F, 1, 1);
  check_every_call(mixed_shapes(), Profile::kFast, {.price = 0.1F, .is_dependent = true}, 0.3F, 1,
                   5);
  check_every_call(mixed_shapes(), Profile::kMax, {.price = 0.1F, .is_dependent = true}, 0.3F, 1,
                   31);
}

void test_given_levels() {
  const Sent sent = make_packet({{9, 70}, {1, 40}}, Profile::kFast, {.price = 0.1F}, 0.3F);
  const OffsetFit fit{sent.values, 0.1F};
  StreamState after = sent.before;
  CodedLevels coded;
  check(encode_levels(after, sent.coded.levels, sent.steps, coded, 1, fit).ok(), "levels coded");
  const int n_failed = fail_in_turn(1, [&] {
    StreamState state = sent.before;
    CodedLevels again;
    if (!encode_levels(state, sent.coded.levels, sent.steps, again, 1, fit).ok()) std::abort();
    if (again.payload != coded.payload) std::abort();
  });
  check(n_failed > 0, "allocations to fail");
}

// Two chunks: also what the threads allocate, and the threads themselves.
void test_several_threads() {
  const std::vector<TensorShape> shapes{{1024, 513}, {1, 300}};
  check_every_call(shapes, Profile::kFast, {.price = 0.1F}, 0.002F, 2, 29);
}

}  // namespace
}  // namespace fl_deepcabac::testing

int main() {
  using namespace fl_deepcabac::testing;
  return run_tests({
      {"small_updates", test_small_updates},
      {"given_levels", test_given_levels},
      {"several_threads", test_several_threads},
  });
}
