// What a launch hands to the next one before it ends: a value beside the number of the step, stored and read at once.
__device__ __forceinline__ void announce(unsigned long long* at, int step, unsigned value) {
  *static_cast<volatile unsigned long long*>(at) = (static_cast<unsigned long long>(unsigned(step)) << 32) | value;
}

// Waits for this step's value, a lane for its warp, and not too eagerly: the launch that announces it needs the memory. It
// has to be under way on all its blocks.
__device__ __forceinline__ unsigned heard(const unsigned long long* at, int step) {
  unsigned value = 0;
  if (threadIdx.x % 32 == 0) {
    unsigned long long found = *static_cast<const volatile unsigned long long*>(at);
    while (unsigned(found >> 32) != unsigned(step)) {
      __nanosleep(200);
      found = *static_cast<const volatile unsigned long long*>(at);
    }
    value = unsigned(found);
  }
  return __shfl_sync(0xffffffffu, value, 0);
}
