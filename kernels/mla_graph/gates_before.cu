// Add and norm, by every block for itself, then E rows of the dense gate: gates_dense.cu follows, which takes x and w.
// The first block writes h and the norm.
__shared__ __align__(16) T x[D];
__shared__ float sums_of_warps[32];
const T* w = gate_w + size_t(blockIdx.x) * E * D;
prefetch_block(w, E * D * 2);
inputs_ready();
add_norm<T, D, NORM_READS, NORM_CHUNKS, NORM_THREADS, true>(
    residual, r, norm_weight, blockIdx.x == 0 ? h : nullptr, x, sums_of_warps, float_of(uint(NORM_EPS)));
if (blockIdx.x == 0) {
  for (int i = threadIdx.x * NORM_READS; i < D; i += NORM_THREADS * NORM_READS) {
    store_pack<T, NORM_READS>(normed + i, load_pack<T, NORM_READS>(x + i));
  }
}
