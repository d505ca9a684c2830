// After choose_after.cu: zeros behind the chosen experts, in which the launch of the next layer's heads counts.
if (blockIdx.x == 0 && blockIdx.y == 0) {
  for (int i = threadIdx.x; i < TICKETS; i += WARPS * 32) {
    chosen[TOP + i] = 0;
  }
}
