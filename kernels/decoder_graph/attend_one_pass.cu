// Up to 1,024 keys: 32 chains a head, PARTS blocks of WARPS warps a head in one cluster. All keys and values but the new
// ones are requested into shared memory before the launch's inputs are ready.
constexpr int CHAINS = PARTS * WARPS;
constexpr int LONGEST = 1024 / CHAINS;  // keys of a chain
constexpr int FEW = 8;
static_assert(CHAINS == 32 && LONGEST == 4 * FEW, "four groups of copies");
DYNAMIC_SHARED(staged);
__shared__ float chain_tops[WARPS], chain_totals[WARPS], chain_sums[WARPS][HD];
T* own_keys = reinterpret_cast<T*>(staged) + warp * LONGEST * 2 * HD;
T* own_values = own_keys + LONGEST * HD;
const int kept = position > chain ? (position - chain + CHAINS - 1) / CHAINS : 0;
const bool has_new = position % CHAINS == chain;
#pragma unroll 1
for (int group = 0; group < LONGEST; group += FEW) {
  for (int row = group + lane / 16; row < min(kept, group + FEW); row += 2) {
    const size_t from = of_head + size_t(chain + row * CHAINS) * HD + lane % 16 * 8;
    copy_16_bytes(own_keys + row * HD + lane % 16 * 8, keys + from);
    copy_16_bytes(own_values + row * HD + lane % 16 * 8, values + from);
  }
  close_copies();
}
