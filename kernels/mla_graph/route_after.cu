}
__syncthreads();
if (blockIdx.x == 0 && blockIdx.y == 0 && threadIdx.x < TOP) {
  chosen[threadIdx.x] = picked[threadIdx.x];
  weights[threadIdx.x] = weighted[threadIdx.x];
}
const uint* inds = picked + (blockIdx.y < TOP ? blockIdx.y * TOP : 0);
