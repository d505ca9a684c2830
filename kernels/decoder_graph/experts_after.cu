}
__syncthreads();
// The slot's first block writes its weight, and announces its expert to the next launch after its own requests.
const int lane = threadIdx.x % 32;
const int row = (blockIdx.x * WARPS + warp) * 8;
const size_t first = size_t(picked[slot]) * I + row;
unsigned char* own = staged + warp * Rows::BYTES;
Rows::request(own, gate_w, up_w, gate_s, up_s, gate_b, up_b, first, first, lane);
if (blockIdx.x == 0 && threadIdx.x == 0) {
  announce(early + slot, offsets[1], picked[slot]);
  slot_weights[slot] = weighted[slot];
}
float sums[4];
Rows::multiply(sums, own, spread, lane);
if (lane % 4 == 0) {
  h[slot * I + row + lane / 4] = swiglu(T(sums[0]), T(sums[2]));
}
