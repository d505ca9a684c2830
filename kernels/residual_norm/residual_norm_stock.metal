// h = x + r rounded to T and its RMS norm, as MLX adds and norms: a threadgroup a token, a thread READS neighbours of
// each of CHUNKS chunks, its squares by fma in their order, then its simdgroup's, then all. The normed value is
// rounded to T before the weight and after it.
const uint lane = thread_index_in_simdgroup;
const uint row = threadgroup_position_in_grid.y * D;
const uint own = thread_position_in_threadgroup.x;
threadgroup float sums[32];
float values[CHUNKS * READS];
Pack<T, READS> weights[CHUNKS];
float total = 0.0f;
for (int c = 0; c < CHUNKS; ++c) {
  const uint first = (c * THREADS + own) * READS;
  Pack<T, READS> sum;
  if (first < D) {
    const Pack<T, READS> left = load_pack<T, READS>(x + row + first);
    const Pack<T, READS> right = load_pack<T, READS>(r + row + first);
    weights[c] = load_pack<T, READS>(weight + first);
    for (int i = 0; i < READS; ++i) {
      sum.at[i] = T(add_rn(float(left.at[i]), float(right.at[i])));
    }
    store_pack<T, READS>(h + row + first, sum);
  }
  for (int i = 0; i < READS; ++i) {
    const float value = first < D ? float(sum.at[i]) : 0.0f;
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
  const uint first = (c * THREADS + own) * READS;
  if (first < D) {
    Pack<T, READS> out;
    for (int i = 0; i < READS; ++i) {
      out.at[i] = T(mul_rn(float(weights[c].at[i]), float(T(mul_rn(values[c * READS + i], scale)))));
    }
    store_pack<T, READS>(normed + row + first, out);
  }
}
