// Before softmax_online.gpu: the rows that the next launches multiply are brought nearer, a share by each block.
prefetch_block(unembed_w + size_t(blockIdx.y) * (UNEMBED_WORDS / H), UNEMBED_WORDS / H * 4);
prefetch_block(o_w + size_t(blockIdx.y) * (O_WORDS / H), O_WORDS / H * 4);
inputs_ready();
