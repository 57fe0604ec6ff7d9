// SPDX-License-Identifier: Apache-2.0
// The Python extension: convert, release the GIL, call the core, convert back. No logic.
//
// Releasing the GIL is safe round every core call: bytes arguments are immutable, array arguments
// are only read within their own length, a StreamState is never changed after construction, and
// results are plain C++ values until the GIL is held again.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <bit>
#include <cstdint>
#include <exception>
#include <memory>
#include <span>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "fl_deepcabac/level_codec.hpp"
#include "fl_deepcabac/level_syntax.hpp"
#include "fl_deepcabac/quantizer.hpp"
#include "fl_deepcabac/stream_state.hpp"
#include "fl_deepcabac/value_digest.hpp"
#include "fl_deepcabac/watch.hpp"

namespace py = pybind11;
using namespace fl_deepcabac;

namespace {

using FloatArray = py::array_t<float, py::array::c_style>;
using LevelArray = py::array_t<std::int32_t, py::array::c_style>;
// States are shared and immutable on the Python side; every coding call works on a copy and returns
// that.
using StateHandle = std::shared_ptr<StreamState>;

// Turned into the Python exception _native.StatusError(code, position).
class StatusError : public std::exception {
 public:
  explicit StatusError(const Result& result) noexcept : result_(result) {}

  [[nodiscard]] const char* what() const noexcept override { return "status other than kOk"; }
  [[nodiscard]] const Result& result() const noexcept { return result_; }

 private:
  Result result_;
};

void throw_unless_ok(const Result& result) {
  if (!result.ok()) throw StatusError(result);
}

template <class T>
std::span<const T> span_of(const py::array_t<T, py::array::c_style>& array) {
  return {array.data(), static_cast<std::size_t>(array.size())};
}

std::span<const std::uint8_t> span_of(const py::bytes& bytes) {
  const std::string_view view(bytes);
  return {reinterpret_cast<const std::uint8_t*>(view.data()), view.size()};
}

std::vector<std::uint32_t> bits_of(const FloatArray& steps) {
  std::vector<std::uint32_t> bits;
  for (const float step : span_of(steps))
    bits.push_back(std::bit_cast<std::uint32_t>(step));
  return bits;
}

py::bytes to_python(const std::vector<std::uint8_t>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

template <class T, class U>
py::array_t<T> array_of(const std::vector<U>& values) {
  static_assert(sizeof(T) == sizeof(U));
  return py::array_t<T>(static_cast<py::ssize_t>(values.size()),
                        reinterpret_cast<const T*>(values.data()));
}

// An array that owns what was a vector, without a copy.
template <class Vector>
py::array_t<typename Vector::value_type> moved_into_array(Vector&& values) {
  auto owned = std::make_unique<std::remove_cvref_t<Vector>>(std::forward<Vector>(values));
  const auto n_values = static_cast<py::ssize_t>(owned->size());
  auto* first = owned->data();
  const py::capsule owner(owned.get(), [](void* pointer) {
    delete static_cast<std::remove_cvref_t<Vector>*>(pointer);
  });
  (void)owned.release();
  return py::array_t<typename Vector::value_type>(n_values, first, owner);
}

StateHandle make_state(const std::vector<std::pair<std::uint32_t, std::uint32_t>>& shapes,
                       int profile) {
  std::vector<TensorShape> tensor_shapes;
  tensor_shapes.reserve(shapes.size());
  for (const auto& [n_rows, n_columns] : shapes)
    tensor_shapes.push_back({n_rows, n_columns});
  return std::make_shared<StreamState>(std::move(tensor_shapes), static_cast<Profile>(profile));
}

StateHandle load_state(const StateHandle& like, const py::bytes& saved) {
  const auto bytes = span_of(saved);
  auto state = std::make_shared<StreamState>(*like);
  Result result;
  {
    const py::gil_scoped_release release;
    result = state->load_bytes(bytes);
  }
  throw_unless_ok(result);
  return state;
}

// Python's signal handlers run between two of its instructions, and a call into the core is one: a
// handler that raises, as that of Ctrl-C does, ends the call. Other threads than the main one have
// no handlers, so nothing happens there.
void let_signals_in() {
  const py::gil_scoped_acquire acquire;
  if (PyErr_CheckSignals() != 0) throw py::error_already_set();
}

// Runs `call(state, coded, execution)` on a copy of the state, without the GIL.
template <class Call>
py::tuple run_on_copy(const StateHandle& before, std::size_t threads, bool wants_levels,
                      Call&& call) {
  CodedLevels coded;
  coded.wants_levels = wants_levels;
  std::shared_ptr<StreamState> state;
  Result result;
  {
    const py::gil_scoped_release release;
    Watch watch(let_signals_in);
    const Execution execution(threads, &watch);
    state = std::make_shared<StreamState>(copy_of(*before, execution));
    result = call(*state, coded, execution);
  }
  throw_unless_ok(result);
  return py::make_tuple(to_python(coded.payload), moved_into_array(std::move(coded.levels)),
                        moved_into_array(std::move(coded.values)), array_of<float>(coded.step_bits),
                        array_of<std::uint64_t>(coded.tensor_costs),
                        array_of<std::uint64_t>(coded.tensor_nonzeros),
                        array_of<double>(coded.tensor_errors), std::move(state));
}

py::tuple py_encode_levels(const StateHandle& before, const LevelArray& levels,
                           const FloatArray& steps, const FloatArray& values, float price,
                           std::size_t threads, bool wants_levels) {
  const auto level_span = span_of(levels);
  const OffsetFit fit{span_of(values), price};
  const auto bits = bits_of(steps);
  return run_on_copy(before, threads, wants_levels,
                     [&](StreamState& copy, CodedLevels& out, const Execution& execution) {
                       return encode_levels(copy, level_span, bits, out, execution, fit);
                     });
}

py::tuple py_encode_values(const StateHandle& before, const FloatArray& values,
                           const FloatArray& steps, float price, bool dependent,
                           const FloatArray& importance, bool fits_offsets, std::size_t threads,
                           bool wants_levels) {
  const auto value_span = span_of(values);
  const Choice choice{price, dependent, span_of(importance), fits_offsets};
  const auto bits = bits_of(steps);
  return run_on_copy(before, threads, wants_levels,
                     [&](StreamState& copy, CodedLevels& out, const Execution& execution) {
                       return encode_values(copy, value_span, bits, choice, out, execution);
                     });
}

py::tuple py_decode_levels(const StateHandle& before, const py::bytes& payload, std::size_t threads,
                           bool wants_levels) {
  const auto bytes = span_of(payload);
  return run_on_copy(before, threads, wants_levels,
                     [&](StreamState& copy, CodedLevels& out, const Execution& execution) {
                       return decode_levels(copy, bytes, out, execution);
                     });
}

std::uint32_t py_value_digest(const FloatArray& values) {
  const auto in = span_of(values);
  const py::gil_scoped_release release;
  return value_digest(in);
}

LevelArray py_quantize_uniform(const FloatArray& values, float step, float dead_zone) {
  LevelArray levels(values.size());
  const std::span<std::int32_t> out(levels.mutable_data(), static_cast<std::size_t>(levels.size()));
  const auto in = span_of(values);
  Result result;
  {
    const py::gil_scoped_release release;
    result = quantize_uniform(in, step, dead_zone, out);
  }
  throw_unless_ok(result);
  return levels;
}

}  // namespace

PYBIND11_MODULE(_native, module) {
  module.attr("__version__") = FL_DEEPCABAC_VERSION;
  module.attr("MAX_LEVEL") = kMaxLevel;

  // A borrowed reference is enough: the module keeps the exception type alive.
  static PyObject* status_error = nullptr;
  status_error = PyErr_NewException("fl_deepcabac._native.StatusError", PyExc_ValueError, nullptr);
  module.add_object("StatusError", py::reinterpret_steal<py::object>(status_error));
  py::register_exception_translator([](std::exception_ptr pointer) {
    try {
      if (pointer) std::rethrow_exception(std::move(pointer));
    } catch (const StatusError& error) {
      const py::tuple arguments =
          py::make_tuple(static_cast<std::int32_t>(error.result().status), error.result().position);
      PyErr_SetObject(status_error, arguments.ptr());
    }
  });

  py::class_<StreamState, std::shared_ptr<StreamState>>(module, "StreamState")
      .def(py::init([](const std::vector<std::pair<std::uint32_t, std::uint32_t>>& shapes,
                       int profile) { return make_state(shapes, profile); }),
           py::arg("shapes"), py::arg("profile"))
      .def_property_readonly(
          "steps", [](const StreamState& state) { return array_of<float>(state.step_bits); })
      .def("to_bytes",
           [](const StreamState& state) {
             std::vector<std::uint8_t> bytes;
             {
               const py::gil_scoped_release release;
               bytes = state.to_bytes();
             }
             return to_python(bytes);
           })
      .def("load_bytes", [](const std::shared_ptr<StreamState>& like, const py::bytes& saved) {
        return load_state(like, saved);
      });
  module.def("encode_levels", &py_encode_levels, py::arg("state"), py::arg("levels").noconvert(),
             py::arg("steps").noconvert(), py::arg("values").noconvert(), py::arg("price"),
             py::arg("threads"), py::arg("wants_levels"));
  module.def("encode_values", &py_encode_values, py::arg("state"), py::arg("values").noconvert(),
             py::arg("steps").noconvert(), py::arg("price"), py::arg("dependent"),
             py::arg("importance").noconvert(), py::arg("fits_offsets"), py::arg("threads"),
             py::arg("wants_levels"));
  module.def("decode_levels", &py_decode_levels, py::arg("state"), py::arg("payload"),
             py::arg("threads"), py::arg("wants_levels"));
  module.def("value_digest", &py_value_digest, py::arg("values").noconvert());
  module.def("quantize_uniform", &py_quantize_uniform, py::arg("values").noconvert(),
             py::arg("step"), py::arg("dead_zone"));
}
