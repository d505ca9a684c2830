// The row sums by_latent + by_place, each rounded to T, and their softmax as MLX's own does it on Metal for rows that
// a threadgroup reads once: READS neighbours a thread, the maximum first, then the sum of the exponentials.
const uint lane = thread_index_in_simdgroup;
const uint group = simdgroup_index_in_threadgroup;
const uint size = by_latent_shape[3];
const uint row = threadgroup_position_in_grid.y * size;
const uint own = thread_position_in_threadgroup.x * READS;
const float nothing = float_of(0xff800000u);
threadgroup float maxima[32];
threadgroup float sums[32];
float greatest = float_of(0xff7fffffu);
float values[READS];
for (int i = 0; i < READS; ++i) {
  const uint at = row + own + i;
  values[i] = own + i < size ? float(T(add_rn(float(by_latent[at]), float(by_place[at])))) : nothing;
  greatest = greatest < values[i] ? values[i] : greatest;
}
greatest = simd_max(greatest);
if (lane == 0) {
  maxima[group] = greatest;
}
threadgroup_barrier(mem_flags::mem_threadgroup);
greatest = simd_max(lane < THREADS / 32 ? maxima[lane] : nothing);
float total = 0.0f;
for (int i = 0; i < READS; ++i) {
  values[i] = exp_fast(add_rn(values[i], -greatest));
  total = add_rn(total, values[i]);
}
total = simd_sum(total);
if (lane == 0) {
  sums[group] = total;
}
threadgroup_barrier(mem_flags::mem_threadgroup);
const float factor = div_rn(1.0f, simd_sum(lane < THREADS / 32 ? sums[lane] : 0.0f));
for (int i = 0; i < READS; ++i) {
  if (own + i < size) {
    weights[row + own + i] = T(mul_rn(values[i], factor));
  }
}
