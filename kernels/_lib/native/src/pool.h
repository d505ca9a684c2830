// A small pool of threads for loops of independent tasks.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <type_traits>

namespace zmlx {

class Pool {
 public:
  static Pool& get();

  // Calls task(context, i) for 0 <= i < n on the caller and the workers; returns when all are done. An exception of
  // a task is rethrown here. A caller that finds the pool busy (another stream) does its tasks alone.
  void run(int n, void (*task)(void*, int), void* context);

  template <class F>
  void run(int n, F&& f) {
    run(n, [](void* context, int i) { (*static_cast<std::remove_reference_t<F>*>(context))(i); }, &f);
  }

  int threads() const { return threads_.load(); }
  // How many threads work on a loop, the caller's among them; at least 1, at most 16.
  void set_threads(int n);

 private:
  Pool();
  void start_workers(int n);
  void work(int index);
  void drain();

  std::mutex busy_;
  std::atomic<int> threads_{1};
  int started_ = 0;
  std::atomic<uint32_t> generation_{0};
  std::atomic<int> sleeping_{0};
  std::atomic<bool> open_{false};
  std::atomic<int> active_{0};
  std::atomic<int> next_{0};
  std::atomic<bool> failed_{false};
  int n_ = 0;
  void (*task_)(void*, int) = nullptr;
  void* context_ = nullptr;
};

}  // namespace zmlx
