#include "operations.h"

#include "checks.h"
#include "primitives.h"

namespace zmlx {

namespace {

// Weights in row-major order: loaded ones already are, and then this adds nothing to the graph.
mx::array dense(const mx::array& a, mx::Stream s) {
  return a.is_available() && a.flags().row_contiguous ? a : mx::contiguous(a, false, s);
}

void append(std::vector<mx::array>& inputs, const Quantized& q, mx::Stream s) {
  inputs.push_back(dense(std::get<0>(q), s));
  inputs.push_back(dense(std::get<1>(q), s));
  inputs.push_back(dense(std::get<2>(q), s));
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

void require_scores(const mx::array& scores, const mx::array& indices, mx::Dtype dtype) {
  if (scores.dtype() != mx::float32) {
    require_dtype("scores", scores, dtype);
  }
  require_shape("scores", scores, indices.shape());
}

// Gate and up: same experts, same rows. Returns the rows.
int require_pair(const mx::array& x, const Quantized& gate, const Quantized& up, Packing p) {
  int n = require_quantized("gate", gate, 3, x.shape(-1), x.dtype(), p);
  require_quantized("up", up, 3, x.shape(-1), x.dtype(), p);
  require_shape("up w", std::get<0>(up), std::get<0>(gate).shape());
  return n;
}

}  // namespace

mx::array gather_qmm_swiglu(const mx::array& x, const Quantized& gate, const Quantized& up, const mx::array& indices,
                            int group_size, int bits, mx::StreamOrDevice s) {
  mx::Stream stream = cpu_stream(s);
  Packing p = require_packing(group_size, bits);
  require_input("x", x);
  int n = require_pair(x, gate, up, p);
  require_indices(indices, without_last(x));
  mx::Shape shape = indices.shape();
  shape.push_back(n);
  std::vector<mx::array> inputs{x};
  append(inputs, gate, stream);
  append(inputs, up, stream);
  inputs.push_back(indices);
  return mx::array(shape, x.dtype(), gather_qmm_swiglu_node(stream, p), std::move(inputs));
}

mx::array gather_qmm_down_combine(const mx::array& h, const Quantized& down, const mx::array& indices,
                                  const mx::array& scores, int group_size, int bits, mx::StreamOrDevice s) {
  mx::Stream stream = cpu_stream(s);
  Packing p = require_packing(group_size, bits);
  require_input("h", h);
  int n = require_quantized("down", down, 3, h.shape(-1), h.dtype(), p);
  require_dtype("indices", indices, mx::uint32);
  require_shape("indices", indices, without_last(h));
  require_experts_named(indices);
  require_scores(scores, indices, h.dtype());
  std::vector<mx::array> inputs{h};
  append(inputs, down, stream);
  inputs.push_back(indices);
  inputs.push_back(scores);
  return mx::array(with_last(indices.shape(), n), h.dtype(), gather_qmm_down_combine_node(stream, p),
                   std::move(inputs));
}

mx::array moe_gather_qmm_swiglu_downproj_combine(const mx::array& x, const Quantized& gate, const Quantized& up,
                                                 const Quantized& down, const mx::array& indices,
                                                 const mx::array& scores, int group_size, int bits,
                                                 mx::StreamOrDevice s) {
  mx::Stream stream = cpu_stream(s);
  Packing p = require_packing(group_size, bits);
  require_input("x", x);
  int inner = require_pair(x, gate, up, p);
  int n = require_quantized("down", down, 3, inner, x.dtype(), p);
  require_indices(indices, without_last(x));
  require_experts_named(indices);
  if (std::get<0>(down).shape(0) != std::get<0>(gate).shape(0)) {
    throw std::invalid_argument("down w must have as many experts as gate w");
  }
  require_scores(scores, indices, x.dtype());
  std::vector<mx::array> inputs{x};
  append(inputs, gate, stream);
  append(inputs, up, stream);
  append(inputs, down, stream);
  inputs.push_back(indices);
  inputs.push_back(scores);
  return mx::array(with_last(x.shape(), n), x.dtype(), moe_node(stream, p), std::move(inputs));
}

mx::array quantized_matvec(const mx::array& x, const Quantized& weight, int group_size, int bits,
                           mx::StreamOrDevice s) {
  mx::Stream stream = cpu_stream(s);
  Packing p = require_packing(group_size, bits);
  require_input("x", x);
  const mx::array& w = std::get<0>(weight);
  const bool per_head = w.ndim() == 3;
  int n = require_quantized("weight", weight, per_head ? 3 : 2, x.shape(-1), x.dtype(), p);
  if (per_head && (x.ndim() != 4 || x.shape(1) != w.shape(0))) {
    throw std::invalid_argument("x must have shape (B, H, L, K) with H = " + std::to_string(w.shape(0)) +
                                " for one matrix a head, not " + shape_text(x.shape()));
  }
  std::vector<mx::array> inputs{x};
  append(inputs, weight, stream);
  return mx::array(with_last(x.shape(), n), x.dtype(), quantized_matvec_node(stream, p), std::move(inputs));
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

std::pair<mx::array, mx::array> moe_router_form(const mx::array& gates, const std::string& form, int top_k,
                                                const std::optional<mx::array>& of_expert, bool normalize,
                                                bool precise, float scale, int groups, int kept,
                                                mx::StreamOrDevice s) {
  mx::Stream stream = cpu_stream(s);
  require_input("gates", gates);
  const int experts = gates.shape(-1);
  RouterSettings how{RouterForm::top_k_softmax, top_k, normalize, precise, scale, groups, kept};
  if (form == "sigmoid_groups") {
    how.form = RouterForm::sigmoid_groups;
  } else if (form == "sigmoid_own") {
    how.form = RouterForm::sigmoid_own;
  } else if (form != "top_k_softmax") {
    throw std::invalid_argument("form must be top_k_softmax, sigmoid_groups or sigmoid_own, not " + form);
  }
  if (top_k < 1 || top_k > experts) {
    throw std::invalid_argument("top_k must be 1 to the number of experts, " + std::to_string(experts) + ", not " +
                                std::to_string(top_k));
  }
  if (groups < 1 || kept < 1 || kept > groups || experts % groups != 0 || (groups > 1 && experts / groups < 2)) {
    throw std::invalid_argument("groups must divide the experts into at least two each, of which 1 to all are kept");
  }
  std::vector<mx::array> inputs{gates};
  if (of_expert) {
    require_float("of_expert", *of_expert);
    require_shape("of_expert", *of_expert, {experts});
    inputs.push_back(*of_expert);
  } else if (how.form == RouterForm::sigmoid_groups) {
    throw std::invalid_argument("sigmoid_groups needs of_expert");
  }
  const bool wide = how.form == RouterForm::sigmoid_groups;
  if (how.form == RouterForm::top_k_softmax && of_expert) {
    require_dtype("of_expert", *of_expert, gates.dtype());
  }
  mx::Shape shape = with_last(gates.shape(), top_k);
  auto outputs = mx::array::make_arrays({shape, shape}, {mx::uint32, wide ? mx::float32 : gates.dtype()},
                                        moe_router_form_node(stream, how), inputs);
  return {outputs[0], outputs[1]};
}

}  // namespace zmlx
