// After all_experts.cu: a share of the slot's rows of down is brought nearer.
constexpr int DOWN_SHARE = DOWN_WORDS / (I / (WARPS * ROWS));
const uint32_t* next_w = shared ? shared_down_w : down_w + size_t(inds[slot]) * DOWN_WORDS;
prefetch_block(next_w + size_t(blockIdx.x) * DOWN_SHARE, DOWN_SHARE * 4);
