#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/variant.h>
#include <nanobind/stl/vector.h>

#include "dispatch.h"
#include "pool.h"
#include "operations.h"

namespace nb = nanobind;
using namespace nb::literals;

NB_MODULE(_zmlx_native, m) {
  m.doc() = "CPU kernels for quantised MoE decode, bit-identical to mlx's own.";
  m.attr("mlx_version") = MLX_BUILT_VERSION;

  // Makes mlx's types known here before they are named as defaults.
  nb::module_::import_("mlx.core");
  nb::exception<zmlx::TypeMismatch>(m, "TypeMismatch", PyExc_TypeError);

  m.def("gather_qmm_swiglu", &zmlx::gather_qmm_swiglu, "x"_a, "gate"_a, "up"_a, "indices"_a, nb::kw_only(),
        "group_size"_a = 64, "bits"_a = 4, "mode"_a = "affine", "up_packing"_a = nb::none(),
        "biases"_a = zmlx::Biases{}, "clamped"_a = nb::none(), "stream"_a = nb::none(),
        R"(silu(x @ gate[e].T) * (x @ up[e].T) for each token's experts e.

Args:
    x: (..., K), bfloat16, float16 or float32.
    gate, up: (w, scales, biases): w uint32 (E, I, K * bits / 32), scales and biases (E, I, K / group_size) in a
        floating dtype; where `mode` is not affine scales uint8 and None.
    indices: (..., k) uint32, each below E; an index out of range raises when the result is evaluated.
    group_size, bits, mode: how the weights are packed: affine with 1, 2, 3, 4, 5, 6 or 8 bits in groups of 32, 64 or
        128; mxfp4, mxfp8 with 4, 8 bits in groups of 32; nvfp4 with 4 bits in groups of 16.
    up_packing: (group_size, bits, mode) of up where it is packed in another way.
    biases: none, or what is added to the rows of gate and of up, (E, I) each, in the dtype of the result.
    clamped: (alpha, limit): mlx-lm's swiglu_oai of them in the place of silu(gate) * up.
    stream: a CPU stream or device.

Returns:
    (..., k, I) in the dtype that mlx promotes x, scales and biases to.

Raises:
    TypeError, ValueError: a wrong dtype; a wrong shape or value. The message names the argument.)");
  m.def("gather_qmm_down_combine", &zmlx::gather_qmm_down_combine, "h"_a, "down"_a, "indices"_a, "scores"_a,
        nb::kw_only(), "group_size"_a = 64, "bits"_a = 4, "mode"_a = "affine", "biases"_a = zmlx::Biases{},
        "stream"_a = nb::none(),
        R"(The sum over each token's experts e of (h @ down[e].T) * score.

Args:
    h: (..., k, I), bfloat16, float16 or float32.
    down: as gate in gather_qmm_swiglu, (E, D, I).
    indices: (..., k) uint32, each below E; an index out of range raises when the result is evaluated.
    scores: (..., k) in a floating dtype; the products are rounded to what mlx promotes it and the products' dtype to.
    group_size, bits, mode, stream: as in gather_qmm_swiglu.
    biases: none, or [what is added to the rows of down, (E, D), in the dtype of the result].

Returns:
    (..., D) in the dtype that mlx promotes h, scales and biases to, summed in float32 and rounded once.

Raises:
    TypeError, ValueError: as in gather_qmm_swiglu.)");
  m.def("moe_gather_qmm_swiglu_downproj_combine", &zmlx::moe_gather_qmm_swiglu_downproj_combine, "x"_a, "gate"_a,
        "up"_a, "down"_a, "indices"_a, "scores"_a, nb::kw_only(), "group_size"_a = 64, "bits"_a = 4,
        "mode"_a = "affine", "up_packing"_a = nb::none(), "down_packing"_a = nb::none(),
        "biases"_a = zmlx::Biases{}, "clamped"_a = nb::none(), "stream"_a = nb::none(),
        R"(gather_qmm_down_combine of gather_qmm_swiglu in one operation.

Args:
    x: (..., K).
    gate, up, indices, group_size, bits, mode, up_packing, clamped, stream: as in gather_qmm_swiglu.
    down, scores: as in gather_qmm_down_combine.
    down_packing: (group_size, bits, mode) of down where it is packed in another way.
    biases: none, or those of gate, up and down.

Returns:
    (..., D), as of gather_qmm_down_combine.

Raises:
    TypeError, ValueError: as in gather_qmm_swiglu.)");
  m.def("quantized_matvec", &zmlx::quantized_matvec, "x"_a, "weight"_a, nb::kw_only(), "group_size"_a = 64,
        "bits"_a = 4, "mode"_a = "affine", "stream"_a = nb::none(),
        R"(x @ weight.T.

Args:
    x: (..., K), bfloat16, float16 or float32; (B, H, L, K) for one matrix a head.
    weight: as gate in gather_qmm_swiglu, (N, K) or (H, N, K).
    group_size, bits, mode, stream: as in gather_qmm_swiglu.

Returns:
    (..., N) in the dtype that mlx promotes x, scales and biases to.

Raises:
    TypeError, ValueError: as in gather_qmm_swiglu.)");
  m.def("moe_router", &zmlx::moe_router, "gates"_a, "top_k"_a, "normalize"_a, nb::kw_only(),
        "correction_bias"_a = nb::none(), "scale"_a = 1.0f, "stream"_a = nb::none(),
        R"(The experts of each token and their scores, in the order stock mlx gives them.

Without a correction_bias: softmax in float32 rounded to gates.dtype, the top_k largest, divided by their sum where
`normalize`. With one: sigmoid in float32, the top_k largest of sigmoid + correction_bias, the sigmoids
divided by their sum + 1e-20 where `normalize`, times `scale` (one expert group).

Args:
    gates: (..., E), bfloat16, float16 or float32.
    top_k: 1 to E.
    normalize: divide by the sum of the chosen scores.
    correction_bias: (E,), a float dtype.
    scale: factor of the scores; needs a correction_bias.
    stream: a CPU stream or device.

Returns:
    indices (..., top_k) uint32 and scores (..., top_k) in gates.dtype, or float32 with a correction_bias.

Raises:
    TypeError, ValueError: as in gather_qmm_swiglu.)");

  m.def("threads", [] { return zmlx::Pool::get().threads(); }, "Threads that share the work, the caller's among them.");
  m.def(
      "set_threads", [](int n) { zmlx::Pool::get().set_threads(n); }, "n"_a,
      "Sets threads(): 1 to 16. The start value is ZMLX_THREADS, else the physical cores, at most 4.");
  m.def("isa", [] { return std::string(zmlx::table().name); }, "The instruction set in use.");
  m.def("isas", &zmlx::available_isas, "The instruction sets this CPU can run, widest first.");
  m.def("set_isa", &zmlx::set_isa, "name"_a, "Chooses one of isas(). The start value is ZMLX_ISA, else the widest.");
}
