// Top-k routing of one row of gate values; plain pointers, no mlx.
#pragma once

#include <cstdint>

#include "kernels.h"

namespace zmlx {

// Without a correction: softmax in float32, rounded to `type`, the `top_k` largest in mlx's argpartition order, divided by their
// sum where `normalize`.
void route_softmax(const float* logits, int experts, int top_k, bool normalize, Type type, uint32_t* indices,
                   float* scores);

// With one: sigmoid in float32, selected by sigmoid + correction, divided by their sum where `normalize`, times `scale`.
void route_sigmoid(const float* logits, const float* correction, int experts, int top_k, bool normalize, float scale,
                   uint32_t* indices, float* scores);

}  // namespace zmlx
