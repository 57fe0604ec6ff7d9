// SPDX-License-Identifier: Apache-2.0
// What decoding holds in memory at most is a matter of the schema, whatever the payload.
#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdlib>
#include <new>

#include "stream.hpp"

namespace {

std::atomic<std::size_t> n_live{0};
std::atomic<std::size_t> n_peak{0};

// The size of each allocation stands before it.
constexpr std::size_t kHead = alignof(std::max_align_t);

void* allocate(std::size_t n_bytes) {
  auto* memory = static_cast<std::byte*>(std::malloc(n_bytes + kHead));
  if (memory == nullptr) throw std::bad_alloc();
  *reinterpret_cast<std::size_t*>(memory) = n_bytes;
  const std::size_t live = n_live += n_bytes;
  std::size_t peak = n_peak;
  while (peak < live && !n_peak.compare_exchange_weak(peak, live)) {
  }
  return memory + kHead;
}

void release(void* memory) noexcept {
  if (memory == nullptr) return;
  auto* head = static_cast<std::byte*>(memory) - kHead;
  n_live -= *reinterpret_cast<std::size_t*>(head);
  std::free(head);
}

}  // namespace

void* operator new(std::size_t n_bytes) {
  return allocate(n_bytes);
}
void* operator new[](std::size_t n_bytes) {
  return allocate(n_bytes);
}
void operator delete(void* memory) noexcept {
  release(memory);
}
void operator delete[](void* memory) noexcept {
  release(memory);
}
void operator delete(void* memory, std::size_t /*n_bytes*/) noexcept {
  release(memory);
}
void operator delete[](void* memory, std::size_t /*n_bytes*/) noexcept {
  release(memory);
}

namespace fl_deepcabac::testing {
namespace {

// Bytes held at once by a decode on a copy of the state, as the package makes it.
std::size_t peak_of(const StreamState& before, const Bytes& payload) {
  const std::size_t start = n_live;
  n_peak = start;
  StreamState state = copy_of(before, 1);
  CodedLevels coded;
  coded.wants_levels = false;
  (void)decode_levels(state, payload, coded);
  return n_peak - start;
}

// Values, the copy of the history, and the list of levels, which may be as long as all of them and
// doubles as it grows: docs/security.md gives this figure.
std::size_t bound_of(const StreamState& state) {
  constexpr std::size_t kBytesPerLevel = 20;
  constexpr std::size_t kBesides = std::size_t{4} << 20;
  return kBytesPerLevel * state.n_levels() + kBesides;
}

// Payloads that go on for long: nothing in them says how long.
Bytes endless(Random& random, std::size_t n_bytes, int kind) {
  Bytes payload(n_bytes, 0);
  for (std::uint8_t& byte : payload)
    byte = static_cast<std::uint8_t>(kind == 0 ? 0xFF : (kind == 1 ? random.next() : 0x55));
  return payload;
}

void test_memory_is_a_matter_of_the_schema() {
  Random random(3);
  for (const Profile profile : kProfiles) {
    const StreamState before({{300, 700}, {1, 1000}}, profile);
    for (int kind = 0; kind < 3; ++kind) {
      for (const std::size_t n_bytes : {0U, 100U, 100'000U, 3'000'000U})
        check(peak_of(before, endless(random, n_bytes, kind)) <= bound_of(before),
              "memory within the bound");
    }
  }
}

void test_the_densest_packet_stays_within_the_bound() {
  const StreamState before({{300, 700}}, Profile::kFast);
  Random random(4);
  Levels levels(before.n_levels());
  for (std::int32_t& level : levels)
    level = random.between(1, 100);
  StreamState sender = before;
  CodedLevels sent;
  check(encode_levels(sender, levels, Steps(1, kStep), sent).ok(), "levels coded");
  const std::size_t peak = peak_of(before, sent.payload);
  check(peak <= bound_of(before), "memory within the bound");
  std::printf("%.1f bytes a level\n",
              static_cast<double>(peak) / static_cast<double>(before.n_levels()));
}

// Cut short, a payload is refused as soon as it has long ended: the list is no longer than that.
void test_a_cut_payload_needs_little_more_than_the_values() {
  const StreamState before({{300, 700}}, Profile::kFast);
  Random random(5);
  const std::size_t values_and_history = 6 * before.n_levels();
  check(peak_of(before, endless(random, 100, 0)) <= values_and_history + (std::size_t{1} << 20),
        "values, history and little more");
}

}  // namespace
}  // namespace fl_deepcabac::testing

int main() {
  using namespace fl_deepcabac::testing;
  return run_tests({
      {"memory_is_a_matter_of_the_schema", test_memory_is_a_matter_of_the_schema},
      {"the_densest_packet_stays_within_the_bound", test_the_densest_packet_stays_within_the_bound},
      {"a_cut_payload_needs_little_more_than_the_values",
       test_a_cut_payload_needs_little_more_than_the_values},
  });
}
