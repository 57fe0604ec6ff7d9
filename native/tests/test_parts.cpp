// SPDX-License-Identifier: Apache-2.0
#include "fl_deepcabac/parts.hpp"

#include <utility>

#include "check.hpp"
#include "fl_deepcabac/tensor_walk.hpp"
#include "random.hpp"

namespace fl_deepcabac::testing {
namespace {

using Shapes = std::vector<TensorShape>;

std::size_t count_levels(const Shapes& shapes) {
  std::size_t n_levels = 0;
  for (const TensorShape& shape : shapes)
    n_levels += shape.n_levels();
  return n_levels;
}

std::size_t count_levels(const Chunk& chunk) {
  std::size_t n_levels = 0;
  for (const Part& part : chunk)
    n_levels += part.n_levels;
  return n_levels;
}

// The part that begins at flat index `begin`, of a tensor that begins at `tensor_begin`.
void check_part(const Part& part, const Shapes& shapes, std::size_t tensor_begin,
                std::size_t begin) {
  const TensorShape& shape = shapes[part.tensor];
  const std::size_t within = begin - tensor_begin;
  check_equal(part.begin, begin);
  check(part.n_levels > 0, "a part with levels");
  // Rows are joined until they have 96 columns.
  std::size_t n_columns = shape.n_columns;
  while (n_columns < 96)
    n_columns += shape.n_columns;
  check_equal(static_cast<std::size_t>(part.first_column), within % n_columns);
  check_equal(within % kBlockLevels, 0U);
  const std::size_t end = within + part.n_levels;
  check(end == shape.n_levels() || (end < shape.n_levels() && end % kBlockLevels == 0),
        "a part to end with its tensor or a block of it");
}

// Every level in one part, in order, and the chunks alike in size.
void check_divides(const Shapes& shapes) {
  const std::vector<Chunk> chunks = divide(shapes);
  const std::size_t n_levels = count_levels(shapes);
  std::size_t n_chunks = 1;
  while (n_chunks < 64 && 2 * n_chunks <= n_levels >> 18)
    n_chunks *= 2;
  check_equal(chunks.size(), n_chunks);
  std::size_t tensor = 0;
  std::size_t tensor_begin = 0;
  std::size_t next = 0;
  for (const Chunk& chunk : chunks) {
    std::size_t last_tensor = shapes.size();
    for (const Part& part : chunk) {
      check(part.tensor != last_tensor, "one part of a tensor in a chunk");
      last_tensor = part.tensor;
      while (tensor < part.tensor)
        tensor_begin += shapes[tensor++].n_levels();
      check_equal(part.tensor, tensor);
      check_part(part, shapes, tensor_begin, next);
      next += part.n_levels;
    }
    const std::size_t share = n_levels / chunks.size();
    const std::size_t size = count_levels(chunk);
    check(size + kBlockLevels >= share && size <= share + kBlockLevels + 1, "its share of levels");
  }
  check_equal(next, n_levels);
}

void test_small_updates_are_one_chunk() {
  for (const Shapes& shapes :
       {Shapes{{3, 7}}, Shapes{{1, 1}, {5, 9}}, Shapes{{1, (1U << 19) - 1}},
        Shapes{{512, 1023}, {1, 511}}, Shapes{{0, 5}, {4, 4}, {3, 0}, {1, 2}, {1, 0}}}) {
    check_equal(divide(shapes).size(), 1U);
    check_divides(shapes);
  }
}

void test_no_levels_are_one_empty_chunk() {
  for (const Shapes& shapes : {Shapes{}, Shapes{{0, 5}}, Shapes{{0, 0}, {7, 0}}}) {
    const std::vector<Chunk> chunks = divide(shapes);
    check_equal(chunks.size(), 1U);
    check(chunks.front().empty(), "no parts");
  }
}

void test_tensors_without_levels_have_no_part() {
  const Shapes shapes{{0, 3}, {1, 1U << 19}, {5, 0}, {1, 0}, {2, 3}};
  check_divides(shapes);
  for (const Chunk& chunk : divide(shapes)) {
    for (const Part& part : chunk)
      check(part.tensor == 1 || part.tensor == 4, "a tensor with levels");
  }
}

void test_two_chunks_by_hand() {
  // 2^19 + 42 levels: halves of 2^18 + 21, of which 2^18 - 100 + 121 lie in the second tensor.
  const Shapes shapes{{1, 100}, {2, (1U << 18) - 29}};
  const std::vector<Chunk> chunks = divide(shapes);
  check_equal(chunks.size(), 2U);
  check_equal(chunks[0].size(), 2U);
  check_equal(chunks[0][0].n_levels, 100U);
  check_equal(chunks[0][1].n_levels, (((1U << 18) + 21) - 100) / 64 * 64);
  check_equal(chunks[1].size(), 1U);
  check_equal(chunks[1][0].tensor, 1U);
  check_equal(chunks[1][0].begin, 100 + chunks[0][1].n_levels);
  check_equal(static_cast<std::size_t>(chunks[1][0].first_column), chunks[0][1].n_levels);
}

// A boundary that falls on the first block of a tensor leaves that tensor to the next chunk.
void test_boundaries_near_the_ends_of_tensors() {
  constexpr std::uint32_t kHalf = 1U << 18;
  for (std::uint32_t first = kHalf - 130; first <= kHalf + 130; ++first)
    check_divides({{1, first}, {1, 2 * kHalf - first}});
  check_equal(divide(Shapes{{1, kHalf}, {1, kHalf}})[1].front().tensor, 1U);
  check_equal(divide(Shapes{{1, kHalf - 63}, {1, kHalf + 63}})[0].size(), 1U);
}

void test_chunks_grow_with_the_levels_up_to_64() {
  for (const std::uint32_t n_chunks : {1U, 2U, 3U, 7U, 63U, 64U, 65U, 200U}) {
    for (const std::int32_t more : {-1, 0, 1}) {
      const std::uint32_t n_levels = (n_chunks << 18) + static_cast<std::uint32_t>(more);
      check_divides({{1, n_levels}});
    }
  }
}

void test_numbers_of_chunks_by_hand() {
  const std::pair<std::uint32_t, std::size_t> cases[] = {
      {1, 1},           {(1U << 19) - 1, 1}, {1U << 19, 2},        {3U << 18, 2},
      {1U << 20, 4},    {(1U << 21) - 1, 4}, {(1U << 24) - 1, 32}, {1U << 24, 64},
      {100U << 18, 64}, {200U << 18, 64},    {0xFFFFFFFFU, 64}};
  for (const auto& [n_levels, n_chunks] : cases)
    check_equal(divide(Shapes{{1, n_levels}}).size(), n_chunks);
}

// 11 rows of 9 columns are joined, and the second chunk begins behind 2^18 levels, which are
// 2647 * 99 + 91. Two rows of 95 are, too: 1379 * 190 + 134. Rows of 96 are long enough:
// 2730 * 96 + 64.
void test_first_column_of_joined_rows_by_hand() {
  const std::vector<Chunk> chunks = divide(Shapes{{58255, 9}});
  check_equal(chunks.size(), 2U);
  check_equal(chunks[1][0].begin, (58255U * 9 / 2) / 64 * 64);
  check_equal(chunks[1][0].first_column, 91U);
  check_equal(divide(Shapes{{5519, 95}})[1][0].first_column, 134U);
  check_equal(divide(Shapes{{5462, 96}})[1][0].first_column, 64U);
}

void test_many_shapes_are_divided_without_gap_or_overlap() {
  Random random(142);
  for (int i = 0; i < 200; ++i) {
    Shapes shapes(1 + random.below(40));
    for (TensorShape& shape : shapes) {
      shape.n_rows = random.chance(0.1F) ? 0 : 1 + random.below(300);
      shape.n_columns = random.chance(0.05F) ? 0 : 1 + random.below(random.chance(0.5F) ? 9 : 3000);
    }
    check_divides(shapes);
  }
  // Thousands of tensors smaller than a block.
  check_divides(Shapes(60000, {3, 7}));
}

}  // namespace
}  // namespace fl_deepcabac::testing

int main() {
  using namespace fl_deepcabac::testing;
  return run_tests({
      {"small_updates_are_one_chunk", test_small_updates_are_one_chunk},
      {"no_levels_are_one_empty_chunk", test_no_levels_are_one_empty_chunk},
      {"tensors_without_levels_have_no_part", test_tensors_without_levels_have_no_part},
      {"two_chunks_by_hand", test_two_chunks_by_hand},
      {"boundaries_near_the_ends_of_tensors", test_boundaries_near_the_ends_of_tensors},
      {"chunks_grow_with_the_levels_up_to_64", test_chunks_grow_with_the_levels_up_to_64},
      {"numbers_of_chunks_by_hand", test_numbers_of_chunks_by_hand},
      {"first_column_of_joined_rows_by_hand", test_first_column_of_joined_rows_by_hand},
      {"many_shapes_are_divided_without_gap_or_overlap",
       test_many_shapes_are_divided_without_gap_or_overlap},
  });
}
