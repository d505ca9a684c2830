// The router by one warp of every block for itself, softmax_*.gpu, then experts_mma.cu for the block's slot.
// The router writes where a token's choice would stand, and takes the slot for a token.
__shared__ uint picked[TOP * TOP];
__shared__ T weighted[TOP * TOP];
inputs_ready();
if (threadIdx.x < 32) {
  uint* inds = picked;
  T* scores = weighted;
