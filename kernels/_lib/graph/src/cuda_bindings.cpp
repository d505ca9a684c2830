#include <nanobind/nanobind.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/variant.h>
#include <nanobind/stl/vector.h>

#include <memory>

#include "cuda_chain.h"
#include "cuda_compile.h"
#include "cuda_graph.h"
#include "cuda_step.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

// What Python holds. A step shares what is inside and lets go of it on a thread of MLX's, which must not ask for the
// interpreter: it may be ending.
template <typename T>
struct Held {
  std::shared_ptr<T> it;
};
using Work = Held<zmlx::Work>;
struct Graph : Work {};
struct Chain : Work {
  zmlx::Chain& get() const {
    return static_cast<zmlx::Chain&>(*it);
  }
};
using Buffers = Held<zmlx::Buffers>;

} // namespace

NB_MODULE(_zmlx_graph, m) {
  m.doc() = "Launches that are put together once and started as one CUDA graph.";
  m.attr("mlx_version") = MLX_BUILT_VERSION;

  // Makes mlx's types known here.
  nb::module_::import_("mlx.core");

  m.def(
      "compile",
      [](const std::string& text, const std::vector<std::string>& options) {
        const auto code = zmlx::compile(text, options);
        return nb::bytes(code.data(), code.size());
      },
      "text"_a, "options"_a,
      "Compile device text by NVRTC to machine code (bytes); RuntimeError with the compiler's log.");

  m.def("architecture", &zmlx::architecture, "The current GPU's architecture as the compiler names it.");
  m.def("compiler", &zmlx::compiler, "The version of the compiler.");

  nb::class_<zmlx::Input>(m, "Input", "A parameter: the step's input.").def(nb::init<>());
  nb::class_<zmlx::Output>(m, "Output", "A parameter: the step's output.").def(nb::init<>());
  nb::class_<zmlx::Buffer>(m, "Buffer", "A parameter: the buffer of this index.").def(nb::init<int>(), "index"_a);
  nb::class_<zmlx::Number>(m, "Number", "A parameter: the int32 of this index.").def(nb::init<int>(), "index"_a);

  nb::class_<zmlx::Launch>(m, "Launch", "A launch of a kernel; `ahead`: it may start before the one before it ended.")
      .def(
          "__init__",
          [](zmlx::Launch* self, std::string kernel, std::vector<int> blocks, int threads, int shared_bytes,
             bool ahead, std::vector<zmlx::Parameter> parameters) {
            new (self) zmlx::Launch{
                std::move(kernel), std::move(blocks), threads, shared_bytes, ahead, std::move(parameters)};
          },
          "kernel"_a, "blocks"_a, "threads"_a, "shared_bytes"_a, "ahead"_a, "parameters"_a);

  nb::class_<Buffers>(m, "Buffers", "Evaluated arrays that steps write in place; they belong to the steps alone.")
      .def(
          "__init__",
          [](Buffers* self, std::vector<mlx::core::array> arrays) {
            new (self) Buffers{std::make_shared<zmlx::Buffers>(std::move(arrays))};
          },
          "arrays"_a);

  nb::class_<Work>(m, "Work", "What a step launches.");

  nb::class_<zmlx::Product>(
      m, "Product",
      "bfloat16 out (rows, cols) = a (rows, depth) times b, which is (depth, cols) or, transposed, (cols, depth), as "
      "MLX has cuBLASLt multiply it. `cols` or `depth` may be a Number. `aside`: it runs beside what follows, the next "
      "product included.")
      .def(
          "__init__",
          [](zmlx::Product* self, zmlx::Parameter a, zmlx::Parameter b, zmlx::Parameter out, int rows,
             std::variant<int, zmlx::Number> cols, std::variant<int, zmlx::Number> depth, bool transposed,
             bool aside) {
            new (self) zmlx::Product{std::move(a), std::move(b), std::move(out), rows, cols, depth, transposed, aside};
          },
          "a"_a, "b"_a, "out"_a, "rows"_a, "cols"_a, "depth"_a, "transposed"_a, "aside"_a);

  nb::class_<Graph, Work>(m, "Graph", "Launches after each other as one executable graph.")
      .def(
          "__init__",
          [](Graph* self, const nb::bytes& code, const std::vector<zmlx::Launch>& launches,
             std::vector<mlx::core::array> spares) {
            new (self) Graph{{std::make_shared<zmlx::Graph>(
                std::string(code.c_str(), code.size()), launches, std::move(spares))}};
          },
          "code"_a, "launches"_a, "spares"_a,
          "Load the machine code and make the launches executable. `spares`: evaluated arrays of the output's shape and dtype.");

  nb::class_<Chain, Work>(m, "Chain", "Launches and products after each other.")
      .def(
          "__init__",
          [](Chain* self, const nb::bytes& code, const std::vector<zmlx::Link>& links,
             std::vector<mlx::core::array> spares, mlx::core::array workspace) {
            new (self) Chain{{std::make_shared<zmlx::Chain>(
                std::string(code.c_str(), code.size()), links, std::move(spares), std::move(workspace))}};
          },
          "code"_a, "links"_a, "spares"_a, "workspace"_a,
          "Load the machine code. `spares`: evaluated arrays of the output's shape and dtype; `workspace`: 64 MiB.")
      .def(
          "prepare",
          [](const Chain& self, const Buffers& buffers, const std::vector<int>& numbers) {
            self.get().prepare(*buffers.it, numbers);
          },
          "buffers"_a, "numbers"_a, nb::call_guard<nb::gil_scoped_release>(),
          "Begin to make the graph of the step that will be asked for next, in a thread of its own.")
      .def(
          "counts", [](const Chain& self) { return self.get().counts(); },
          "Steps launched as a graph, and steps launched one by one.")
      .def(
          "fault", [](const Chain& self) { return self.get().fault(); },
          "Why a graph could not be made, the last time that it could not; empty without a failure.");

  m.def(
      "step",
      [](const mlx::core::array& x, const Work& work, const Buffers& buffers, const std::vector<int>& numbers) {
        return zmlx::step(x, work.it, buffers.it, numbers);
      },
      "x"_a, "graph"_a, "buffers"_a, "numbers"_a, nb::call_guard<nb::gil_scoped_release>(),
      R"(Submit a step at once on the current stream.

Args:
    x: the input.
    graph, buffers: what is launched and what it writes in place, at least as many as the launches name.
    numbers: int32 values, at least as many as the launches name.

Returns:
    The output, of the spares' shape and dtype.

Raises:
    ValueError: not on a GPU, a traced x, or fewer buffers or numbers than the launches name.)");
}
