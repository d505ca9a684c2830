// The K most probable in ascending order, as softmax_pick.gpu: one number orders by probability and then by index, since
// the last 13 bits of a probability rounded to 16 bits are zero.
static_assert(E <= 128 && sizeof(T) == 2, "seven bits hold an index");
#pragma unroll
for (int i = 0; i < READS; ++i) {
  const uint expert = lane * READS + i;
  keys[i] = expert < E ? (keys[i] >> 13) << 7 | expert : 0;
}
#pragma unroll
for (int r = K - 1; r >= 0; --r) {
  uint key = 0;
#pragma unroll
  for (int i = 0; i < READS; ++i) {
    key = max(key, keys[i]);
  }
  key = __reduce_max_sync(0xffffffffu, key);
#pragma unroll
  for (int i = 0; i < READS; ++i) {
    keys[i] = keys[i] == key ? 0 : keys[i];
  }
  picked[r] = key;
}
