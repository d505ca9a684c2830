// h = x + r rounded to T and its RMS norm, by every block for itself: the steps of residual_norm_stock.gpu, whose
// threads are the first THREADS here. The others only meet the barriers. `h` is written where it is not null; without
// ADD it is x. `normed` and `sums` lie in shared memory; all of `normed` is there at the end.
template <typename T, int D, int READS, int CHUNKS, int THREADS, bool ADD>
METAL_FUNC void add_norm(const T* x, const T* r, const T* weight, T* h, T* normed, float* sums, float eps) {
  const int lane = threadIdx.x % 32;
  const bool works = threadIdx.x < THREADS;
  Pack<T, READS> values[CHUNKS], weights[CHUNKS];
  float total = 0.0f;
#pragma unroll
  for (int c = 0; c < CHUNKS; ++c) {
    const int first = (c * THREADS + threadIdx.x) * READS;
    const bool in_row = works && first < D;
    if (in_row) {
      values[c] = load_pack<T, READS>(x + first);
      weights[c] = load_pack<T, READS>(weight + first);
      if (ADD) {
        const Pack<T, READS> right = load_pack<T, READS>(r + first);
#pragma unroll
        for (int i = 0; i < READS; ++i) {
          values[c].at[i] = T(add_rn(float(values[c].at[i]), float(right.at[i])));
        }
      }
      if (h != nullptr) {
        store_pack<T, READS>(h + first, values[c]);
      }
    }
#pragma unroll
    for (int i = 0; i < READS; ++i) {
      const float value = in_row ? float(values[c].at[i]) : 0.0f;
      total = fused(value, value, total);
    }
  }
  total = simd_sum(total);
  if (lane == 0 && works) {
    sums[threadIdx.x / 32] = total;
  }
  __syncthreads();
  total = simd_sum(lane < THREADS / 32 ? sums[lane] : 0.0f);
  const float scale = rsqrt_precise(add_rn(div_rn(total, float(D)), eps));
#pragma unroll
  for (int c = 0; c < CHUNKS; ++c) {
    const int first = (c * THREADS + threadIdx.x) * READS;
    if (works && first < D) {
#pragma unroll
      for (int i = 0; i < READS; ++i) {
        const float value = float(T(mul_rn(float(values[c].at[i]), scale)));
        values[c].at[i] = T(mul_rn(float(weights[c].at[i]), value));
      }
      store_pack<T, READS>(normed + first, values[c]);
    }
  }
  __syncthreads();
}
