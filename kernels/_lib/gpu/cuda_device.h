// What CUDA and MLX give the quantised kernels: pairs of values, the tensor core's step, copies into shared memory.
// tests/shim/cuda_device.h is the same for the host.
#ifndef IN_A_GRAPH
#include "mlx/backend/cuda/device/unary_ops.cuh"
#endif

#define DYNAMIC_SHARED(name) extern __shared__ __align__(16) unsigned char name[]

// Stands where a body first reads what the launch before it wrote. In a graph a launch starts before that one has ended.
__device__ __forceinline__ void inputs_ready() {
#ifdef IN_A_GRAPH
  asm volatile("griddepcontrol.wait;" ::: "memory");
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// (x & mask) | bits in one instruction, which the compiler does not find for two constants.
__device__ __forceinline__ unsigned masked(unsigned x, unsigned mask, unsigned bits) {
  unsigned result;
  asm("lop3.b32 %0, %1, %2, %3, 0xEA;" : "=r"(result) : "r"(x), "r"(mask), "r"(bits));
  return result;
}

// Two values of T in a register. `from_nibbles` takes 0..15 at bits 0 and 16, `from_bytes` 0..255 at
// bits 0 and 8.
template <typename T>
struct Pair;

template <>
struct Pair<__nv_bfloat16> {
  using type = __nv_bfloat162;
  static __device__ __forceinline__ type from_nibbles(unsigned q) {
    const unsigned shifted = masked(q, 0x000f000fu, 0x43004300u);  // 128 + q, exact in bfloat16
    return __hsub2(reinterpret_cast<const type&>(shifted), __float2bfloat162_rn(128.0f));
  }
  static __device__ __forceinline__ type from_bytes(unsigned q) {
    return __floats2bfloat162_rn(float(q & 0xffu), float((q >> 8) & 0xffu));
  }
  static __device__ __forceinline__ type twice(unsigned short bits) {
    const unsigned both = __byte_perm(bits, 0, 0x1010);
    return reinterpret_cast<const type&>(both);
  }
  static __device__ __forceinline__ void mma(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
    asm(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
};

template <>
struct Pair<__half> {
  using type = __half2;
  static __device__ __forceinline__ type from_nibbles(unsigned q) {
    const unsigned shifted = masked(q, 0x000f000fu, 0x64006400u);  // 1024 + q, exact in half
    return __hsub2(reinterpret_cast<const type&>(shifted), __float2half2_rn(1024.0f));
  }
  static __device__ __forceinline__ type from_bytes(unsigned q) {
    return __floats2half2_rn(float(q & 0xffu), float((q >> 8) & 0xffu));
  }
  static __device__ __forceinline__ type twice(unsigned short bits) {
    const unsigned both = __byte_perm(bits, 0, 0x1010);
    return reinterpret_cast<const type&>(both);
  }
  static __device__ __forceinline__ void mma(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
    asm(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
};

__device__ __forceinline__ float2 floats(__nv_bfloat162 x) {
  return __bfloat1622float2(x);
}
__device__ __forceinline__ float2 floats(__half2 x) {
  return __half22float2(x);
}

__device__ __forceinline__ void copy_16_bytes(void* to, const void* from) {
  const unsigned at = static_cast<unsigned>(__cvta_generic_to_shared(to));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(at), "l"(from) : "memory");
}
// Requests `bytes` neighbouring bytes into the cache that all blocks share, by all threads of a block.
__device__ __forceinline__ void prefetch_block(const void* from, int bytes) {
  for (int i = threadIdx.x * 128; i < bytes; i += blockDim.x * 128) {
    asm volatile("prefetch.global.L2 [%0];" ::"l"(static_cast<const char*>(from) + i));
  }
}
__device__ __forceinline__ void close_copies() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
// Waits until at most `open` of the closed groups of copies are under way.
__device__ __forceinline__ void await_copies(int open) {
  switch (open) {
    case 0: asm volatile("cp.async.wait_group 0;" ::: "memory"); break;
    case 1: asm volatile("cp.async.wait_group 1;" ::: "memory"); break;
    case 2: asm volatile("cp.async.wait_group 2;" ::: "memory"); break;
    default: asm volatile("cp.async.wait_group 3;" ::: "memory"); break;
  }
}

// SwiGLU as mx.compile makes it for T: every step is MLX's own, rounded to T.
template <typename T>
__device__ __forceinline__ T swiglu(T gate, T up) {
  const T gated = gate * mlx::core::cu::Sigmoid{}(gate);
  return gated * up;
}
