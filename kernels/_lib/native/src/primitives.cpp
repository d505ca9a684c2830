#include "primitives.h"

#include <algorithm>
#include <memory>

#include "checks.h"
#include "dispatch.h"
#include "mlx/allocator.h"
#include "mlx/backend/common/utils.h"
#include "mlx/backend/cpu/encoder.h"
#include "moe.h"
#include "router.h"

namespace zmlx {

mx::Shape with_last(mx::Shape shape, int last) {
  shape.back() = last;
  return shape;
}

namespace {

// Tokens worked on at once: bounds the float32 temporaries of a long prompt.
constexpr int64_t token_block = 256;

Type type_of(mx::Dtype d) {
  return d == mx::bfloat16 ? Type::bf16 : d == mx::float16 ? Type::f16 : Type::f32;
}

std::unique_ptr<float[]> floats(int64_t n) {
  return std::make_unique_for_overwrite<float[]>(std::size_t(n));
}

// The elements first <= i < first + n of `a` in row-major order, as float32.
std::unique_ptr<float[]> read(const mx::array& a, int64_t first, int64_t n) {
  auto out = floats(n);
  auto load = table().load[int(type_of(a.dtype()))];
  auto* base = a.data<uint8_t>();
  if (a.flags().row_contiguous) {
    load(base + first * a.itemsize(), out.get(), n);
  } else {
    for (int64_t i = 0; i < n; i++) {
      load(base + mx::elem_to_loc(int(first + i), a.shape(), a.strides()) * int64_t(a.itemsize()), out.get() + i, 1);
    }
  }
  return out;
}

std::vector<uint32_t> read_indices(const mx::array& a) {
  std::vector<uint32_t> out(a.size());
  auto* base = a.data<uint32_t>();
  for (std::size_t i = 0; i < out.size(); i++) {
    out[i] = base[a.flags().row_contiguous ? int64_t(i) : mx::elem_to_loc(int(i), a.shape(), a.strides())];
  }
  return out;
}

void write(const float* values, mx::array& out, int64_t first, int64_t n) {
  table().store[int(type_of(out.dtype()))](values, out.data<uint8_t>() + first * int64_t(out.itemsize()), n);
}

// The three arrays at inputs[at] as experts; a matrix of two dimensions is one expert.
// Their products are rounded to `dtype`.
Experts experts_at(const std::vector<mx::array>& inputs, std::size_t at, int64_t k, Packing p, mx::Dtype dtype) {
  const mx::array& w = inputs[at];
  return {w.data<uint8_t>(),
          inputs[at + 1].data<uint8_t>(),
          inputs[at + 2].data<uint8_t>(),
          w.ndim() == 2 ? 1 : w.shape(0),
          w.shape(-2),
          k,
          p.format,
          p.group,
          type_of(dtype),
          nullptr};
}

// The bias at inputs[at], where there is one.
const uint8_t* bias_at(const std::vector<mx::array>& inputs, std::size_t at) {
  return at < inputs.size() ? inputs[at].data<uint8_t>() : nullptr;
}

// The clamp as mlx rounds its two numbers to the dtype.
std::optional<Clamp> clamp_in(const std::optional<Clamped>& clamped, mx::Dtype dtype) {
  if (!clamped) {
    return std::nullopt;
  }
  float values[] = {clamped->first, clamped->second};
  table().round[int(type_of(dtype))](values, values, 2);
  return Clamp{values[0], values[1]};
}

class Native : public mx::Primitive {
 public:
  Native(mx::Stream s, std::vector<Packing> of, std::optional<Clamped> clamped = std::nullopt)
      : Primitive(s), packings_(std::move(of)), clamped_(clamped) {}

  void eval_gpu(const std::vector<mx::array>&, std::vector<mx::array>&) override {
    throw std::runtime_error(std::string("[") + name() + "] has no GPU kernel");
  }

  bool is_equivalent(const Primitive& other) const override {
    auto* o = dynamic_cast<const Native*>(&other);
    return o != nullptr && std::string(name()) == o->name() && packings_ == o->packings_ &&
           clamped_ == o->clamped_;
  }

  void eval_cpu(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    auto& encoder = mx::cpu::get_command_encoder(stream());
    std::vector<mx::array> in;
    std::vector<mx::array> out;
    for (auto& a : inputs) {
      encoder.set_input_array(a);
      in.push_back(mx::array::unsafe_weak_copy(a));
    }
    for (auto& a : outputs) {
      a.set_data(mx::allocator::malloc(a.nbytes()));
      encoder.set_output_array(a);
      out.push_back(mx::array::unsafe_weak_copy(a));
    }
    if (outputs[0].size() != 0) {
      encoder.dispatch(task(std::move(in), std::move(out)));
    }
  }

 protected:
  using Arrays = std::vector<mx::array>;
  virtual std::function<void()> task(Arrays in, Arrays out) = 0;

  std::vector<Packing> packings_;  // of the weights among the inputs, in their order
  std::optional<Clamped> clamped_;
};

class GatherQmmSwiglu : public Native {
 public:
  using Native::Native;
  DEFINE_NAME(ZmlxGatherQmmSwiglu)

  std::vector<mx::Shape> output_shapes(const std::vector<mx::array>& inputs) override {
    mx::Shape shape = inputs[7].shape();
    shape.push_back(inputs[1].shape(-2));
    return {shape};
  }

 protected:
  std::function<void()> task(Arrays in, Arrays out) override {
    return [in = std::move(in), out = std::move(out), p = packings_, clamped = clamped_]() mutable {
      const int64_t k = in[0].shape(-1);
      const mx::Dtype dtype = in[0].dtype();
      Experts gate = experts_at(in, 1, k, p[0], dtype), up = experts_at(in, 4, k, p[1], dtype);
      gate.rows_bias = bias_at(in, 8);
      up.rows_bias = bias_at(in, 9);
      const auto clamp = clamp_in(clamped, dtype);
      auto indices = read_indices(in[7]);
      require_in_range("gather_qmm_swiglu", indices.data(), int64_t(indices.size()), gate.experts);
      const int top_k = in[7].shape(-1);
      const int64_t tokens = int64_t(indices.size()) / top_k;
      for (int64_t t = 0; t < tokens; t += token_block) {
        int64_t n = std::min(token_block, tokens - t);
        auto x = read(in[0], t * k, n * k);
        auto h = floats(n * top_k * gate.n);
        experts_swiglu(gate, up, clamp ? &*clamp : nullptr, x.get(), indices.data() + t * top_k, n, top_k, h.get());
        write(h.get(), out[0], t * top_k * gate.n, n * top_k * gate.n);
      }
    };
  }
};

class GatherQmmDownCombine : public Native {
 public:
  using Native::Native;
  DEFINE_NAME(ZmlxGatherQmmDownCombine)

  std::vector<mx::Shape> output_shapes(const std::vector<mx::array>& inputs) override {
    return {with_last(inputs[4].shape(), inputs[1].shape(-2))};
  }

 protected:
  std::function<void()> task(Arrays in, Arrays out) override {
    return [in = std::move(in), out = std::move(out), p = packings_]() mutable {
      const int64_t k = in[0].shape(-1);
      Experts down = experts_at(in, 1, k, p[0], in[0].dtype());
      down.rows_bias = bias_at(in, 6);
      auto indices = read_indices(in[4]);
      require_in_range("gather_qmm_down_combine", indices.data(), int64_t(indices.size()), down.experts);
      const int top_k = in[4].shape(-1);
      const int64_t tokens = int64_t(indices.size()) / top_k;
      auto scores = read(in[5], 0, tokens * top_k);
      const bool product_f32 = in[5].dtype() == mx::float32;
      for (int64_t t = 0; t < tokens; t += token_block) {
        int64_t n = std::min(token_block, tokens - t);
        auto h = read(in[0], t * top_k * k, n * top_k * k);
        auto sums = floats(n * down.n);
        experts_down_combine(down, h.get(), indices.data() + t * top_k, scores.get() + t * top_k, product_f32, n, top_k,
                             sums.get());
        write(sums.get(), out[0], t * down.n, n * down.n);
      }
    };
  }
};

class Moe : public Native {
 public:
  using Native::Native;
  DEFINE_NAME(ZmlxMoe)

  std::vector<mx::Shape> output_shapes(const std::vector<mx::array>& inputs) override {
    return {with_last(inputs[0].shape(), inputs[7].shape(-2))};
  }

 protected:
  std::function<void()> task(Arrays in, Arrays out) override {
    return [in = std::move(in), out = std::move(out), p = packings_, clamped = clamped_]() mutable {
      const int64_t k = in[0].shape(-1);
      const mx::Dtype dtype = in[0].dtype();
      Experts gate = experts_at(in, 1, k, p[0], dtype), up = experts_at(in, 4, k, p[1], dtype);
      Experts down = experts_at(in, 7, gate.n, p[2], out[0].dtype());
      gate.rows_bias = bias_at(in, 12);
      up.rows_bias = bias_at(in, 13);
      down.rows_bias = bias_at(in, 14);
      const auto clamp = clamp_in(clamped, dtype);
      auto indices = read_indices(in[10]);
      require_in_range("moe_gather_qmm_swiglu_downproj_combine", indices.data(), int64_t(indices.size()), gate.experts);
      const int top_k = in[10].shape(-1);
      const int64_t tokens = int64_t(indices.size()) / top_k;
      auto scores = read(in[11], 0, tokens * top_k);
      const bool product_f32 = in[11].dtype() == mx::float32;
      for (int64_t t = 0; t < tokens; t += token_block) {
        int64_t n = std::min(token_block, tokens - t);
        const uint32_t* idx = indices.data() + t * top_k;
        auto x = read(in[0], t * k, n * k);
        auto h = floats(n * top_k * gate.n);
        auto sums = floats(n * down.n);
        experts_swiglu(gate, up, clamp ? &*clamp : nullptr, x.get(), idx, n, top_k, h.get());
        experts_down_combine(down, h.get(), idx, scores.get() + t * top_k, product_f32, n, top_k, sums.get());
        write(sums.get(), out[0], t * down.n, n * down.n);
      }
    };
  }
};

class QuantizedMatvec : public Native {
 public:
  using Native::Native;
  DEFINE_NAME(ZmlxQuantizedMatvec)

  std::vector<mx::Shape> output_shapes(const std::vector<mx::array>& inputs) override {
    return {with_last(inputs[0].shape(), inputs[1].shape(-2))};
  }

 protected:
  std::function<void()> task(Arrays in, Arrays out) override {
    return [in = std::move(in), out = std::move(out), p = packings_]() mutable {
      const int64_t k = in[0].shape(-1);
      Experts weight = experts_at(in, 1, k, p[0], in[0].dtype());
      // With one matrix a head, x is (B, H, L, K): the head changes every L rows.
      const int64_t rows = int64_t(in[0].size()) / k;
      const int64_t run = weight.experts == 1 ? rows : in[0].shape(-2);
      std::vector<uint32_t> indices(static_cast<std::size_t>(rows));
      for (int64_t r = 0; r < rows; r++) {
        indices[std::size_t(r)] = uint32_t((r / run) % weight.experts);
      }
      for (int64_t r = 0; r < rows; r += token_block) {
        int64_t n = std::min(token_block, rows - r);
        auto x = read(in[0], r * k, n * k);
        auto y = floats(n * weight.n);
        matmul(weight, indices.data() + r, x.get(), n, y.get());
        write(y.get(), out[0], r * weight.n, n * weight.n);
      }
    };
  }
};

class MoeRouter : public Native {
 public:
  MoeRouter(mx::Stream s, int top_k, bool normalize, float scale)
      : Native(s, std::vector<Packing>{}), top_k_(top_k), normalize_(normalize), scale_(scale) {}
  DEFINE_NAME(ZmlxMoeRouter)

  bool is_equivalent(const Primitive& other) const override {
    auto* o = dynamic_cast<const MoeRouter*>(&other);
    return o != nullptr && top_k_ == o->top_k_ && normalize_ == o->normalize_ && scale_ == o->scale_;
  }

  std::vector<mx::Shape> output_shapes(const std::vector<mx::array>& inputs) override {
    mx::Shape shape = with_last(inputs[0].shape(), top_k_);
    return {shape, shape};
  }

 protected:
  std::function<void()> task(Arrays in, Arrays out) override {
    return
        [in = std::move(in), out = std::move(out), top_k = top_k_, normalize = normalize_, scale = scale_]() mutable {
          const int experts = in[0].shape(-1);
          const int64_t rows = int64_t(in[0].size()) / experts;
          auto gates = read(in[0], 0, rows * experts);
          auto correction = in.size() > 1 ? read(in[1], 0, experts) : nullptr;
          auto scores = floats(rows * top_k);
          auto* indices = out[0].data<uint32_t>();
          for (int64_t r = 0; r < rows; r++) {
            const float* row = gates.get() + r * experts;
            if (correction) {
              route_sigmoid(row, correction.get(), experts, top_k, normalize, scale, indices + r * top_k,
                            scores.get() + r * top_k);
            } else {
              route_softmax(row, experts, top_k, normalize, type_of(in[0].dtype()), indices + r * top_k,
                            scores.get() + r * top_k);
            }
          }
          write(scores.get(), out[1], 0, rows * top_k);
        };
  }

 private:
  int top_k_;
  bool normalize_;
  float scale_;
};

}  // namespace

Node gather_qmm_swiglu_node(mx::Stream s, Packing gate, Packing up, const std::optional<Clamped>& clamped) {
  return std::make_shared<GatherQmmSwiglu>(s, std::vector{gate, up}, clamped);
}

Node gather_qmm_down_combine_node(mx::Stream s, Packing down) {
  return std::make_shared<GatherQmmDownCombine>(s, std::vector{down});
}

Node moe_node(mx::Stream s, Packing gate, Packing up, Packing down, const std::optional<Clamped>& clamped) {
  return std::make_shared<Moe>(s, std::vector{gate, up, down}, clamped);
}

Node quantized_matvec_node(mx::Stream s, Packing weight) {
  return std::make_shared<QuantizedMatvec>(s, std::vector{weight});
}

Node moe_router_node(mx::Stream s, int top_k, bool normalize, float scale) {
  return std::make_shared<MoeRouter>(s, top_k, normalize, scale);
}

}  // namespace zmlx
