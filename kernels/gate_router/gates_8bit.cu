// gates[e] = the gate's row e times the token's x, as MLX 0.32.4 multiplies 8-bit rows: weights dequantised to T by one
// fused step, 8 neighbouring ones a lane, 256 a step, 8 float32 accumulators a lane, their sum in order and across the
// lanes by halves. A warp takes ROWS rows, FEW of them at a time.
constexpr int ROWS = E / WARPS;
constexpr int FEW = ROWS % 2 == 0 ? 2 : 1;
constexpr int STEPS = D / 256;
constexpr int GROUPS = D / GROUP;
using Pairs = typename Pair<T>::type;
__shared__ T gates[E];
const int lane_of_gate = threadIdx.x % 32;
const int first_row = threadIdx.x / 32 * ROWS;
const uint4* own_x = reinterpret_cast<const uint4*>(x + size_t(blockIdx.y) * D) + lane_of_gate;
#pragma unroll 1
for (int row = first_row; row < first_row + ROWS; row += FEW) {
  uint2 words[FEW][STEPS];
  unsigned scale_and_bias[FEW];
  float sums[FEW][8];
#pragma unroll
  for (int r = 0; r < FEW; ++r) {
    const uint2* from = reinterpret_cast<const uint2*>(w + size_t(row + r) * (D / 4)) + lane_of_gate;
#pragma unroll
    for (int step = 0; step < STEPS; ++step) {
      words[r][step] = from[step * 32];
    }
    scale_and_bias[r] = 0;
    if (lane_of_gate < GROUPS) {
      const int group = (row + r) * GROUPS + lane_of_gate;
      const unsigned short s = reinterpret_cast<const unsigned short*>(scales)[group];
      const unsigned short z = reinterpret_cast<const unsigned short*>(biases)[group];
      scale_and_bias[r] = s | (unsigned(z) << 16);
    }
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      sums[r][i] = 0.0f;
    }
  }
#pragma unroll
  for (int step = 0; step < STEPS; ++step) {
    const uint4 four = own_x[step * 32];
    const unsigned pairs[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
    for (int r = 0; r < FEW; ++r) {
      const unsigned sz = __shfl_sync(ALL_LANES, scale_and_bias[r], step * (256 / GROUP) + lane_of_gate / 8);
      const Pairs scale = Pair<T>::twice(sz & 0xffffu);
      const Pairs bias = Pair<T>::twice(sz >> 16);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const unsigned word = i < 2 ? words[r][step].x : words[r][step].y;
        const Pairs q = Pair<T>::from_bytes(word >> (16 * (i % 2)));
        const float2 weight = floats(__hfma2(q, scale, bias));
        const float2 value = floats(reinterpret_cast<const Pairs&>(pairs[i]));
        sums[r][2 * i] = fmaf(value.x, weight.x, sums[r][2 * i]);
        sums[r][2 * i + 1] = fmaf(value.y, weight.y, sums[r][2 * i + 1]);
      }
    }
  }
#pragma unroll
  for (int r = 0; r < FEW; ++r) {
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      sum = __fadd_rn(sum, sums[r][i]);
    }
    for (int lanes = 16; lanes > 0; lanes /= 2) {
      sum = __fadd_rn(sum, __shfl_xor_sync(ALL_LANES, sum, lanes));
    }
    if (lane_of_gate == 0) {
      gates[row + r] = T(sum);
    }
  }
}
__syncthreads();
