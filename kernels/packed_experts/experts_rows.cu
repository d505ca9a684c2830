// h[slot, i] = the activation of gate and up of the slot's expert by matrix-vector products; a warp takes ROWS gate rows and their
// up rows, all of them requested before the first is used.
const int lane = threadIdx.x % 32;
const int slot = blockIdx.y;
const int row = (blockIdx.x * WARPS + threadIdx.x / 32) * ROWS;
const size_t first = size_t(inds[slot]) * I + row;
PackedRow<T, D, BITS, GROUP, FLOATS> gate[ROWS], up[ROWS];
#pragma unroll
for (int r = 0; r < ROWS; ++r) {
  gate[r].request(gate_w, gate_s, gate_b, first + r, lane);
  up[r].request(up_w, up_s, up_b, first + r, lane);
}
#pragma unroll
for (int r = 0; r < ROWS; ++r) {
  const float g = gate[r].multiply(x + (slot / TOP) * D, lane);
  const float u = up[r].multiply(x + (slot / TOP) * D, lane);
  if (lane == 0) {
    h[slot * I + row + r] = activation<CLAMPED>(
        with_bias<BIASED, T>(g, gate_bias, first + r), with_bias<BIASED, T>(u, up_bias, first + r),
        __uint_as_float(ALPHA), __uint_as_float(LIMIT));
  }
}
