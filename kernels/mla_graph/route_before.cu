// The router by one warp of every block of a chosen expert, router_sigmoid.gpu, then all_experts.cu for the block's slot.
// The router writes where a token's choice would stand, and takes the slot for a token.
__shared__ uint picked[TOP * TOP];
__shared__ float weighted[TOP * TOP];
inputs_ready();
if (threadIdx.x < 32 && blockIdx.y < TOP) {
  uint* inds = picked;
  float* scores = weighted;
