#pragma unroll
  for (int i = 0; i < READS; ++i) {
    if (lane * READS + i < E) {
      all_keys[lane * READS + i] = keys[i];
    }
  }
}
__syncthreads();
for (int expert = threadIdx.x; expert < E; expert += WARPS * 32) {
  const uint own_key = all_keys[expert];
  int above = 0;
#pragma unroll 8
  for (int other = 0; other < E; other += 4) {
    const uint4 four = *reinterpret_cast<const uint4*>(all_keys + other);
    const uint others[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      above += others[i] > own_key || (others[i] == own_key && other + i > expert);
    }
  }
  if (above < TOP) {
    picked[TOP - 1 - above] = expert;
    picked_keys[TOP - 1 - above] = own_key;
  }
}
__syncthreads();
const uint* inds = picked;
if (blockIdx.x == 0 && threadIdx.x < 32) {
  if (threadIdx.x == 0) {
    announce(early + blockIdx.y, offsets[1], picked[blockIdx.y]);
  }
  const uint lane = threadIdx.x;
  const uint t = 0;
  uint* inds = picked;
  T* scores = weighted;
  uint chosen[TOP];
  float weights[TOP];
  for (int r = 0; r < TOP; ++r) {
    chosen[r] = picked[r];
    weights[r] = sorted_float(picked_keys[r]);
  }
