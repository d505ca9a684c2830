if (has_new) {
  const Pack<T, OWN> new_value = load_pack<T, OWN>(values + of_head + size_t(position) * HD + lane * OWN);
  store_pack<T, OWN>(own_values + kept * HD + lane * OWN, new_value);
}
__syncthreads();
if (has_new) {
  store_pack<T, OWN>(own_keys + kept * HD + lane * OWN, load_pack<T, OWN>(new_key + lane * OWN));
}
KeyChain<T, OWN> own;
own.start(float_of(uint(SCALE)), query + lane * OWN);
const int count = kept + has_new;
#pragma unroll 1
for (int group = 0; group < count; group += FEW) {
  await_copies(LONGEST / FEW - 1 - group / FEW);
  __syncwarp();
  Pack<T, OWN> key[FEW], value[FEW];
#pragma unroll
  for (int a = 0; a < FEW; ++a) {
    const int row = min(group + a, count - 1);
    key[a] = load_pack<T, OWN>(own_keys + row * HD + lane * OWN);
    value[a] = load_pack<T, OWN>(own_values + row * HD + lane * OWN);
  }
  own.add(key, value, count - group);
}
await_copies(0);
#pragma unroll
for (int i = 0; i < OWN; ++i) {
  chain_sums[warp][lane * OWN + i] = own.sums[i];
}
if (lane == 0) {
  chain_tops[warp] = own.top;
  chain_totals[warp] = own.total;
}
meet_cluster();
// A block joins ELEMENTS of its head, a lane an element.
constexpr int ELEMENTS = HD / PARTS;
if (warp == 0) {
  const int element = part * ELEMENTS + lane % ELEMENTS;
  float parts[32];
#pragma unroll
  for (int i = 0; i < 32; ++i) {
    parts[i] = from_block(&chain_sums[i % WARPS][element], i / WARPS);
  }
  const float there = from_block(chain_tops + lane % WARPS, lane / WARPS);
  float scale;
  const float factor = part_factor(there, from_block(chain_totals + lane % WARPS, lane / WARPS), &scale);
#pragma unroll
  for (int i = 0; i < 32; ++i) {
    parts[i] = mul_rn(parts[i], __shfl_sync(0xffffffffu, factor, i));
  }
  const float sum = mul_rn(sum_by_halves(parts), scale);
  if (lane < ELEMENTS) {
    out[head * HD + element] = T(sum);
  }
}
meet_cluster();
