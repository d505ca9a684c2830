if (threadIdx.x < E) {
  all_gates[blockIdx.x * E + threadIdx.x] = gates[threadIdx.x];
}
