// The row sums by_latent + by_place, each rounded to T, and their softmax as MLX's own does it on CUDA: READS
// neighbours a thread with a running maximum, its simdgroup's butterfly, then the simdgroups'.
const uint lane = thread_index_in_simdgroup;
const uint group = simdgroup_index_in_threadgroup;
const uint size = by_latent_shape[3];
const uint row = threadgroup_position_in_grid.y * size;
const uint own = thread_position_in_threadgroup.x * READS;
const float nothing = float_of(0xff800000u);
threadgroup float maxima[32];
threadgroup float sums[32];
float greatest = float_of(0xff7fffffu);
float total = 0.0f;
float values[READS];
for (uint first = own; first < size; first += THREADS * READS) {
  const float before = greatest;
  for (int i = 0; i < READS; ++i) {
    const uint at = row + first + i;
    values[i] = first + i < size ? float(T(add_rn(float(by_latent[at]), float(by_place[at])))) : nothing;
    greatest = greatest < values[i] ? values[i] : greatest;
  }
  total = fused(exp_fast(add_rn(before, -greatest)), total, exp_fast(add_rn(values[0], -greatest)));
  for (int i = 1; i < READS; ++i) {
    total = add_rn(total, exp_fast(add_rn(values[i], -greatest)));
  }
}
float before = greatest;
greatest = simd_max(greatest);
total = simd_sum(mul_rn(total, exp_fast(add_rn(before, -greatest))));
if (lane == 0) {
  maxima[group] = greatest;
}
threadgroup_barrier(mem_flags::mem_threadgroup);
before = greatest;
greatest = simd_max(lane < THREADS / 32 ? maxima[lane] : nothing);
if (lane == 0) {
  sums[group] = mul_rn(total, exp_fast(add_rn(before, -greatest)));
}
threadgroup_barrier(mem_flags::mem_threadgroup);
const float factor = div_rn(1.0f, simd_sum(lane < THREADS / 32 ? sums[lane] : 0.0f));
for (uint first = own; first < size; first += THREADS * READS) {
  for (int i = 0; i < READS; ++i) {
    const uint at = row + first + i;
    if (first + i < size) {
      const bool kept = size <= THREADS * READS;
      const float value = kept ? values[i] : float(T(add_rn(float(by_latent[at]), float(by_place[at]))));
      weights[at] = T(mul_rn(exp_fast(add_rn(value, -greatest)), factor));
    }
  }
}
