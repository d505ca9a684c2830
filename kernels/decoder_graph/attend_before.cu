// Norm and rotation of the query's head and of the new key, by every block for itself; one block writes the new key.
constexpr int OWN = HD / 32;
constexpr int HEADS_OF_KEY = HQ / HK;
static_assert(HD == 128, "a lane reads 8 bytes of a head");
__shared__ __align__(16) T query[HD], new_key[HD];
const int lane = threadIdx.x % 32;
const int warp = threadIdx.x / 32;
const int head = blockIdx.x;
const int part = blockIdx.y;
const int chain = part * WARPS + warp;
const int position = offsets[0];
const size_t of_head = size_t(head / HEADS_OF_KEY) * capacity * HD;
HeadTurn<T, HD, READS> turn;
if (warp < 2) {
  turn.weights(warp == 0 ? q_weight : k_weight, lane);
  turn.angles(float(position), float_of(uint(LOG2_BASE)), lane);
}
