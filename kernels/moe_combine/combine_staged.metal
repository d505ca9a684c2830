// The sum of combine.metal in float32, uncontracted, with a token's scores read once a threadgroup.
const uint d = thread_position_in_grid.x;
const uint t = thread_position_in_grid.y;
const uint lane = thread_position_in_threadgroup.x;
threadgroup float weights[K];
if (lane < K) {
  weights[lane] = float(scores[t * K + lane]);
}
threadgroup_barrier(mem_flags::mem_threadgroup);
if (d < D) {
  float total = 0.0f;
  for (int e = 0; e < K; ++e) {
    total = add_rn(total, mul_rn(float(y[(t * K + e) * D + d]), weights[e]));
  }
  out[t * D + d] = T(total);
}
