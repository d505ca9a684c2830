}
__syncthreads();
const uint* inds = picked + blockIdx.y * TOP;
if (blockIdx.x == 0 && threadIdx.x == 0) {
  chosen[blockIdx.y] = inds[blockIdx.y];
  weights[blockIdx.y] = weighted[blockIdx.y * TOP + blockIdx.y];
}
