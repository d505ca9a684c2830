#include "moe.h"

#include <algorithm>
#include <memory>
#include <numeric>
#include <vector>

#include "dispatch.h"
#include "pool.h"

namespace zmlx {

namespace {

constexpr int64_t chunk_rows = 64;            // rows of one task
constexpr int64_t serial_elements = 1 << 14;  // below this much work a loop is not worth waking a thread

int64_t element_size(Type t) {
  return t == Type::f32 ? 4 : 2;
}

std::unique_ptr<float[]> floats(int64_t n) {
  return std::make_unique_for_overwrite<float[]>(std::size_t(n));
}

float* scratch(int64_t k, int group) {
  static thread_local std::vector<float> buffer;
  std::size_t need = std::size_t(2 * (k / group) * max_rows);
  if (buffer.size() < need) {
    buffer.resize(need);
  }
  return buffer.data();
}

// Up to max_tokens assignments (token, slot) of one expert.
struct Batch {
  uint32_t expert;
  int count;
  int64_t at[max_tokens];
};

std::vector<Batch> batches_by_expert(const uint32_t* indices, int64_t n) {
  std::vector<int64_t> order(std::size_t(n), 0);
  std::iota(order.begin(), order.end(), int64_t(0));
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return indices[a] < indices[b]; });
  std::vector<Batch> batches;
  for (int64_t i : order) {
    if (batches.empty() || batches.back().expert != indices[i] || batches.back().count == max_tokens) {
      batches.push_back({indices[i], 0, {}});
    }
    Batch& b = batches.back();
    b.at[b.count++] = i;
  }
  return batches;
}

template <class F>
void for_chunks(int64_t items, int64_t rows, int64_t elements, F f) {
  int64_t chunks = (rows + chunk_rows - 1) / chunk_rows;
  auto one = [&](int i) {
    int64_t first = (i % chunks) * chunk_rows;
    f(i / chunks, first, std::min(rows, first + chunk_rows));
  };
  if (elements < serial_elements) {
    for (int i = 0; i < int(items * chunks); i++) {
      one(i);
    }
  } else {
    Pool::get().run(int(items * chunks), one);
  }
}

MatvecFn matvec_of(const Experts& e) {
  return table().matvec[int(e.type)][int(e.format)];
}

// y[a] = expert(a) @ x[a] for every assignment a.
void batched_matvec(const Experts& e, const std::vector<Batch>& batches, const float* x, float* y) {
  MatvecFn matvec = matvec_of(e);
  for_chunks(int64_t(batches.size()), e.n, int64_t(batches.size()) * e.n * e.k,
             [&](int64_t i, int64_t first, int64_t last) {
               const Batch& b = batches[std::size_t(i)];
               const float* in[max_tokens];
               float* out[max_tokens];
               for (int t = 0; t < b.count; t++) {
                 in[t] = x + b.at[t] * e.k;
                 out[t] = y + b.at[t] * e.n + first;
               }
               matvec(e.matrix(b.expert), in, b.count, first, last, out, scratch(e.k, e.group));
               for (int t = 0; t < b.count; t++) {
                 e.add_bias(b.expert, first, last, out[t]);
               }
             });
}

}  // namespace

Matrix Experts::matrix(uint32_t expert) const {
  int64_t row = k * bits_of(format) / 8;
  int64_t groups = n * (k / group) * (is_affine(format) ? element_size(type) : 1);
  return {w + expert * n * row, scales + expert * groups, biases + expert * groups, n, k, group};
}

void Experts::add_bias(uint32_t expert, int64_t first, int64_t last, float* y) const {
  if (rows_bias != nullptr) {
    float bias[chunk_rows];
    table().load[int(type)](rows_bias + (expert * n + first) * element_size(type), bias, last - first);
    table().add[int(type)](y, bias, last - first);
  }
}

void experts_swiglu(const Experts& gate, const Experts& up, const Clamp* clamp, const float* x, const uint32_t* indices,
                    int64_t tokens, int top_k, float* h) {
  auto batches = batches_by_expert(indices, tokens * top_k);
  MatvecFn gate_fn = matvec_of(gate);
  MatvecFn up_fn = matvec_of(up);
  SwigluFn swiglu = table().swiglu[int(gate.type)];
  int64_t elements = 2 * int64_t(batches.size()) * gate.n * gate.k;
  for_chunks(int64_t(batches.size()), gate.n, elements, [&](int64_t i, int64_t first, int64_t last) {
    const Batch& b = batches[std::size_t(i)];
    float gates[max_tokens][chunk_rows];
    float ups[max_tokens][chunk_rows];
    const float* in[max_tokens];
    float* gate_out[max_tokens];
    float* up_out[max_tokens];
    for (int t = 0; t < b.count; t++) {
      in[t] = x + (b.at[t] / top_k) * gate.k;
      gate_out[t] = gates[t];
      up_out[t] = ups[t];
    }
    gate_fn(gate.matrix(b.expert), in, b.count, first, last, gate_out, scratch(gate.k, gate.group));
    up_fn(up.matrix(b.expert), in, b.count, first, last, up_out, scratch(up.k, up.group));
    for (int t = 0; t < b.count; t++) {
      gate.add_bias(b.expert, first, last, gates[t]);
      up.add_bias(b.expert, first, last, ups[t]);
      swiglu(gates[t], ups[t], clamp, h + b.at[t] * gate.n + first, last - first);
    }
  });
}

void experts_down_combine(const Experts& down, const float* h, const uint32_t* indices, const float* scores,
                          bool product_f32, int64_t tokens, int top_k, float* out) {
  CombineFn combine = table().combine[int(down.type)];
  auto y = floats(tokens * top_k * down.n);
  batched_matvec(down, batches_by_expert(indices, tokens * top_k), h, y.get());
  for_chunks(tokens, down.n, tokens * top_k * down.n, [&](int64_t t, int64_t first, int64_t last) {
    combine(y.get() + t * top_k * down.n + first, down.n, scores + t * top_k, top_k, product_f32,
            out + t * down.n + first, last - first);
  });
}

void matmul(const Experts& weights, const uint32_t* indices, const float* x, int64_t rows, float* y) {
  batched_matvec(weights, batches_by_expert(indices, rows), x, y);
}

}  // namespace zmlx
