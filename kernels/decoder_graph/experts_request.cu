}
__syncthreads();
// The slot's first block announces its expert to the next launch after its own requests, and then writes its weight.
const int lane = threadIdx.x % 32;
const int row = (blockIdx.x * WARPS + warp) * 8;
const size_t first = size_t(picked[slot] % 128) * I + row;
unsigned char* own = staged + warp * Rows::BYTES;
Rows::request(own, gate_w, up_w, gate_s, up_s, gate_b, up_b, first, first, lane);
if (blockIdx.x == 0 && warp == 0) {
  if (lane == 0) {
    announce(early + slot, offsets[1], picked[slot] % 128);
  }
  const uint t = 0;
  uint inds[K];
  T scores[K];
  uint chosen[K];
  float weights[K];
  for (int r = 0; r < K; ++r) {
    chosen[r] = picked[r] % 128;
    weights[r] = sorted_float(picked[r] >> 7 << 13);
  }
