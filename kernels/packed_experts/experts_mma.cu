// h[slot, i] = the activation of gate and up of the slot's expert on tensor cores; a warp takes 8 gate rows and their 8 up rows.
using Rows = PackedTile<T, D, BITS, GROUP>;
const int lane = threadIdx.x % 32;
const int slot = blockIdx.y;
const int row = (blockIdx.x * WARPS + threadIdx.x / 32) * 8;
const size_t first = size_t(inds[slot]) * I + row;
float sums[4];
Rows::multiply(sums, x + (slot / TOP) * D, gate_w, up_w, gate_s, up_s, gate_b, up_b, first, first, lane);
if (lane % 4 == 0) {
  const size_t at = first + lane / 4;
  h[slot * I + row + lane / 4] = activation<CLAMPED>(
      with_bias<BIASED, T>(sums[0], gate_bias, at), with_bias<BIASED, T>(sums[2], up_bias, at),
      __uint_as_float(ALPHA), __uint_as_float(LIMIT));
}
