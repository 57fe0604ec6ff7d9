// SPDX-License-Identifier: Apache-2.0
// One walk serves encoding given levels, encoding chosen levels, and decoding; they differ in the
// bins they use and in who fills a block.
#include "fl_deepcabac/level_codec.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <utility>

#include "fl_deepcabac/bin_coder.hpp"
#include "fl_deepcabac/level_syntax.hpp"
#include "fl_deepcabac/rate_distortion.hpp"
#include "fl_deepcabac/step.hpp"
#include "fl_deepcabac/tensor_walk.hpp"

namespace fl_deepcabac {
namespace {

// 2^-7: where the first step of a fresh stream is expected (spec 5.2).
constexpr std::uint32_t kFirstPredictedStep = (127U - 7U) << 23;

// Where one tensor lies in the flat arrays of an update.
struct TensorRange {
  std::size_t tensor;
  std::size_t begin;
  std::size_t n_levels;
};

// Who fills a block with levels before it is coded. An encoder's source also knows which tensors
// are all zero.
class GivenLevels {
 public:
  explicit GivenLevels(std::span<const std::int32_t> levels) noexcept : levels_(levels) {}

  [[nodiscard]] bool is_zero(const TensorRange& range) const noexcept {
    return !any_level(levels_.subspan(range.begin, range.n_levels));
  }
  template <class Contexts>
  [[nodiscard]] auto chooser(Contexts& /*contexts*/, TensorWalk& /*walk*/,
                             const TensorRange& /*range*/,
                             std::uint32_t /*step_bits*/) const noexcept {
    return [](std::size_t begin, std::size_t end, const BlockFeatures& /*block*/,
              std::span<std::int32_t> levels) {
      return any_level(levels.subspan(begin, end - begin));
    };
  }

 private:
  [[nodiscard]] static bool any_level(std::span<const std::int32_t> levels) noexcept {
    return std::any_of(levels.begin(), levels.end(), [](std::int32_t level) { return level != 0; });
  }

  std::span<const std::int32_t> levels_;
};

class ValuesToQuantise {
 public:
  ValuesToQuantise(std::span<const float> values, std::span<const float> importance,
                   std::span<const float> largest, std::span<const std::uint32_t> step_bits,
                   float price) noexcept
      : values_(values),
        importance_(importance),
        largest_(largest),
        step_bits_(step_bits),
        price_(price) {}

  [[nodiscard]] bool is_zero(const TensorRange& range) const noexcept {
    return largest_[range.tensor] / std::bit_cast<float>(step_bits_[range.tensor]) < kZeroBelow;
  }
  template <class Contexts>
  [[nodiscard]] auto chooser(Contexts& contexts, TensorWalk& walk, const TensorRange& range,
                             std::uint32_t step_bits) const noexcept {
    const auto importance =
        importance_.empty() ? importance_ : importance_.subspan(range.begin, range.n_levels);
    return LevelChooser<Contexts>(contexts, walk, values_.subspan(range.begin, range.n_levels),
                                  importance, std::bit_cast<float>(step_bits), price_);
  }

 private:
  std::span<const float> values_;
  std::span<const float> importance_;  // empty: all 1
  std::span<const float> largest_;     // largest magnitude of each tensor
  std::span<const std::uint32_t> step_bits_;
  float price_;
};

struct UnknownLevels {
  [[nodiscard]] static bool is_zero(const TensorRange& /*range*/) noexcept { return false; }
  template <class Contexts>
  [[nodiscard]] auto chooser(Contexts& /*contexts*/, TensorWalk& /*walk*/,
                             const TensorRange& /*range*/,
                             std::uint32_t /*step_bits*/) const noexcept {
    return [](std::size_t /*begin*/, std::size_t /*end*/, const BlockFeatures& /*block*/,
              std::span<std::int32_t> /*levels*/) { return false; };
  }
};

// The levels of a coded block, from `begin` to the end of `levels`.
template <class Bins, class Contexts>
void code_coded_block(Bins& bins, Contexts& contexts, TensorWalk& walk, std::size_t begin,
                      std::span<std::int32_t> levels) {
  // The walk stores bytes, which may alias anything: only a coder whose address nobody else has can
  // stay in registers.
  auto coder = std::move(bins.coder);
  Bins local{coder};
  for (std::size_t i = begin; i < levels.size(); ++i) {
    levels[i] = code_level(local, contexts, Contexts::inputs_of(walk.level(i)), levels[i]);
    walk.set_level(i, levels[i]);
  }
  bins.coder = std::move(coder);
}

// The levels of one tensor, block by block (spec 5.1). `levels` in and out.
template <class Bins, class Contexts, class Chooser>
void code_blocks(Bins& bins, Contexts& contexts, TensorWalk& walk, Chooser&& chooser,
                 std::span<std::int32_t> levels) {
  for (std::size_t begin = 0; begin < levels.size(); begin += kBlockLevels) {
    const std::size_t end = std::min(begin + kBlockLevels, levels.size());
    walk.begin_block(begin, end);
    const BlockFeatures block = walk.block_features(begin, end);
    const bool is_coded =
        bins.code(contexts.block_coded(block), chooser(begin, end, block, levels));
    if (is_coded) code_coded_block(bins, contexts, walk, begin, levels.subspan(0, end));
    walk.end_block(begin, end, is_coded);
  }
}

// One update in one direction.
template <class Bins, class Contexts, class Coder>
class UpdateCoder {
 public:
  UpdateCoder(StreamState& state, ContextSets<Contexts>& sets, Coder& coder, CodedLevels& coded)
      : state_(state), sets_(sets), coder_(coder), bins_{coder}, coded_(coded) {
    const std::size_t n_tensors = state.shapes.size();
    coded.step_bits.assign(n_tensors, 0);
    coded.tensor_costs.assign(n_tensors, 0);
  }

  template <class Source>
  Status run(const Source& source, std::span<const std::uint32_t> step_bits) {
    TensorRange range{0, 0, 0};
    for (; range.tensor < state_.shapes.size(); ++range.tensor, range.begin += range.n_levels) {
      range.n_levels = state_.shapes[range.tensor].n_levels();
      if (range.n_levels == 0) continue;
      const std::uint64_t start = coder_.position();
      const std::uint32_t wanted = step_bits.empty() ? 0 : step_bits[range.tensor];
      if (const Status status = code_tensor(source, range, wanted); status != Status::kOk)
        return status;
      coded_.tensor_costs[range.tensor] = coder_.position() - start;
    }
    return Status::kOk;
  }

 private:
  template <class Source>
  Status code_tensor(const Source& source, const TensorRange& range, std::uint32_t wanted_step) {
    const TensorShape& shape = state_.shapes[range.tensor];
    const std::span<std::int32_t> levels =
        std::span(coded_.levels).subspan(range.begin, range.n_levels);
    const HistoryView history{
        std::span(state_.magnitude_history).subspan(range.begin, range.n_levels),
        std::span(state_.signed_history).subspan(range.begin, range.n_levels)};
    Contexts& contexts = sets_[shape.context_set()];
    if (!bins_.code(contexts.tensor_zero(), source.is_zero(range))) {
      const Status status = code_tensor_step(range.tensor, wanted_step, history);
      if (status != Status::kOk) return status;
      TensorWalk walk(shape, history);
      code_blocks(bins_, contexts, walk,
                  source.chooser(contexts, walk, range, coded_.step_bits[range.tensor]), levels);
    }
    move_history(history, levels);
    return Status::kOk;
  }

  Status code_tensor_step(std::size_t tensor, std::uint32_t wanted, HistoryView history) {
    std::uint32_t& own = state_.step_bits[tensor];
    const std::uint32_t bits = code_step(bins_, state_.step_contexts, own, previous_step_, wanted);
    if (!is_valid_step(bits)) return Status::kPayloadStepRange;
    if (own != 0 && own != bits) rescale_history(history, own, bits);
    own = bits;
    previous_step_ = bits;
    coded_.step_bits[tensor] = bits;
    return Status::kOk;
  }

  StreamState& state_;
  ContextSets<Contexts>& sets_;
  Coder& coder_;
  Bins bins_;
  CodedLevels& coded_;
  std::uint32_t previous_step_ = kFirstPredictedStep;  // last step coded in this packet
};

Result check_steps(const StreamState& state, std::span<const std::uint32_t> step_bits) noexcept {
  if (step_bits.size() != state.shapes.size()) {
    return {Status::kLengthMismatch, static_cast<std::int64_t>(step_bits.size())};
  }
  for (std::size_t tensor = 0; tensor < step_bits.size(); ++tensor) {
    if (!is_valid_step(step_bits[tensor]))
      return {Status::kStepRange, static_cast<std::int64_t>(tensor)};
  }
  return {};
}

// The largest magnitude of each tensor; kNonFinite or kLevelRange where a value has no level.
Result find_largest(const StreamState& state, std::span<const float> values,
                    std::span<const std::uint32_t> step_bits, std::span<float> largest) noexcept {
  std::size_t i = 0;
  for (std::size_t tensor = 0; tensor < largest.size(); ++tensor) {
    const float limit = static_cast<float>(kMaxLevel) * std::bit_cast<float>(step_bits[tensor]);
    for (const std::size_t end = i + state.shapes[tensor].n_levels(); i < end; ++i) {
      const float size = std::fabs(values[i]);
      // Written so that NaN fails too.
      if (!(size <= limit)) {
        return {std::isfinite(size) ? Status::kLevelRange : Status::kNonFinite,
                static_cast<std::int64_t>(i)};
      }
      largest[tensor] = std::max(largest[tensor], size);
    }
  }
  return {};
}

// Call `body` with the state's context sets, whichever profile they belong to.
template <class Body>
Status with_contexts(StreamState& state, Body&& body) {
  return std::visit([&](auto& sets) { return body(sets); }, state.level_contexts);
}

template <class Contexts>
using UpdateEncoder = UpdateCoder<EncodedBins, Contexts, BinEncoder>;
template <class Contexts>
using UpdateDecoder = UpdateCoder<DecodedBins, Contexts, BinDecoder>;

template <class Sets>
using ContextsOf = typename std::remove_reference_t<Sets>::value_type;

}  // namespace

Result encode_levels(StreamState& state, std::span<const std::int32_t> levels,
                     std::span<const std::uint32_t> step_bits, CodedLevels& coded) {
  if (levels.size() != state.n_levels())
    return {Status::kLengthMismatch, static_cast<std::int64_t>(levels.size())};
  if (const Result result = check_steps(state, step_bits); !result.ok()) return result;
  for (std::size_t i = 0; i < levels.size(); ++i) {
    if (levels[i] < -kMaxLevel || levels[i] > kMaxLevel)
      return {Status::kLevelRange, static_cast<std::int64_t>(i)};
  }
  coded.levels.assign(levels.begin(), levels.end());
  BinEncoder coder;
  const Status status = with_contexts(state, [&](auto& sets) {
    return UpdateEncoder<ContextsOf<decltype(sets)>>(state, sets, coder, coded)
        .run(GivenLevels(levels), step_bits);
  });
  coded.payload = coder.finish();
  return {status, 0};
}

Result encode_values(StreamState& state, std::span<const float> values,
                     std::span<const std::uint32_t> step_bits, float price, CodedLevels& coded,
                     std::span<const float> importance) {
  if (values.size() != state.n_levels())
    return {Status::kLengthMismatch, static_cast<std::int64_t>(values.size())};
  if (!importance.empty() && importance.size() != values.size())
    return {Status::kLengthMismatch, static_cast<std::int64_t>(importance.size())};
  if (const Result result = check_steps(state, step_bits); !result.ok()) return result;
  std::vector<float> largest(state.shapes.size(), 0.0F);
  if (const Result result = find_largest(state, values, step_bits, largest); !result.ok())
    return result;
  coded.levels.assign(values.size(), 0);
  BinEncoder coder;
  const Status status = with_contexts(state, [&](auto& sets) {
    const ValuesToQuantise source(values, importance, largest, step_bits, price);
    return UpdateEncoder<ContextsOf<decltype(sets)>>(state, sets, coder, coded)
        .run(source, step_bits);
  });
  coded.payload = coder.finish();
  return {status, 0};
}

Result decode_levels(StreamState& state, std::span<const std::uint8_t> payload,
                     CodedLevels& coded) {
  coded.levels.assign(state.n_levels(), 0);
  BinDecoder coder(payload);
  const Status status = with_contexts(state, [&](auto& sets) {
    return UpdateDecoder<ContextsOf<decltype(sets)>>(state, sets, coder, coded)
        .run(UnknownLevels{}, {});
  });
  const auto position =
      static_cast<std::int64_t>(std::min<std::uint64_t>(coder.n_read(), payload.size()));
  if (status != Status::kOk) return {status, position};
  if (const Status end = coder.check_end(); end != Status::kOk) return {end, position};
  for (const std::int32_t level : coded.levels) {
    if (level < -kMaxLevel || level > kMaxLevel) return {Status::kPayloadLevelRange, position};
  }
  return {};
}

}  // namespace fl_deepcabac
