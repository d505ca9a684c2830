// One query's attention as MLX 0.32.4 adds it up without cuDNN: a warp takes a chain of keys about a maximum of its own, a
// lane OWN neighbouring elements of each; then the chains are joined about the maximum of all.
template <typename T, int OWN>
struct KeyChain {
  float query[OWN], sums[OWN];
  float top, total;

  __device__ __forceinline__ void start(float scale, const T* q) {
    const Pack<T, OWN> own = load_pack<T, OWN>(q);
    top = float_of(0xff7fffffu);
    total = 0.0f;
#pragma unroll
    for (int i = 0; i < OWN; ++i) {
      query[i] = mul_rn(scale, float(own.at[i]));
      sums[i] = 0.0f;
    }
  }

  // Takes the first `count` of FEW keys after each other; their scores are under way at once.
  template <int FEW>
  __device__ __forceinline__ void add(const Pack<T, OWN> (&key)[FEW], const Pack<T, OWN> (&value)[FEW], int count) {
    float score[FEW];
#pragma unroll
    for (int a = 0; a < FEW; ++a) {
      score[a] = 0.0f;
#pragma unroll
      for (int i = 0; i < OWN; ++i) {
        score[a] = fused(query[i], float(key[a].at[i]), score[a]);
      }
    }
#pragma unroll
    for (int lanes = 16; lanes > 0; lanes /= 2) {
#pragma unroll
      for (int a = 0; a < FEW; ++a) {
        score[a] = add_rn(score[a], __shfl_xor_sync(0xffffffffu, score[a], lanes));
      }
    }
    // All maxima come first, so that only the sums depend on each other.
    float factor[FEW], weight[FEW];
#pragma unroll
    for (int a = 0; a < FEW; ++a) {
      const float higher = a < count ? fmaxf(top, score[a]) : top;
      factor[a] = exp2_precise(add_rn(top, -higher));
      weight[a] = exp2_precise(add_rn(score[a], -higher));
      top = higher;
    }
#pragma unroll
    for (int a = 0; a < FEW; ++a) {
      if (a < count) {
        total = fused(total, factor[a], weight[a]);
#pragma unroll
        for (int i = 0; i < OWN; ++i) {
          sums[i] = fused(sums[i], factor[a], mul_rn(weight[a], float(value[a].at[i])));
        }
      }
    }
  }
};

// How much each of 32 parts counts, a lane a part, and in `scale` what their sum is multiplied by.
__device__ __forceinline__ float part_factor(float part_top, float part_total, float* scale) {
  const float top = simd_max(part_top);
  const float factor = exp2_precise(add_rn(part_top, -top));
  const float total = simd_sum(mul_rn(part_total, factor));
  *scale = total == 0.0f ? 0.0f : __frcp_rn(total);
  return factor;
}

// The sum of 32 parts of an element by one thread, as the lanes of a warp would add them by halves.
__device__ __forceinline__ float sum_by_halves(float (&parts)[32]) {
#pragma unroll
  for (int step = 0; step < 5; ++step) {
    const int half = 16 >> step;
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      if (i < half) {
        parts[i] = add_rn(parts[i], parts[i + half]);
      }
    }
  }
  return parts[0];
}

// Blocks of a cluster read each other's shared memory between two meetings.
__device__ __forceinline__ void meet_cluster() {
  asm volatile("barrier.cluster.arrive.aligned;\nbarrier.cluster.wait.aligned;" ::: "memory");
}
__device__ __forceinline__ float from_block(const float* own, int block) {
  const unsigned at = static_cast<unsigned>(__cvta_generic_to_shared(own));
  float value;
  asm volatile(
      "{\n.reg .b32 there;\nmapa.shared::cluster.u32 there, %1, %2;\nld.shared::cluster.f32 %0, [there];\n}"
      : "=f"(value)
      : "r"(at), "r"(block)
      : "memory");
  return value;
}
