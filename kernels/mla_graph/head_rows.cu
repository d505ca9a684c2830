// out[head] = the head's own N rows of K weights times its x, times SCALE, on tensor cores as MLX multiplies them: rows
// dequantised to T by one fused step, k ascending by 16. A warp takes 16 rows, which it requests before x is there.
// A step's 16 weights of a row are two words, which one of the row's four lanes holds and hands to the others. Weights i
// and i + 4 of eight stand where 2 i and 2 i + 1 belong, and x does the same: see MmaRows.
using P = Pair<T>;
constexpr int STEPS = K / 16;
constexpr int OWN = STEPS / 4;
constexpr int GROUPS = K / GROUP;
constexpr int OWN_GROUPS = (GROUPS + 3) / 4;
static_assert(K % 64 == 0, "a lane has a quarter of a row");
__shared__ uint4 pairs[K / 8];
const int lane = threadIdx.x % 32;
const int part = lane % 4;
const int head = blockIdx.y;
const int row = (blockIdx.x * WARPS + threadIdx.x / 32) * 16 + lane / 4;
uint2 words[2][OWN];
unsigned scales[2][OWN_GROUPS];
#pragma unroll
for (int half = 0; half < 2; ++half) {
  const size_t own_row = size_t(head) * N + row + half * 8;
#pragma unroll
  for (int i = 0; i < OWN; ++i) {
    words[half][i] = reinterpret_cast<const uint2*>(w + own_row * (K / 8))[i * 4 + part];
  }
#pragma unroll
  for (int i = 0; i < OWN_GROUPS; ++i) {
    const int group = i * 4 + part;
    scales[half][i] = 0;
    if (group < GROUPS) {
      const unsigned short scale = reinterpret_cast<const unsigned short*>(s)[own_row * GROUPS + group];
      const unsigned short bias = reinterpret_cast<const unsigned short*>(z)[own_row * GROUPS + group];
      scales[half][i] = scale | (unsigned(bias) << 16);
    }
  }
}
inputs_ready();
for (int i = threadIdx.x; i < K / 8; i += WARPS * 32) {
  const uint4 v = reinterpret_cast<const uint4*>(x + head * K)[i];
  pairs[i] = make_uint4(
      __byte_perm(v.x, v.z, 0x5410), __byte_perm(v.x, v.z, 0x7632), __byte_perm(v.y, v.w, 0x5410),
      __byte_perm(v.y, v.w, 0x7632));
}
__syncthreads();
const unsigned* own_pairs = reinterpret_cast<const unsigned*>(pairs) + part;
float sums[4] = {0.0f, 0.0f, 0.0f, 0.0f};
#pragma unroll
for (int step = 0; step < STEPS; ++step) {
  const int group = step * 16 / GROUP;
  unsigned a[4];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const unsigned sz = __shfl_sync(ALL_LANES, scales[half][group / 4], lane - part + group % 4);
    const unsigned low = __shfl_sync(ALL_LANES, words[half][step / 4].x, lane - part + step % 4);
    const unsigned high = __shfl_sync(ALL_LANES, words[half][step / 4].y, lane - part + step % 4);
    const typename P::type scale = P::twice(sz & 0xffffu), bias = P::twice(sz >> 16);
    const typename P::type first = __hfma2(P::from_nibbles(low >> (4 * part)), scale, bias);
    const typename P::type second = __hfma2(P::from_nibbles(high >> (4 * part)), scale, bias);
    a[half] = reinterpret_cast<const unsigned&>(first);
    a[2 + half] = reinterpret_cast<const unsigned&>(second);
  }
  P::mma(sums, a, own_pairs[step * 8], own_pairs[step * 8 + 4]);
}
if (part == 0) {
  out[head * N + row] = T(mul_rn(float(T(sums[0])), float_of(uint(SCALE))));
  out[head * N + row + 8] = T(mul_rn(float(T(sums[2])), float_of(uint(SCALE))));
}
