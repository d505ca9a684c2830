// h[slot, i] = swiglu(gate, up) of the slot's expert on tensor cores; a warp takes 8 gate rows and their 8 up rows.
using Rows = MmaRows<T, D>;
DYNAMIC_SHARED(staged);
const int lane = threadIdx.x % 32;
const int warp = threadIdx.x / 32;
const int slot = blockIdx.y;
const int row = (blockIdx.x * WARPS + warp) * 8;
const size_t first = size_t(inds[slot]) * I + row;
unsigned* spread = reinterpret_cast<unsigned*>(staged + WARPS * Rows::BYTES);
unsigned char* own = staged + warp * Rows::BYTES;
Rows::request(own, gate_w, up_w, gate_s, up_s, gate_b, up_b, first, first, lane);
Rows::spread(spread, x + (slot / TOP) * D, threadIdx.x, WARPS * 32);
__syncthreads();
float sums[4];
Rows::multiply(sums, own, spread, lane);
if (lane % 4 == 0) {
  h[slot * I + row + lane / 4] = swiglu(T(sums[0]), T(sums[2]));
}
