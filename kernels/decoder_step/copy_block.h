// Requests `bytes` neighbouring bytes, a multiple of 16, by all THREADS threads of a block.
template <int THREADS>
__device__ __forceinline__ void copy_block(void* to, const void* from, int bytes) {
  for (int i = threadIdx.x * 16; i < bytes; i += THREADS * 16) {
    copy_16_bytes(static_cast<unsigned char*>(to) + i, static_cast<const unsigned char*>(from) + i);
  }
}
