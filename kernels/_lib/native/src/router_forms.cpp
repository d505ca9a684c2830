#include "router_forms.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "argpartition.h"
#include "dispatch.h"

namespace zmlx {

namespace {

float rounded(Type type, float x) {
  table().round[int(type)](&x, &x, 1);
  return x;
}

float exp_of(float x) {
  table().exp(&x, &x, 1);
  return x;
}

void softmax_in(Type type, float* values, int n) {
  float highest = -std::numeric_limits<float>::infinity();
  for (int i = 0; i < n; i++) {
    // A NaN takes over here and then fails every comparison.
    highest = std::isnan(values[i]) || values[i] > highest ? values[i] : highest;
  }
  float sum = 0;
  for (int i = 0; i < n; i++) {
    values[i] = rounded(type, exp_of(rounded(type, values[i] - highest)));
    sum = rounded(type, sum + values[i]);
  }
  float factor = rounded(type, 1 / sum);
  for (int i = 0; i < n; i++) {
    values[i] = rounded(type, values[i] * factor);
  }
}

// 1 / (1 + exp|x|) or its complement, with exp rounded to `type` and the rest in float32.
float sigmoid(Type type, float x) {
  float y = 1.0f / (1.0f + rounded(type, exp_of(std::abs(x))));
  return rounded(type, x < 0 ? y : 1.0f - y);
}

void top_k_softmax(const RouterSettings& how, const float* logits, const float* extra, int experts, Type type,
                   uint32_t* indices, float* scores) {
  std::vector<uint32_t> order;
  argpartition(logits, experts, experts - how.top_k, order);
  for (int i = 0; i < how.top_k; i++) {
    indices[i] = order[std::size_t(experts - how.top_k + i)];
    scores[i] = logits[indices[i]];
  }
  softmax_in(how.precise ? Type::f32 : type, scores, how.top_k);
  for (int i = 0; i < how.top_k; i++) {
    scores[i] = rounded(type, scores[i]);
    if (extra != nullptr) {
      scores[i] = rounded(type, scores[i] * extra[indices[i]]);
    }
  }
}

// Sets the corrected scores of all but the `kept` best groups to zero.
void leave_groups(const RouterSettings& how, std::vector<float>& corrected) {
  const int size = int(corrected.size()) / how.groups;
  const int out = how.groups - how.kept;
  if (how.groups == 1 || out == 0) {
    return;
  }
  std::vector<float> best(std::size_t(how.groups));
  std::vector<uint32_t> order;
  for (int g = 0; g < how.groups; g++) {
    const float* own = corrected.data() + std::ptrdiff_t(g) * size;
    argpartition(own, size, size - 2, order);
    best[std::size_t(g)] = own[order[std::size_t(size - 2)]] + own[order[std::size_t(size - 1)]];
  }
  argpartition(best.data(), how.groups, out - 1, order);
  for (int i = 0; i < out; i++) {
    std::fill_n(corrected.begin() + std::ptrdiff_t(order[std::size_t(i)]) * size, size, 0.0f);
  }
}

void sigmoid_groups(const RouterSettings& how, const float* logits, const float* extra, int experts,
                    uint32_t* indices, float* scores) {
  std::vector<float> own(static_cast<std::size_t>(experts)), key(own.size());
  for (int i = 0; i < experts; i++) {
    own[std::size_t(i)] = sigmoid(Type::f32, logits[i]);
    key[std::size_t(i)] = own[std::size_t(i)] + extra[i];
  }
  leave_groups(how, key);
  for (float& v : key) {
    v = -v;
  }
  std::vector<uint32_t> order;
  argpartition(key.data(), experts, how.top_k - 1, order);
  float total = 0;
  for (int i = 0; i < how.top_k; i++) {
    indices[i] = order[std::size_t(i)];
    scores[i] = own[indices[i]];
    total += scores[i];
  }
  for (int i = 0; i < how.top_k; i++) {
    scores[i] = (how.normalize && how.top_k > 1 ? scores[i] / total : scores[i]) * how.scale;
  }
}

void sigmoid_own(const RouterSettings& how, const float* logits, const float* extra, int experts, Type type,
                 uint32_t* indices, float* scores) {
  std::vector<float> own(static_cast<std::size_t>(experts)), key(own.size());
  for (int i = 0; i < experts; i++) {
    own[std::size_t(i)] = sigmoid(type, logits[i]);
    key[std::size_t(i)] = extra == nullptr ? own[std::size_t(i)] : own[std::size_t(i)] + extra[i];
  }
  std::vector<uint32_t> order;
  argpartition(key.data(), experts, experts - how.top_k, order);
  float total = 0;
  for (int i = 0; i < how.top_k; i++) {
    indices[i] = order[std::size_t(experts - how.top_k + i)];
    scores[i] = own[indices[i]];
    total += scores[i];
  }
  total = rounded(type, rounded(type, total) + rounded(type, 1e-6f));
  const float scale = rounded(type, how.scale);
  for (int i = 0; i < how.top_k; i++) {
    float share = how.normalize ? rounded(type, scores[i] / total) : scores[i];
    scores[i] = rounded(type, share * scale);
  }
}

}  // namespace

void route(const RouterSettings& how, const float* logits, const float* extra, int experts, Type type,
           uint32_t* indices, float* scores) {
  switch (how.form) {
    case RouterForm::top_k_softmax:
      return top_k_softmax(how, logits, extra, experts, type, indices, scores);
    case RouterForm::sigmoid_groups:
      return sigmoid_groups(how, logits, extra, experts, indices, scores);
    case RouterForm::sigmoid_own:
      return sigmoid_own(how, logits, extra, experts, type, indices, scores);
  }
}

}  // namespace zmlx
