// What a launch hands to the next one before it ends: a value beside the number of the step, stored and read at once.
__device__ __forceinline__ void announce(unsigned long long* at, int step, unsigned value) {
  *static_cast<volatile unsigned long long*>(at) = (static_cast<unsigned long long>(unsigned(step)) << 32) | value;
}

// Waits for this step's value. The launch that announces it has to be under way on all its blocks.
__device__ __forceinline__ unsigned heard(const unsigned long long* at, int step) {
  unsigned long long found;
  do {
    found = *static_cast<const volatile unsigned long long*>(at);
  } while (unsigned(found >> 32) != unsigned(step));
  return unsigned(found);
}
