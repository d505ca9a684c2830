// The graph nodes of the operations. Inputs are checked, weights dense, before one is made.
#pragma once

#include <memory>

#include "mlx/primitives.h"
#include "operations.h"

namespace zmlx {

using Node = std::shared_ptr<mx::Primitive>;

// Behind the inputs named here stand, for all weights or for none, the biases of their rows.
// x, gate w, scales, biases, up ..., indices
Node gather_qmm_swiglu_node(mx::Stream s, Packing gate, Packing up, const std::optional<Clamped>& clamped);
Node gather_qmm_down_combine_node(mx::Stream s, Packing down);  // h, down ..., indices, scores
// x, gate ..., up ..., down ..., indices, scores
Node moe_node(mx::Stream s, Packing gate, Packing up, Packing down, const std::optional<Clamped>& clamped);
Node quantized_matvec_node(mx::Stream s, Packing weight);  // x, weight ...
Node moe_router_node(mx::Stream s, int top_k, bool normalize, float scale);  // gates, or gates, correction bias

mx::Shape with_last(mx::Shape shape, int last);

}  // namespace zmlx
