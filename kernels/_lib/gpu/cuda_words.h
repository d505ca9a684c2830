// Metal's words, and those of metal_words.h, for mx.fast.cuda_kernel. A warp is a simdgroup: 32 lanes in both.
// Every lane of a simdgroup has to reach a simd operation, which Metal would not demand.
typedef unsigned int uint;

#define device
#define thread
#define threadgroup __shared__
#define METAL_FUNC __device__ __forceinline__
#define threadgroup_barrier(flags) __syncthreads()
#define simdgroup_barrier(flags) __syncwarp()

#define thread_position_in_grid \
  make_uint3(blockIdx.x * blockDim.x + threadIdx.x, blockIdx.y * blockDim.y + threadIdx.y, blockIdx.z * blockDim.z + threadIdx.z)
#define threadgroup_position_in_grid make_uint3(blockIdx.x, blockIdx.y, blockIdx.z)
#define thread_position_in_threadgroup make_uint3(threadIdx.x, threadIdx.y, threadIdx.z)
#define thread_index_in_threadgroup ((threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x)
#define thread_index_in_simdgroup (thread_index_in_threadgroup % 32)
#define simdgroup_index_in_threadgroup (thread_index_in_threadgroup / 32)

template <typename T>
METAL_FUNC T simd_sum(T x) {
  for (int lanes = 16; lanes > 0; lanes /= 2) {
    x = x + __shfl_xor_sync(0xffffffffu, x, lanes);
  }
  return x;
}
template <typename T>
METAL_FUNC T simd_max(T x) {
  for (int lanes = 16; lanes > 0; lanes /= 2) {
    T other = __shfl_xor_sync(0xffffffffu, x, lanes);
    x = x < other ? other : x;
  }
  return x;
}
template <typename T>
METAL_FUNC T simd_shuffle_xor(T x, uint lanes) {
  return __shfl_xor_sync(0xffffffffu, x, lanes);
}
template <typename T>
METAL_FUNC T simd_broadcast(T x, uint lane) {
  return __shfl_sync(0xffffffffu, x, lane);
}

METAL_FUNC float mul_rn(float a, float b) {
  return __fmul_rn(a, b);
}
METAL_FUNC float add_rn(float a, float b) {
  return __fadd_rn(a, b);
}
METAL_FUNC float div_rn(float a, float b) {
  return __fdiv_rn(a, b);
}
METAL_FUNC float fused(float a, float b, float c) {
  return fmaf(a, b, c);
}
METAL_FUNC float exp_fast(float x) {
  return __expf(x);
}
METAL_FUNC float exp_precise(float x) {
  return expf(x);
}
METAL_FUNC float rsqrt_precise(float x) {
  return rsqrtf(x);
}
METAL_FUNC float exp2_precise(float x) {
  return exp2f(x);
}
METAL_FUNC float sin_fast(float x) {
  return __sinf(x);
}
METAL_FUNC float cos_fast(float x) {
  return __cosf(x);
}
// What MLX's own rotation calls on this backend.
METAL_FUNC float sin_of_rope(float x) {
  return sinf(x);
}
METAL_FUNC float cos_of_rope(float x) {
  return cosf(x);
}
METAL_FUNC uint bits_of(float x) {
  return __float_as_uint(x);
}
METAL_FUNC float float_of(uint x) {
  return __uint_as_float(x);
}

// N neighbours, moved at once where they lie on a multiple of their size.
template <typename T, int N>
struct alignas(sizeof(T) * N) Pack {
  T at[N];
};
template <typename T, int N>
METAL_FUNC Pack<T, N> load_pack(const T* from) {
  if (reinterpret_cast<size_t>(from) % sizeof(Pack<T, N>) == 0) {
    return *reinterpret_cast<const Pack<T, N>*>(from);
  }
  Pack<T, N> pack;
  for (int i = 0; i < N; ++i) {
    pack.at[i] = from[i];
  }
  return pack;
}
template <typename T, int N>
METAL_FUNC void store_pack(T* to, Pack<T, N> pack) {
  if (reinterpret_cast<size_t>(to) % sizeof(Pack<T, N>) == 0) {
    *reinterpret_cast<Pack<T, N>*>(to) = pack;
    return;
  }
  for (int i = 0; i < N; ++i) {
    to[i] = pack.at[i];
  }
}
