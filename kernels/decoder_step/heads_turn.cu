// After heads.cu: the norm and rotation of q and k, PARTS blocks a head. A head's norm needs all its rows: the block that ends last turns the
// head. `tickets` counts the blocks of a head that ended, from FIRST_TICKET on, where the launch before left zeros.
__shared__ __align__(16) T whole[HD];
__shared__ bool last;
const int head = blockIdx.x / PARTS;
const bool of_q = head < HQ;
if (head >= HQ + HK) {
  return;
}
T* out = of_q ? q + head * HD : k + (head - HQ) * HD;
// Every writer's rows are seen by all blocks before its block takes a ticket, and read past L1 by the last.
__threadfence();
__syncthreads();
if (threadIdx.x == 0) {
  unsigned* ticket = const_cast<unsigned*>(tickets) + FIRST_TICKET + head;
  last = atomicAdd(ticket, 1u) == PARTS - 1;
}
__syncthreads();
if (!last || warp != 0) {
  return;
}
__threadfence();
for (int i = lane * 16 / int(sizeof(T)); i < HD; i += 512 / int(sizeof(T))) {
  copy_16_bytes(whole + i, out + i);
}
close_copies();
await_copies(0);
__syncwarp();
turn_head<T, HD, READS>(
    whole, of_q ? q_weight : k_weight, out, float_of(uint(of_q ? Q_EPS : K_EPS)), float(offsets[0]),
    float_of(uint(LOG2_BASE)), lane);
