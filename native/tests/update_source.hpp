// SPDX-License-Identifier: Apache-2.0
// Updates for tests and benchmarks, correlated from round to round; the same on every machine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "fl_deepcabac/stream_state.hpp"
#include "random.hpp"

namespace fl_deepcabac::testing {

// Updates of a model as training sends them: columns and rows of different scale, weights that keep
// moving in their direction for some rounds, and noise.
class UpdateSource {
 public:
  UpdateSource(std::vector<TensorShape> shapes, std::uint64_t seed)
      : shapes_(std::move(shapes)), random_(seed) {
    for (const TensorShape& shape : shapes_)
      add_tensor(shape);
    drift_.assign(scale_.size(), 0.0F);
  }

  [[nodiscard]] const std::vector<TensorShape>& shapes() const noexcept { return shapes_; }

  // The next round's values, all tensors end to end.
  std::vector<float> next() {
    std::vector<float> values(scale_.size());
    for (std::size_t i = 0; i < values.size(); ++i) {
      drift_[i] = 0.7F * drift_[i] + 0.5F * random_.heavy_tailed();
      values[i] = scale_[i] * (drift_[i] + 0.6F * random_.heavy_tailed());
    }
    return values;
  }

 private:
  void add_tensor(const TensorShape& shape) {
    std::vector<float> columns(shape.n_columns);
    for (float& column : columns)
      column = random_.chance(0.6F) ? 0.1F : 0.3F + random_.unit();
    for (std::uint32_t row = 0; row < shape.n_rows; ++row) {
      const float row_scale = 0.4F + random_.unit();
      for (const float column : columns)
        scale_.push_back(row_scale * column);
    }
  }

  std::vector<TensorShape> shapes_;
  Random random_;
  std::vector<float> scale_;
  std::vector<float> drift_;
};

}  // namespace fl_deepcabac::testing
