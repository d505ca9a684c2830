// The router by every block for itself: softmax_keys.metal by one warp, then all threads count how many keys stand above
// each expert's, which is its rank, then softmax_scores.metal. A slot's first block writes its weight, and announces its
// expert to the next launch. experts_mma.cu follows.
__shared__ __align__(16) uint all_keys[E];
__shared__ uint picked[TOP], picked_keys[TOP];
__shared__ T weighted[TOP];
static_assert(E % 4 == 0, "four keys are read at once");
inputs_ready();
if (threadIdx.x < 32) {
