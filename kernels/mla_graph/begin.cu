// A step begins: x = the token's embedding, where the next launches look for it, its position and the number of keys.
for (int i = threadIdx.x; i < D; i += blockDim.x) {
  x[i] = embedded[i];
}
if (threadIdx.x == 0) {
  offsets[0] = position;
  offsets[1] = position + 1;
}
