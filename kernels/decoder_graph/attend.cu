// One query's attention as MLX 0.32.4 adds it up without cuDNN: up to 1,024 keys 32 chains of keys a head, each about a
// maximum of its own, and their weighted sum; above that (LONG) 256 chains, of which each block first joins its 8. A warp
// is a chain, PARTS blocks a head; the block that ends last joins what the head's 32 parts left in `tops`, `totals` and
// `partials`. `tickets` counts the blocks of a head that ended and is zero between launches.
constexpr int OWN = HD / 32;  // elements of a head that a lane holds
constexpr int CHAINS = PARTS * WARPS;
constexpr int AHEAD = 4;  // keys of a chain whose loads and scores are under way at once
static_assert(HD == 128, "a lane reads 8 bytes of a head");
__shared__ float chain_tops[WARPS], chain_totals[WARPS], chain_sums[WARPS][HD];
__shared__ float factors[32];
__shared__ bool last;
const int lane = threadIdx.x % 32;
const int warp = threadIdx.x / 32;
const int head = blockIdx.x;
const int part = blockIdx.y;
const size_t first_key = size_t(head / (HQ / HK)) * capacity * HD + lane * OWN;
inputs_ready();
const int length = offsets[0] + 1;
float query[OWN], sums[OWN];
const Pack<T, OWN> own_query = load_pack<T, OWN>(q + head * HD + lane * OWN);
#pragma unroll
for (int i = 0; i < OWN; ++i) {
  query[i] = mul_rn(float_of(uint(SCALE)), float(own_query.at[i]));
  sums[i] = 0.0f;
}
float top = float_of(0xff7fffffu);
float total = 0.0f;
for (int first = part * WARPS + warp; first < length; first += CHAINS * AHEAD) {
  Pack<T, OWN> key[AHEAD], value[AHEAD];
  float score[AHEAD];
#pragma unroll
  for (int a = 0; a < AHEAD; ++a) {
    const int row = min(first + a * CHAINS, length - 1);
    key[a] = load_pack<T, OWN>(keys + first_key + size_t(row) * HD);
    value[a] = load_pack<T, OWN>(values + first_key + size_t(row) * HD);
  }
#pragma unroll
  for (int a = 0; a < AHEAD; ++a) {
    score[a] = 0.0f;
#pragma unroll
    for (int i = 0; i < OWN; ++i) {
      score[a] = fused(query[i], float(key[a].at[i]), score[a]);
    }
  }
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) {
#pragma unroll
    for (int a = 0; a < AHEAD; ++a) {
      score[a] = add_rn(score[a], __shfl_xor_sync(0xffffffffu, score[a], lanes));
    }
  }
#pragma unroll
  for (int a = 0; a < AHEAD; ++a) {
    if (first + a * CHAINS < length) {
      const float higher = fmaxf(top, score[a]);
      const float factor = exp2_precise(add_rn(top, -higher));
      const float weight = exp2_precise(add_rn(score[a], -higher));
      top = higher;
      total = fused(total, factor, weight);
#pragma unroll
      for (int i = 0; i < OWN; ++i) {
        sums[i] = fused(sums[i], factor, mul_rn(weight, float(value[a].at[i])));
      }
    }
  }
}
float* own_partials = partials + size_t(head) * 32 * HD;
if (LONG) {
  if (lane == 0) {
    chain_tops[warp] = top;
    chain_totals[warp] = total;
  }
  __syncthreads();
  const float chain_top = lane < WARPS ? chain_tops[lane] : -1e9f;
  const float block_top = simd_max(chain_top);
  const float factor = exp2_precise(add_rn(chain_top, -block_top));
  const float block_total = simd_sum(mul_rn(lane < WARPS ? chain_totals[lane] : 0.0f, factor));
  const float own_factor = exp2_precise(add_rn(top, -block_top));
#pragma unroll
  for (int i = 0; i < OWN; ++i) {
    chain_sums[warp][lane * OWN + i] = mul_rn(sums[i], own_factor);
  }
  __syncthreads();
  if (threadIdx.x < HD) {
    float sum = chain_sums[0][threadIdx.x];
    for (int i = 1; i < WARPS; ++i) {
      sum = add_rn(sum, chain_sums[i][threadIdx.x]);
    }
    own_partials[part * HD + threadIdx.x] = sum;
  }
  if (threadIdx.x == 0) {
    tops[head * 32 + part] = block_top;
    totals[head * 32 + part] = block_total;
  }
} else {
  const int chain = part * WARPS + warp;
  Pack<float, OWN> left;
#pragma unroll
  for (int i = 0; i < OWN; ++i) {
    left.at[i] = sums[i];
  }
  store_pack<float, OWN>(own_partials + chain * HD + lane * OWN, left);
  if (lane == 0) {
    tops[head * 32 + chain] = top;
    totals[head * 32 + chain] = total;
  }
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
const float part_top = __ldcg(tops + head * 32 + lane);
const float head_top = simd_max(part_top);
const float part_factor = exp2_precise(add_rn(part_top, -head_top));
const float head_total = simd_sum(mul_rn(__ldcg(totals + head * 32 + lane), part_factor));
const float scale = head_total == 0.0f ? 0.0f : __frcp_rn(head_total);
if (warp == 0) {
  factors[lane] = part_factor;
}
__syncthreads();
#pragma unroll
for (int i = 0; i < 32; ++i) {
  parts[i] = mul_rn(parts[i], factors[i]);
}
// The sum over 32 lanes by halves, by one thread.
#pragma unroll
for (int step = 0; step < 5; ++step) {
  const int half = 16 >> step;
#pragma unroll
  for (int i = 0; i < 16; ++i) {
    if (i < half) {
      parts[i] = add_rn(parts[i], parts[i + half]);
    }
  }
}
if (adds) {
  out[head * HD + threadIdx.x] = T(mul_rn(parts[0], scale));
}
