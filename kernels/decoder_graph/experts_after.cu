  if (threadIdx.x == 0) {
    slot_weights[blockIdx.y] = weighted[blockIdx.y];
  }
}
