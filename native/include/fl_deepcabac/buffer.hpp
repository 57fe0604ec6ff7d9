// SPDX-License-Identifier: Apache-2.0
// A vector whose new elements are not set to zero first: for results that are written in full.
#pragma once

#include <memory>
#include <utility>
#include <vector>

namespace fl_deepcabac {

template <class T>
struct UnsetAllocator : std::allocator<T> {
  // NOLINTBEGIN(readability-identifier-naming): the names are those of the standard's allocators
  template <class Other>
  struct rebind {
    using other = UnsetAllocator<Other>;
  };
  // NOLINTEND(readability-identifier-naming)

  template <class Element>
  void construct(Element* at) noexcept {
    ::new (static_cast<void*>(at)) Element;
  }
  template <class Element, class... Arguments>
  void construct(Element* at, Arguments&&... arguments) {
    ::new (static_cast<void*>(at)) Element(std::forward<Arguments>(arguments)...);
  }
};

template <class T>
using Buffer = std::vector<T, UnsetAllocator<T>>;

}  // namespace fl_deepcabac
