// The softmax router on logits, one simdgroup a token: the K largest logits in ascending order (of equals the higher
// index is the larger), and a softmax over them alone in float32, rounded once to T.
const uint lane = thread_index_in_simdgroup;
const uint t = threadgroup_position_in_grid.y;
uint keys[READS];
for (int i = 0; i < READS; ++i) {
  const uint expert = lane * READS + i;
  keys[i] = expert < E ? sortable(float(gates[t * E + expert])) : 0;
}
uint chosen[K];
float weights[K];
for (int r = K - 1; r >= 0; --r) {
  const Pick picked = pick<READS, true>(keys, lane);
  chosen[r] = picked.expert;
  weights[r] = sorted_float(picked.key);
}
const float top = weights[K - 1];
float sum = 0.0f;
for (int r = 0; r < K; ++r) {
  weights[r] = exp_fast(weights[r] - top);
  sum = add_rn(sum, weights[r]);
}
if (lane == 0) {
  for (int r = 0; r < K; ++r) {
    inds[t * K + r] = chosen[r];
    scores[t * K + r] = T(div_rn(weights[r], sum));
  }
}
