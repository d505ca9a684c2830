// Before all_downs.cu: the shared expert's rows are known before the launch before has ended.
prefetch_block(shared_down_w + size_t(blockIdx.x) * WARPS * ROWS * (I / 8), WARPS * ROWS * I / 2);
inputs_ready();
