// The sigmoid router after its gate, one simdgroup a token, in float32: the K largest of sigmoid + correction in
// descending order (of equals the lower index first), then the sigmoids alone, over their sum, times the scale.
// STRIDE: gates of a token, 0 where there is only this token's.
const uint lane = thread_index_in_simdgroup;
const uint t = threadgroup_position_in_grid.y;
float sigmoids[READS];
uint keys[READS];
for (int i = 0; i < READS; ++i) {
  const uint expert = lane * READS + i;
  sigmoids[i] = 0.0f;
  keys[i] = 0;
  if (expert < E) {
    const float x = float(gates[t * STRIDE + expert]);
    const float y = div_rn(1.0f, add_rn(1.0f, exp_precise(x < 0.0f ? -x : x)));
    sigmoids[i] = x < 0.0f ? y : add_rn(1.0f, -y);
    keys[i] = sortable(add_rn(sigmoids[i], float(correction[expert])));
  }
}
uint chosen[K];
float weights[K];
float sum = 0.0f;
for (int r = 0; r < K; ++r) {
  const Pick picked = pick<READS, false>(keys, lane);
  float own = 0.0f;
  for (int i = 0; i < READS; ++i) {
    if (lane * READS + i == picked.expert) {
      own = sigmoids[i];
    }
  }
  chosen[r] = picked.expert;
  weights[r] = simd_max(own);
  sum = add_rn(sum, weights[r]);
}
const float denominator = add_rn(sum, 1e-20f);
if (lane == 0) {
  for (int r = 0; r < K; ++r) {
    inds[t * K + r] = chosen[r];
    scores[t * K + r] = mul_rn(NORMALIZE ? div_rn(weights[r], denominator) : weights[r], scale[0]);
  }
}
