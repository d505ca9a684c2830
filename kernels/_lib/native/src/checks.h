// Checks of arguments: every message names the argument.
#pragma once

#include <string>

#include "operations.h"

namespace zmlx {

std::string shape_text(const mx::Shape& shape);
void require_float(const char* name, const mx::array& a);
void require_dtype(const char* name, const mx::array& a, mx::Dtype dtype);
void require_shape(const char* name, const mx::array& a, const mx::Shape& shape);
// `indices` (..., k) must have the leading dimensions `lead`.
void require_indices(const mx::array& indices, const mx::Shape& lead);
// `indices` must name at least one expert a token.
void require_experts_named(const mx::array& indices);
// Throws where mlx itself has no such packing on the CPU.
Packing require_packing(int group_size, int bits, const std::string& mode);

// Checks one quantised weight of `ndim` dimensions for inputs of K elements and returns its rows N.
int require_quantized(const std::string& name, const Quantized& q, int ndim, int k, Packing p);

// The CPU stream to run on; a GPU stream is refused.
mx::Stream cpu_stream(mx::StreamOrDevice s);

// Throws unless every index is below `experts`.
void require_in_range(const char* op, const uint32_t* indices, int64_t n, int64_t experts);

}  // namespace zmlx
