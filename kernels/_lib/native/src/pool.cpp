#include "pool.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <stdexcept>
#include <string>
#include <thread>

namespace zmlx {

namespace {

constexpr int max_threads = 16;
// A worker that found nothing to do for this long sleeps: between two primitives of one token it does not, between two
// requests it does.
constexpr auto spin_time = std::chrono::microseconds(50);

void pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

int default_threads() {
  if (const char* text = std::getenv("ZMLX_THREADS")) {
    char* end = nullptr;
    long n = std::strtol(text, &end, 10);
    if (end != text && *end == '\0' && n >= 1 && n <= max_threads) {
      return int(n);
    }
  }
  int cpus = int(std::max(1u, std::thread::hardware_concurrency()));
  std::ifstream smt("/sys/devices/system/cpu/smt/active");
  char active = '0';
  if (smt >> active && active == '1') {
    cpus = std::max(1, cpus / 2);
  }
  return std::min(cpus, 4);
}

}  // namespace

Pool& Pool::get() {
  // Never destroyed: its threads may outlive static destructors.
  static Pool* pool = new Pool;
  return *pool;
}

Pool::Pool() {
  set_threads(default_threads());
}

void Pool::set_threads(int n) {
  if (n < 1 || n > max_threads) {
    throw std::invalid_argument("threads must be 1 to " + std::to_string(max_threads) + ", not " + std::to_string(n));
  }
  std::lock_guard<std::mutex> lock(busy_);
  start_workers(n - 1);
  threads_.store(n);
}

void Pool::start_workers(int n) {
  for (; started_ < n; started_++) {
    std::thread([this, index = started_] { work(index); }).detach();
  }
}

void Pool::drain() {
  for (int i = next_.fetch_add(1); i < n_; i = next_.fetch_add(1)) {
    try {
      task_(context_, i);
    } catch (...) {
      failed_.store(true);
    }
  }
}

void Pool::work(int index) {
  uint32_t seen = 0;
  for (;;) {
    auto deadline = std::chrono::steady_clock::now() + spin_time;
    for (int spins = 0; generation_.load() == seen; spins++) {
      pause();
      if (spins % 64 == 63 && std::chrono::steady_clock::now() > deadline) {
        sleeping_.fetch_add(1);
        generation_.wait(seen);
        sleeping_.fetch_sub(1);
      }
    }
    seen = generation_.load();
    // The caller closes the loop before it waits for `active_` to fall to 0, so a worker that finds it open after
    // raising `active_` may use the fields.
    active_.fetch_add(1);
    if (open_.load() && index < threads_.load() - 1) {
      drain();
    }
    active_.fetch_sub(1);
  }
}

void Pool::run(int n, void (*task)(void*, int), void* context) {
  std::unique_lock<std::mutex> lock(busy_, std::defer_lock);
  if (n <= 1 || threads_.load() == 1 || !lock.try_lock()) {
    for (int i = 0; i < n; i++) {
      task(context, i);
    }
    return;
  }
  n_ = n;
  task_ = task;
  context_ = context;
  next_.store(0);
  failed_.store(false);
  open_.store(true);
  generation_.fetch_add(1);
  if (sleeping_.load() > 0) {
    generation_.notify_all();
  }
  drain();
  open_.store(false);
  for (int spins = 0; active_.load() != 0; spins++) {
    if (spins < 4096) {
      pause();
    } else {
      std::this_thread::yield();
    }
  }
  if (failed_.load()) {
    throw std::runtime_error("[zmlx native] a worker thread failed (out of memory?)");
  }
}

}  // namespace zmlx
