// Before norms_q_b_heads.cu: a block's rows of q_b are brought nearer while the launch before is at work.
if (blockIdx.x < H * (NOPE + ROPE) / (WARPS * ROWS)) {
  prefetch_block(w + size_t(blockIdx.x) * (WARPS * ROWS) * (Q_RANK / 8), WARPS * ROWS * Q_RANK / 2);
}
inputs_ready();
