// The softmax router after its gate, one simdgroup a token: softmax over all experts in float32 rounded once to T,
// the K most probable in ascending order (of equals the higher index is the larger), their sum and quotients in T.
// STRIDE: gates of a token, 0 where there is only this token's.
// ONLINE: the softmax as MLX's CUDA backend sums it, each lane about its own maximum; else as its Metal backend.
const uint lane = thread_index_in_simdgroup;
const uint t = threadgroup_position_in_grid.y;
const float lowest = float_of(0xff7fffffu);
float values[READS];
float own_top = lowest;
for (int i = 0; i < READS; ++i) {
  const uint expert = lane * READS + i;
  values[i] = expert < E ? float(gates[t * STRIDE + expert]) : float_of(0xff800000u);
  own_top = own_top < values[i] ? values[i] : own_top;
}
const float top = simd_max(own_top);
float total = 0.0f;
for (int i = 0; i < READS; ++i) {
  total = add_rn(total, exp_fast(values[i] - (ONLINE ? own_top : top)));
}
if (ONLINE) {
  total = mul_rn(total, exp_fast(own_top - top));
}
const float scale = div_rn(1.0f, simd_sum(total));
uint keys[READS];
for (int i = 0; i < READS; ++i) {
  const float probability = float(T(mul_rn(exp_fast(values[i] - top), scale)));
  keys[i] = lane * READS + i < E ? sortable(probability) : 0;
}
uint chosen[K];
float weights[K];
for (int r = K - 1; r >= 0; --r) {
  const Pick picked = pick<READS, true>(keys, lane);
  chosen[r] = picked.expert;
  weights[r] = sorted_float(picked.key);
}
float sum = 0.0f;
for (int r = 0; r < K; ++r) {
  sum = float(T(add_rn(sum, weights[r])));
}
if (lane == 0) {
  for (int r = 0; r < K; ++r) {
    inds[t * K + r] = chosen[r];
    scores[t * K + r] = T(NORMALIZE ? div_rn(weights[r], sum) : weights[r]);
  }
}
