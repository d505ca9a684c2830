// h[slot, i] = the activation of gate and up of the slot's expert by matrix-vector products; a warp takes ROWS gate rows and their
// up rows.
const int lane = threadIdx.x % 32;
const int slot = blockIdx.y;
const int row = (blockIdx.x * WARPS + threadIdx.x / 32) * ROWS;
const size_t first = size_t(inds[slot]) * I + row;
float sums[2][ROWS];
multiply_rows<ChosenRow<T, D, BITS, GROUP, FLOATS>>(
    sums, x + (slot / TOP) * D, {gate_w, up_w}, {gate_s, up_s}, {gate_b, up_b}, first, lane);
if (lane == 0) {
#pragma unroll
  for (int r = 0; r < ROWS; ++r) {
    h[slot * I + row + r] = activation<CLAMPED>(
        with_bias<BIASED, T>(sums[0][r], gate_bias, first + r), with_bias<BIASED, T>(sums[1][r], up_bias, first + r),
        __uint_as_float(ALPHA), __uint_as_float(LIMIT));
  }
}
