// SPDX-License-Identifier: Apache-2.0
// The bins of one level and of one step, in order (spec 5).
//
// Written once for both directions: `Bins` either encodes the bin it is given or ignores it and
// returns the one it decodes, so encoder and decoder cannot drift apart.
#pragma once

#include <bit>
#include <cstdint>

#include "fl_deepcabac/bin_coder.hpp"
#include "fl_deepcabac/contexts.hpp"
#include "fl_deepcabac/reconstruction.hpp"
#include "fl_deepcabac/tensor_contexts.hpp"

namespace fl_deepcabac {

// Levels stay exact as float32 (spec 9).
inline constexpr std::int32_t kMaxLevel = 1 << 24;

template <class Coder = BinEncoder>
struct EncodedBins {
  using Detached = EncodedBins<EncodingInterval>;

  Coder& coder;

  template <class Estimate>
  [[gnu::always_inline]] bool code(Estimate estimate, bool bin) {
    coder.encode(bin, estimate.probability());
    estimate.update(bin);
    return bin;
  }
  // The same, where the caller goes different ways.
  template <class Estimate>
  [[gnu::always_inline]] bool code_either(Estimate estimate, bool bin) {
    coder.encode_either(bin, estimate.probability());
    if (bin) {
      estimate.update(true);
    } else {
      estimate.update(false);
    }
    return bin;
  }
  std::uint32_t code_bypass(std::uint32_t value, int n_bins) {
    coder.encode_bypass(value, n_bins);
    return value;
  }
};

template <class Coder = BinDecoder>
struct DecodedBins {
  using Detached = DecodedBins<DecodingInterval>;

  Coder& coder;

  template <class Estimate>
  [[gnu::always_inline]] bool code(Estimate estimate, bool /*bin*/) noexcept {
    const bool bin = coder.decode(estimate.probability());
    estimate.update(bin);
    return bin;
  }
  template <class Estimate>
  [[gnu::always_inline]] bool code_either(Estimate estimate, bool /*bin*/) noexcept {
    const bool bin = coder.decode_either(estimate.probability());
    if (bin) {
      estimate.update(true);
    } else {
      estimate.update(false);
    }
    return bin;
  }
  std::uint32_t code_bypass(std::uint32_t /*value*/, int n_bins) noexcept {
    return coder.decode_bypass(n_bins);
  }
};

// Exponential Golomb code of order 0: a unary prefix of at most kMaxPrefix context-coded bins, then
// as many bypass bins (spec 5.5). `value` below 2^kMaxPrefix - 1 when encoding; at most
// 2^(kMaxPrefix + 1) - 2 comes back.
template <class Bins, class PrefixEstimate>
[[gnu::always_inline]] inline std::uint32_t code_exp_golomb(Bins& bins,
                                                            PrefixEstimate&& prefix_estimate,
                                                            std::uint32_t value) {
  const int n_wanted = static_cast<int>(std::bit_width(value + 1)) - 1;
  int n_suffix = 0;
  while (n_suffix < kMaxPrefix && bins.code(prefix_estimate(n_suffix), n_suffix < n_wanted))
    ++n_suffix;
  const std::uint32_t base = 1U << n_suffix;
  return base - 1 + bins.code_bypass(value + 1 - base, n_suffix);
}

// The magnitude of a level that is not zero (spec 5.3).
template <class Bins, class Contexts, class Inputs>
[[gnu::always_inline]] inline std::int32_t code_magnitude(Bins& bins, Contexts& contexts,
                                                          const Inputs& inputs,
                                                          std::int32_t magnitude) {
  for (int k = 1; k <= kGreaterBins; ++k) {
    if (!bins.code(contexts.greater(inputs, k), magnitude > k)) return k;
  }
  const auto remainder = static_cast<std::uint32_t>(magnitude - kGreaterBins - 1);
  const auto prefix = [&](int position) { return contexts.remainder_prefix(position); };
  return static_cast<std::int32_t>(code_exp_golomb(bins, prefix, remainder)) + kGreaterBins + 1;
}

// A level that is known not to be zero (spec 5.3). Returns it; when decoding, `level` is ignored.
template <class Bins, class Contexts, class Inputs>
[[gnu::always_inline]] inline std::int32_t code_nonzero(Bins& bins, Contexts& contexts,
                                                        const Inputs& inputs, std::int32_t level) {
  const bool is_negative = bins.code(contexts.negative(inputs), level < 0);
  const std::int32_t magnitude = code_magnitude(bins, contexts, inputs, level < 0 ? -level : level);
  return is_negative ? -magnitude : magnitude;
}

// The offsets of a tensor (spec 5.7): those it had (`own`), those of the tensor before, or new
// ones, each as a difference from its own. Returns false where one is out of range.
template <class Bins>
[[nodiscard]] bool code_offsets(Bins& bins, TensorContexts& contexts, const Offsets& own,
                                const Offsets& previous, Offsets& offsets) {
  if (bins.code(PlainEstimate{&contexts.keeps_offsets}, offsets == own)) {
    offsets = own;
    return true;
  }
  if (bins.code(PlainEstimate{&contexts.copies_offsets}, offsets == previous)) {
    offsets = previous;
    return true;
  }
  const auto prefix = [&](int position) {
    return PlainEstimate{&contexts.offset_prefix[static_cast<std::size_t>(position)]};
  };
  bool is_valid = true;
  for (std::size_t i = 0; i < kOffsets; ++i) {
    const std::int32_t difference = offsets.values[i] - own.values[i];
    const auto size = static_cast<std::int32_t>(code_exp_golomb(
        bins, prefix, static_cast<std::uint32_t>(difference < 0 ? -difference : difference)));
    const bool is_negative = size != 0 && bins.code_bypass(difference < 0 ? 1U : 0U, 1) != 0;
    const std::int64_t value =
        std::int64_t{own.values[i]} + (is_negative ? -std::int64_t{size} : size);
    is_valid = is_valid && value >= -kMaxOffset && value <= kMaxOffset;
    offsets.values[i] = is_valid ? static_cast<std::int8_t>(value) : std::int8_t{0};
  }
  return is_valid;
}

// What a difference that leads out of the 12 bits above the low 20 decodes to: the bits of a NaN.
inline constexpr std::uint32_t kNoStep = 0xFFFFFFFF;

// The step of a tensor as float32 bits (spec 5.2). `own_bits`: its last step, 0 if it has none.
// `previous_bits`: the last step coded in this packet. Returns the bits; what is no valid step is
// for the caller to reject, kNoStep included.
template <class Bins>
std::uint32_t code_step(Bins& bins, TensorContexts& contexts, std::uint32_t own_bits,
                        std::uint32_t previous_bits, std::uint32_t step_bits) {
  constexpr int kLowBits = 20;  // below the exponent and three bits of mantissa
  constexpr std::uint32_t kLowMask = (1U << kLowBits) - 1;
  constexpr std::int32_t kMaxHigh = (1 << (32 - kLowBits)) - 1;
  const bool has_own = own_bits != 0;
  const std::uint32_t predicted = has_own ? own_bits : previous_bits;
  if (bins.code(PlainEstimate{&contexts.repeats[has_own]}, step_bits == predicted))
    return predicted;

  const std::int32_t difference = static_cast<std::int32_t>(step_bits >> kLowBits) -
                                  static_cast<std::int32_t>(predicted >> kLowBits);
  const auto prefix = [&](int position) {
    return PlainEstimate{&contexts.prefix[static_cast<std::size_t>(position)]};
  };
  const auto magnitude = static_cast<std::int32_t>(code_exp_golomb(
      bins, prefix, static_cast<std::uint32_t>(difference < 0 ? -difference : difference)));
  const bool is_negative =
      magnitude != 0 && bins.code(PlainEstimate{&contexts.negative}, difference < 0);
  const std::int32_t high =
      static_cast<std::int32_t>(predicted >> kLowBits) + (is_negative ? -magnitude : magnitude);
  std::uint32_t low = step_bits & kLowMask;
  low = bins.code(PlainEstimate{&contexts.has_low_bits}, low != 0) ? bins.code_bypass(low, kLowBits)
                                                                   : 0;
  if (high < 0 || high > kMaxHigh) return kNoStep;
  return (static_cast<std::uint32_t>(high) << kLowBits) | low;
}

}  // namespace fl_deepcabac
