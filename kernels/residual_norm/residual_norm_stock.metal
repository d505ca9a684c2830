// h = x + r rounded to T and its RMS norm, as MLX adds and norms: a threadgroup a token, a thread READS neighbours of
// each of CHUNKS chunks, its squares by fma in their order, then its simdgroup's, then all. The normed value is
// rounded to T before the weight and after it.
const uint lane = thread_index_in_simdgroup;
const uint row = threadgroup_position_in_grid.y * D;
const uint own = thread_position_in_threadgroup.x;
threadgroup float sums[32];
float values[CHUNKS * READS];
float total = 0.0f;
for (int c = 0; c < CHUNKS; ++c) {
  for (int i = 0; i < READS; ++i) {
    const uint at = (c * THREADS + own) * READS + i;
    float value = 0.0f;
    if (at < D) {
      const T sum = T(add_rn(float(x[row + at]), float(r[row + at])));
      h[row + at] = sum;
      value = float(sum);
    }
    values[c * READS + i] = value;
    total = fused(value, value, total);
  }
}
total = simd_sum(total);
if (lane == 0) {
  sums[simdgroup_index_in_threadgroup] = total;
}
threadgroup_barrier(mem_flags::mem_threadgroup);
total = simd_sum(lane < THREADS / 32 ? sums[lane] : 0.0f);
const float scale = rsqrt_precise(add_rn(div_rn(total, float(D)), float_of(uint(EPS))));
for (int c = 0; c < CHUNKS; ++c) {
  for (int i = 0; i < READS; ++i) {
    const uint at = (c * THREADS + own) * READS + i;
    if (at < D) {
      normed[row + at] = T(mul_rn(float(weight[at]), float(T(mul_rn(values[c * READS + i], scale)))));
    }
  }
}
