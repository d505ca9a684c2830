// gates[e] = the gate's row e times the token's x, as MLX 0.32.4 multiplies one vector: 4 neighbouring weights a lane,
// 128 a step, one float32 accumulator a lane by fused steps, across the lanes by halves. A warp takes ROWS rows, FEW of
// them at a time.
constexpr int ROWS = E / WARPS;
constexpr int FEW = ROWS % 2 == 0 ? 2 : 1;
constexpr int STEPS = D / 128;
using Pairs = typename Pair<T>::type;
__shared__ T gates[E];
const int lane_of_gate = threadIdx.x % 32;
const int first_row = threadIdx.x / 32 * ROWS;
const uint2* own_x = reinterpret_cast<const uint2*>(x) + lane_of_gate;
#pragma unroll 1
for (int row = first_row; row < first_row + ROWS; row += FEW) {
  uint2 words[FEW][STEPS];
  float sums[FEW];
#pragma unroll
  for (int r = 0; r < FEW; ++r) {
    const uint2* from = reinterpret_cast<const uint2*>(w + size_t(row + r) * D) + lane_of_gate;
#pragma unroll
    for (int step = 0; step < STEPS; ++step) {
      words[r][step] = from[step * 32];
    }
    sums[r] = 0.0f;
  }
#pragma unroll
  for (int step = 0; step < STEPS; ++step) {
    const uint2 four = own_x[step * 32];
    const float2 low = floats(reinterpret_cast<const Pairs&>(four.x));
    const float2 high = floats(reinterpret_cast<const Pairs&>(four.y));
#pragma unroll
    for (int r = 0; r < FEW; ++r) {
      const float2 a = floats(reinterpret_cast<const Pairs&>(words[r][step].x));
      const float2 b = floats(reinterpret_cast<const Pairs&>(words[r][step].y));
      sums[r] = fmaf(a.x, low.x, sums[r]);
      sums[r] = fmaf(a.y, low.y, sums[r]);
      sums[r] = fmaf(b.x, high.x, sums[r]);
      sums[r] = fmaf(b.y, high.y, sums[r]);
    }
  }
#pragma unroll
  for (int r = 0; r < FEW; ++r) {
    for (int lanes = 16; lanes > 0; lanes /= 2) {
      sums[r] = __fadd_rn(sums[r], __shfl_xor_sync(ALL_LANES, sums[r], lanes));
    }
    if (lane_of_gate == 0) {
      gates[row + r] = T(sums[r]);
    }
  }
}
__syncthreads();
