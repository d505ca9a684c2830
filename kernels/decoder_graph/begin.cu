// After embed.cu: the step's position and number, where the next launches look for them.
if (threadIdx.x == 0) {
  offsets[0] = position;
  offsets[1] = step;
}
