// Top-k routing of one row of gate values in the forms that are no plain softmax or sigmoid; plain pointers, no mlx.
#pragma once

#include <cstdint>

#include "kernels.h"

namespace zmlx {

enum class RouterForm : int {
  // The `top_k` largest logits, and a softmax over them alone: in float32 and rounded once where `precise`, else every
  // step in `type`. Times `extra` of each expert, where there is one.
  top_k_softmax = 0,
  // Sigmoid in float32, selected by sigmoid + extra among the `kept` best of `groups` groups of experts, a group by the
  // sum of its two best; divided by their sum where `normalize`, times `scale`. Scores are float32.
  sigmoid_groups = 1,
  // Sigmoid rounded to `type`, selected in float32 by sigmoid + extra; divided by their sum + 1e-6 where `normalize`,
  // times `scale`: each step rounded to `type`.
  sigmoid_own = 2,
};

struct RouterSettings {
  RouterForm form;
  int top_k;
  bool normalize = true;
  bool precise = true;
  float scale = 1.0f;
  int groups = 1;
  int kept = 1;
  bool operator==(const RouterSettings&) const = default;
};

// `extra` (experts) may be null but for sigmoid_groups. Orders as mlx's argpartition does.
void route(const RouterSettings& how, const float* logits, const float* extra, int experts, Type type,
           uint32_t* indices, float* scores);

}  // namespace zmlx
