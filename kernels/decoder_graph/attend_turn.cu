inputs_ready();
if (warp == 0) {
  turn.values(q + head * HD, lane);
  turn.write(query, float_of(uint(Q_EPS)), lane);
} else if (warp == 1) {
  turn.values(k + head / HEADS_OF_KEY * HD, lane);
  turn.write(new_key, float_of(uint(K_EPS)), lane);
  __syncwarp();
  if (part == 0 && head % HEADS_OF_KEY == 0) {
    store_pack<T, OWN>(
        keys + of_head + size_t(position) * HD + lane * OWN, load_pack<T, OWN>(new_key + lane * OWN));
  }
}
