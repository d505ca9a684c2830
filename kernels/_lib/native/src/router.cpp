#include "router.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "argpartition.h"
#include "dispatch.h"

namespace zmlx {

void argpartition(const float* values, int n, int kth, std::vector<uint32_t>& order) {
  order.resize(std::size_t(n));
  std::iota(order.begin(), order.end(), 0u);
  std::nth_element(order.begin(), order.begin() + kth, order.end(), [values](uint32_t a, uint32_t b) {
    float x = values[a];
    float y = values[b];
    if (std::isnan(x)) {
      return false;
    }
    if (std::isnan(y)) {
      return true;
    }
    return x < y || (x == y && a < b);
  });
}

namespace {

float rounded(Type type, float x) {
  table().round[int(type)](&x, &x, 1);
  return x;
}

void exp_of(std::vector<float>& values) {
  table().exp(values.data(), values.data(), int64_t(values.size()));
}

}  // namespace

void route_softmax(const float* logits, int experts, int top_k, bool normalize, Type type, uint32_t* indices,
                   float* scores) {
  float highest = -std::numeric_limits<float>::infinity();
  for (int i = 0; i < experts; i++) {
    // A NaN takes over here and then fails every comparison.
    highest = std::isnan(logits[i]) || logits[i] > highest ? logits[i] : highest;
  }
  std::vector<float> p(logits, logits + experts);
  for (float& v : p) {
    v -= highest;
  }
  exp_of(p);
  float sum = 0;
  for (float v : p) {
    sum += v;
  }
  float factor = 1 / sum;
  for (float& v : p) {
    v *= factor;
  }
  table().round[int(type)](p.data(), p.data(), experts);

  std::vector<uint32_t> order;
  argpartition(p.data(), experts, experts - top_k, order);
  float total = 0;
  for (int i = 0; i < top_k; i++) {
    indices[i] = order[std::size_t(experts - top_k + i)];
    scores[i] = p[indices[i]];
    total += scores[i];
  }
  if (normalize) {
    total = rounded(type, total);
    for (int i = 0; i < top_k; i++) {
      scores[i] = rounded(type, scores[i] / total);
    }
  }
}

void route_sigmoid(const float* logits, const float* correction, int experts, int top_k, bool normalize, float scale,
                   uint32_t* indices, float* scores) {
  std::vector<float> s(logits, logits + experts);
  for (float& v : s) {
    v = std::abs(v);
  }
  exp_of(s);
  std::vector<float> key(s.size());
  for (int i = 0; i < experts; i++) {
    float y = 1.0f / (1.0f + s[i]);
    s[i] = logits[i] < 0 ? y : 1.0f - y;
    key[i] = -(s[i] + correction[i]);
  }

  std::vector<uint32_t> order;
  argpartition(key.data(), experts, top_k - 1, order);
  float total = 0;
  for (int i = 0; i < top_k; i++) {
    indices[i] = order[std::size_t(i)];
    scores[i] = s[indices[i]];
    total += scores[i];
  }
  for (int i = 0; i < top_k; i++) {
    float share = normalize && top_k > 1 ? scores[i] / (total + 1e-20f) : scores[i];
    scores[i] = share * scale;
  }
}

}  // namespace zmlx
