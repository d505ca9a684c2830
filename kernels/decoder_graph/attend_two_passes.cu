// Above 1,024 keys: 256 chains a head, 32 blocks a head, of which each joins its own. The block that ends last joins what
// the head's 32 blocks left in `tops`, `totals` and `partials`. `tickets` counts the blocks of a head that ended and is
// zero between launches.
constexpr int CHAINS = PARTS * WARPS;
constexpr int FEW = 4;
static_assert(PARTS == 32, "a lane joins a block's part");
__shared__ float chain_tops[WARPS], chain_totals[WARPS], chain_sums[WARPS][HD];
__shared__ float factors[32];
__shared__ bool last;
__syncthreads();
const int length = position + 1;
KeyChain<T, OWN> own;
own.start(float_of(uint(SCALE)), query + lane * OWN);
for (int first = chain; first < length; first += CHAINS * FEW) {
  Pack<T, OWN> key[FEW], value[FEW];
#pragma unroll
  for (int a = 0; a < FEW; ++a) {
    const int row = min(first + a * CHAINS, position);
    const size_t from = of_head + size_t(row) * HD + lane * OWN;
    key[a] = load_pack<T, OWN>(row == position ? new_key + lane * OWN : keys + from);
    value[a] = load_pack<T, OWN>(values + from);
  }
  own.add(key, value, (length - first + CHAINS - 1) / CHAINS);
}
if (lane == 0) {
  chain_tops[warp] = own.top;
  chain_totals[warp] = own.total;
}
__syncthreads();
const float chain_top = lane < WARPS ? chain_tops[lane] : -1e9f;
const float block_top = simd_max(chain_top);
const float block_total =
    simd_sum(mul_rn(lane < WARPS ? chain_totals[lane] : 0.0f, exp2_precise(add_rn(chain_top, -block_top))));
const float own_factor = exp2_precise(add_rn(own.top, -block_top));
#pragma unroll
for (int i = 0; i < OWN; ++i) {
  chain_sums[warp][lane * OWN + i] = mul_rn(own.sums[i], own_factor);
}
__syncthreads();
float* own_partials = partials + size_t(head) * PARTS * HD;
if (threadIdx.x < HD) {
  float sum = chain_sums[0][threadIdx.x];
  for (int i = 1; i < WARPS; ++i) {
    sum = add_rn(sum, chain_sums[i][threadIdx.x]);
  }
  own_partials[part * HD + threadIdx.x] = sum;
}
if (threadIdx.x == 0) {
  tops[head * PARTS + part] = block_top;
  totals[head * PARTS + part] = block_total;
}
// Every writer's parts are seen by all blocks before its block takes a ticket, and read past L1 by the last.
__threadfence();
__syncthreads();
if (threadIdx.x == 0) {
  last = atomicAdd(tickets + head, 1u) == PARTS - 1;
  if (last) {
    tickets[head] = 0;
  }
}
__syncthreads();
if (!last) {
  return;
}
__threadfence();
const bool adds = threadIdx.x < HD;
float parts[32];
#pragma unroll
for (int i = 0; i < 32; ++i) {
  parts[i] = adds ? __ldcg(own_partials + i * HD + threadIdx.x) : 0.0f;
}
float scale;
const float factor =
    part_factor(__ldcg(tops + head * PARTS + lane), __ldcg(totals + head * PARTS + lane), &scale);
if (warp == 0) {
  factors[lane] = factor;
}
__syncthreads();
#pragma unroll
for (int i = 0; i < 32; ++i) {
  parts[i] = mul_rn(parts[i], factors[i]);
}
const float sum = sum_by_halves(parts);
if (adds) {
  out[head * HD + threadIdx.x] = T(mul_rn(sum, scale));
}
