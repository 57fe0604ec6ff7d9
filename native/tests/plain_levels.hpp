// SPDX-License-Identifier: Apache-2.0
// The level syntax of the plain decoder: from the bins of a codeword to the levels of a part (spec
// 5.3 to 5.5), with the contexts of either profile (spec 7.3, 7.7).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "plain_coder.hpp"
#include "plain_contexts.hpp"
#include "plain_walk.hpp"

namespace fl_deepcabac::testing {

inline bool decode_bin(PlainCoder& coder, PlainContext& context) {
  const bool bin = coder.decode(context.P());
  context.move(bin);
  return bin;
}
inline bool decode_steady_bin(PlainCoder& coder, PlainContext& context) {
  const bool bin = coder.decode(context.P());
  context.move_steadily(bin);
  return bin;
}
inline bool decode_mixed_bin(PlainCoder& coder, PlainMixer& mixer,
                             const PlainMixer::Contexts& contexts) {
  const bool bin = coder.decode(mixer.P(contexts));
  mixer.move(contexts, bin);
  return bin;
}

// Spec 5.5.
inline std::int64_t decode_exp_golomb(PlainCoder& coder, PlainContexts& contexts,
                                      const PlainTable& prefix) {
  std::size_t s = 0;
  while (s < 24 && decode_bin(coder, contexts.at(prefix, s)))
    ++s;
  return (std::int64_t{1} << s) + coder.decode_bypass(s) - 1;
}

// Reads one part: its levels are those of the walk afterwards, and in `levels`.
class PlainPartReader {
 public:
  PlainPartReader(PlainCoder& coder, PlainLevelContexts& contexts, PlainWalk& walk,
                  std::span<std::int64_t> levels)
      : coder_(coder), contexts_(contexts), walk_(walk), levels_(levels) {}

  void read() {
    for (std::size_t begin = 0; begin < walk_.n_levels(); begin += 64)
      read_block(begin, std::min(begin + 64, walk_.n_levels()));
  }

 private:
  void read_block(std::size_t begin, std::size_t end) {
    const PlainBlockClasses classes = walk_.block_classes(begin, end);
    PlainContext& block_coded = contexts_.at(contexts_.block_coded, classes.left ? 1 : 0,
                                             classes.up ? 1 : 0, classes.activity);
    const bool is_coded = decode_steady_bin(coder_, block_coded);
    if (is_coded && classes.is_sparse) {
      read_run(begin, 64, 0, end);
    } else if (is_coded) {
      for (std::size_t i = begin; i < end; ++i)
        set_level(i, read_level(walk_.level_classes(i)));
    }
    set_zeros_up_to(end);
    walk_.end_block(begin, end, is_coded);
  }

  // A run of `size` positions, one of which at least is not zero, in a block that ends at `end`
  // (spec 5.4).
  void read_run(std::size_t begin, std::size_t size, std::size_t depth, std::size_t end) {
    if (size == 1) {
      set_zeros_up_to(begin);
      set_level(begin, read_nonzero(walk_.level_classes(begin)));
      return;
    }
    const std::size_t middle = begin + size / 2;
    bool left = true;
    bool right = false;
    if (middle < end) {
      const std::int64_t left_sum = walk_.sum_of_codes(begin, middle);
      const std::int64_t right_sum = walk_.sum_of_codes(middle, std::min(begin + size, end));
      const std::size_t balance = signum_class(left_sum - right_sum);
      const std::size_t active = right_sum != 0 ? 1 : 0;
      left = decode_steady_bin(coder_, contexts_.at(contexts_.left_half, depth, balance));
      right = !left || decode_steady_bin(coder_, contexts_.at(contexts_.right_half, depth, active));
    }
    if (left) read_run(begin, size / 2, depth + 1, end);
    if (right) read_run(middle, size / 2, depth + 1, end);
  }

  // Levels are set in their order, as the state of dependent quantisation moves with each.
  void set_level(std::size_t i, std::int64_t level) {
    levels_[i] = level;
    walk_.set_level(i, level);
    n_set_ = i + 1;
  }
  void set_zeros_up_to(std::size_t end) {
    while (n_set_ < end)
      set_level(n_set_, 0);
  }

  // Spec 5.3.
  std::int64_t read_level(const PlainLevelClasses& classes) {
    PlainContext& context =
        contexts_.at(contexts_.significant, classes.quantizer, classes.history, classes.spatial);
    if (!decode_level_bin(12 + classes.quantizer, context, classes)) return 0;
    return read_nonzero(classes);
  }
  std::int64_t read_nonzero(const PlainLevelClasses& classes) {
    const bool is_negative = decode_sign(classes);
    const std::int64_t magnitude = read_magnitude(classes);
    return is_negative ? -magnitude : magnitude;
  }
  std::int64_t read_magnitude(const PlainLevelClasses& classes) {
    for (std::size_t k = 1; k <= 10; ++k) {
      const std::size_t g = k == 1 && classes.quantizer == 1 ? 11 : k;
      PlainContext& context = contexts_.at(contexts_.greater, g - 1, classes.magnitude);
      if (!decode_level_bin(g, context, classes)) return static_cast<std::int64_t>(k);
    }
    return 11 + decode_exp_golomb(coder_, contexts_, contexts_.remainder_prefix);
  }

  // A bin `greater` or `significant` with its j of spec 7.7.
  bool decode_level_bin(std::size_t j, PlainContext& context, const PlainLevelClasses& classes) {
    if (!contexts_.is_mixed()) return decode_bin(coder_, context);
    const PlainBinTables& tables = contexts_.bins.at(j - 1);
    return decode_mixed_bin(
        coder_, contexts_.bin_mixer(j, classes.history),
        {&context, &contexts_.at(tables.by_average, classes.history, classes.signed_average),
         &contexts_.at(tables.by_neighbours, classes.left, classes.up),
         &contexts_.at(tables.by_scales, classes.column, classes.row),
         &contexts_.at(tables.by_around, classes.history, classes.around)});
  }
  bool decode_sign(const PlainLevelClasses& classes) {
    PlainContext& context = contexts_.at(contexts_.negative, classes.sign, classes.left_signum);
    if (!contexts_.is_mixed()) return decode_bin(coder_, context);
    const PlainSignTables& tables = contexts_.sign.at(0);
    return decode_mixed_bin(
        coder_, contexts_.sign_mixer(classes.history),
        {&context, &contexts_.at(tables.by_average, classes.history, classes.signed_average),
         &contexts_.at(tables.by_neighbours, classes.left_signum, classes.up_signum,
                       classes.around_sign)});
  }

  PlainCoder& coder_;
  PlainLevelContexts& contexts_;
  PlainWalk& walk_;
  std::span<std::int64_t> levels_;
  std::size_t n_set_ = 0;  // levels before this position have been set
};

}  // namespace fl_deepcabac::testing
