#include "operations.h"

#include "checks.h"
#include "primitives.h"

namespace zmlx {

namespace {

// Weights in row-major order: loaded ones already are, and then this adds nothing to the graph.
mx::array dense(const mx::array& a, mx::Stream s) {
  return a.is_available() && a.flags().row_contiguous ? a : mx::contiguous(a, false, s);
}

// Three inputs of a node. Without biases the scales stand in their place, so that every weight has three.
void append(std::vector<mx::array>& inputs, const Quantized& q, mx::Dtype dtype, mx::Stream s) {
  const auto& [w, scales, biases] = q;
  auto as_input = [&](const mx::array& a) { return dense(biases ? mx::astype(a, dtype, s) : a, s); };
  inputs.push_back(dense(w, s));
  inputs.push_back(as_input(scales));
  inputs.push_back(as_input(biases.value_or(scales)));
}

// The dtype in which mlx multiplies inputs of `dtype` by a weight.
mx::Dtype product_dtype(mx::Dtype dtype, const Quantized& q) {
  const auto& [w, scales, biases] = q;
  return biases ? mx::promote_types(dtype, mx::promote_types(scales.dtype(), biases->dtype())) : dtype;
}

Packing packing_or(const std::optional<Packed>& own, Packing other) {
  return own ? require_packing(std::get<0>(*own), std::get<1>(*own), std::get<2>(*own)) : other;
}

mx::Shape without_last(const mx::array& a) {
  return mx::Shape(a.shape().begin(), a.shape().end() - 1);
}

void require_input(const char* name, const mx::array& a) {
  require_float(name, a);
  if (a.ndim() < 1) {
    throw std::invalid_argument(std::string(name) + " must have at least one dimension");
  }
}

// Biases, one for each of the weights with these rows, in the dtype of its products, as further inputs.
void append_biases(std::vector<mx::array>& inputs, const Biases& biases, int experts, const std::vector<int>& rows,
                   const std::vector<mx::Dtype>& dtypes, mx::Stream s) {
  if (!biases.empty() && biases.size() != rows.size()) {
    throw std::invalid_argument("biases must be one for each weight, " + std::to_string(rows.size()) + ", or none");
  }
  for (std::size_t i = 0; i < biases.size(); i++) {
    require_dtype("biases", biases[i], dtypes[i]);
    require_shape("biases", biases[i], {experts, rows[i]});
    inputs.push_back(dense(biases[i], s));
  }
}

// Scores in the dtype of the products y * score, for y of `dtype`: that, or float32.
mx::array as_factors(const mx::array& scores, const mx::array& indices, mx::Dtype dtype, mx::Stream s) {
  require_float("scores", scores);
  require_shape("scores", scores, indices.shape());
  return mx::astype(scores, mx::promote_types(scores.dtype(), dtype), s);
}

struct GateAndUp {
  Packing gate;
  Packing up;
  int n;
  mx::Dtype dtype;
};

// Gate and up: same experts, same rows, one dtype.
GateAndUp require_pair(const mx::array& x, const Quantized& gate, const Quantized& up, Packing p,
                       const std::optional<Packed>& up_packed) {
  Packing of_up = packing_or(up_packed, p);
  int n = require_quantized("gate", gate, 3, x.shape(-1), p);
  if (require_quantized("up", up, 3, x.shape(-1), of_up) != n ||
      std::get<0>(up).shape(0) != std::get<0>(gate).shape(0)) {
    throw std::invalid_argument("up w must have as many experts and rows as gate w");
  }
  mx::Dtype dtype = product_dtype(x.dtype(), gate);
  if (product_dtype(x.dtype(), up) != dtype) {
    throw TypeMismatch("up scales must have the dtype of gate scales");
  }
  return {p, of_up, n, dtype};
}

}  // namespace

mx::array gather_qmm_swiglu(const mx::array& x, const Quantized& gate, const Quantized& up, const mx::array& indices,
                            int group_size, int bits, const std::string& mode, const std::optional<Packed>& up_packed,
                            const Biases& biases, const std::optional<Clamped>& clamped, mx::StreamOrDevice s) {
  mx::Stream stream = cpu_stream(s);
  Packing p = require_packing(group_size, bits, mode);
  require_input("x", x);
  GateAndUp of = require_pair(x, gate, up, p, up_packed);
  require_indices(indices, without_last(x));
  mx::Shape shape = indices.shape();
  shape.push_back(of.n);
  std::vector<mx::array> inputs{mx::astype(x, of.dtype, stream)};
  append(inputs, gate, of.dtype, stream);
  append(inputs, up, of.dtype, stream);
  inputs.push_back(indices);
  append_biases(inputs, biases, std::get<0>(gate).shape(0), {of.n, of.n}, {of.dtype, of.dtype}, stream);
  return mx::array(shape, of.dtype, gather_qmm_swiglu_node(stream, of.gate, of.up, clamped), std::move(inputs));
}

mx::array gather_qmm_down_combine(const mx::array& h, const Quantized& down, const mx::array& indices,
                                  const mx::array& scores, int group_size, int bits, const std::string& mode,
                                  const Biases& biases, mx::StreamOrDevice s) {
  mx::Stream stream = cpu_stream(s);
  Packing p = require_packing(group_size, bits, mode);
  require_input("h", h);
  int n = require_quantized("down", down, 3, h.shape(-1), p);
  require_dtype("indices", indices, mx::uint32);
  require_shape("indices", indices, without_last(h));
  require_experts_named(indices);
  mx::Dtype dtype = product_dtype(h.dtype(), down);
  std::vector<mx::array> inputs{mx::astype(h, dtype, stream)};
  append(inputs, down, dtype, stream);
  inputs.push_back(indices);
  inputs.push_back(as_factors(scores, indices, dtype, stream));
  append_biases(inputs, biases, std::get<0>(down).shape(0), {n}, {dtype}, stream);
  return mx::array(with_last(indices.shape(), n), dtype, gather_qmm_down_combine_node(stream, p), std::move(inputs));
}

mx::array moe_gather_qmm_swiglu_downproj_combine(const mx::array& x, const Quantized& gate, const Quantized& up,
                                                 const Quantized& down, const mx::array& indices,
                                                 const mx::array& scores, int group_size, int bits,
                                                 const std::string& mode, const std::optional<Packed>& up_packed,
                                                 const std::optional<Packed>& down_packed, const Biases& biases,
                                                 const std::optional<Clamped>& clamped, mx::StreamOrDevice s) {
  mx::Stream stream = cpu_stream(s);
  Packing p = require_packing(group_size, bits, mode);
  Packing of_down = packing_or(down_packed, p);
  require_input("x", x);
  GateAndUp of = require_pair(x, gate, up, p, up_packed);
  int n = require_quantized("down", down, 3, of.n, of_down);
  require_indices(indices, without_last(x));
  require_experts_named(indices);
  if (std::get<0>(down).shape(0) != std::get<0>(gate).shape(0)) {
    throw std::invalid_argument("down w must have as many experts as gate w");
  }
  mx::Dtype dtype = product_dtype(of.dtype, down);
  std::vector<mx::array> inputs{mx::astype(x, of.dtype, stream)};
  append(inputs, gate, of.dtype, stream);
  append(inputs, up, of.dtype, stream);
  append(inputs, down, dtype, stream);
  inputs.push_back(indices);
  inputs.push_back(as_factors(scores, indices, dtype, stream));
  append_biases(inputs, biases, std::get<0>(gate).shape(0), {of.n, of.n, n}, {of.dtype, of.dtype, dtype}, stream);
  return mx::array(with_last(x.shape(), n), dtype, moe_node(stream, of.gate, of.up, of_down, clamped),
                   std::move(inputs));
}

mx::array quantized_matvec(const mx::array& x, const Quantized& weight, int group_size, int bits,
                           const std::string& mode, mx::StreamOrDevice s) {
  mx::Stream stream = cpu_stream(s);
  Packing p = require_packing(group_size, bits, mode);
  require_input("x", x);
  const mx::array& w = std::get<0>(weight);
  const bool per_head = w.ndim() == 3;
  int n = require_quantized("weight", weight, per_head ? 3 : 2, x.shape(-1), p);
  if (per_head && (x.ndim() != 4 || x.shape(1) != w.shape(0))) {
    throw std::invalid_argument("x must have shape (B, H, L, K) with H = " + std::to_string(w.shape(0)) +
                                " for one matrix a head, not " + shape_text(x.shape()));
  }
  mx::Dtype dtype = product_dtype(x.dtype(), weight);
  std::vector<mx::array> inputs{mx::astype(x, dtype, stream)};
  append(inputs, weight, dtype, stream);
  return mx::array(with_last(x.shape(), n), dtype, quantized_matvec_node(stream, p), std::move(inputs));
}

std::pair<mx::array, mx::array> moe_router(const mx::array& gates, int top_k, bool normalize,
                                           const std::optional<mx::array>& correction_bias, float scale,
                                           mx::StreamOrDevice s) {
  mx::Stream stream = cpu_stream(s);
  require_input("gates", gates);
  if (top_k < 1 || top_k > gates.shape(-1)) {
    throw std::invalid_argument("top_k must be 1 to the number of experts, " + std::to_string(gates.shape(-1)) +
                                ", not " + std::to_string(top_k));
  }
  std::vector<mx::array> inputs{gates};
  if (correction_bias) {
    require_float("correction_bias", *correction_bias);
    require_shape("correction_bias", *correction_bias, {gates.shape(-1)});
    inputs.push_back(*correction_bias);
  } else if (scale != 1.0f) {
    throw std::invalid_argument("scale needs a correction_bias");
  }
  mx::Shape shape = with_last(gates.shape(), top_k);
  auto outputs = mx::array::make_arrays({shape, shape}, {mx::uint32, correction_bias ? mx::float32 : gates.dtype()},
                                        moe_router_node(stream, top_k, normalize, scale), inputs);
  return {outputs[0], outputs[1]};
}

}  // namespace zmlx
