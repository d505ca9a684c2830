// After embed.cu: the new token's position and the number of keys, where the next launches look for them.
if (threadIdx.x == 0) {
  offsets[0] = position;
  offsets[1] = position + 1;
}
