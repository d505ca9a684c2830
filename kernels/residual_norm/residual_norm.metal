// h = x + r rounded to T, and its RMS norm in float32 rounded once to T; a threadgroup a token, 4 neighbouring
// elements a thread. Squares are added as MLX's Metal norm groups them: a thread's own, its simdgroup's, all.
const uint lane = thread_index_in_simdgroup;
const uint t = threadgroup_position_in_grid.y;
const uint first = thread_position_in_threadgroup.x * READS;
threadgroup float sums[32];
float values[READS];
float own = 0.0f;
for (int i = 0; i < READS; ++i) {
  values[i] = 0.0f;
  if (first + i < D) {
    const uint at = t * D + first + i;
    const T sum = T(add_rn(float(x[at]), float(r[at])));
    h[at] = sum;
    values[i] = float(sum);
  }
  own = add_rn(own, mul_rn(values[i], values[i]));
}
own = simd_sum(own);
if (lane == 0) {
  sums[simdgroup_index_in_threadgroup] = own;
}
threadgroup_barrier(mem_flags::mem_threadgroup);
const float total = simd_sum(lane < GROUPS ? sums[lane] : 0.0f);
const float scale = rsqrt_precise(add_rn(div_rn(total, float(D)), eps[0]));
for (int i = 0; i < READS; ++i) {
  if (first + i < D) {
    normed[t * D + first + i] = T(mul_rn(float(weight[first + i]), mul_rn(values[i], scale)));
  }
}
