#include "cuda_ahead.h"

#include <exception>

#include "cuda_graph.h"

namespace zmlx {

Ahead::Ahead(Make make) : make_(std::move(make)) {
  CUcontext context = nullptr;
  check(cuCtxGetCurrent(&context), "the current context");
  thread_ = std::thread([this, context]() { run(context); });
}

Ahead::~Ahead() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    state_ = State::over;
  }
  changed_.notify_all();
  thread_.join();
}

void Ahead::begin(std::vector<uint64_t> values) {
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait(lock, [this]() { return state_ != State::asked; });
  values_ = std::move(values);
  state_ = State::asked;
  lock.unlock();
  changed_.notify_all();
}

CUgraphExec Ahead::take(const std::vector<uint64_t>& values) {
  std::unique_lock<std::mutex> lock(mutex_);
  if (state_ == State::nothing || values != values_) {
    return nullptr;
  }
  changed_.wait(lock, [this]() { return state_ != State::asked; });
  if (state_ != State::made) {
    return nullptr;
  }
  state_ = State::nothing;
  return latest_;
}

std::string Ahead::fault() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return fault_;
}

void Ahead::run(CUcontext context) {
  CUstream stream = nullptr;
  std::unique_lock<std::mutex> lock(mutex_);
  try {
    check(cuCtxSetCurrent(context), "the context of a thread");
    // MLX captures in a mode that forbids other threads whatever could disturb a capture, unless they say otherwise.
    CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_RELAXED;
    check(cuThreadExchangeStreamCaptureMode(&mode), "a thread's way of capturing");
    check(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING), "making a stream");
  } catch (const std::exception& error) {
    fault_ = error.what();
  }
  while (true) {
    changed_.wait(lock, [this]() { return state_ == State::asked || state_ == State::over; });
    if (state_ == State::over) {
      break;
    }
    // The values stay as they are until this has answered.
    lock.unlock();
    CUgraphExec made = nullptr;
    std::string fault;
    try {
      made = stream != nullptr ? make_(values_, stream) : nullptr;
    } catch (const std::exception& error) {
      fault = error.what(); // the step is launched one by one
    }
    lock.lock();
    if (!fault.empty()) {
      fault_ = std::move(fault);
    }
    if (state_ == State::asked) {
      latest_ = made;
      state_ = made != nullptr ? State::made : State::nothing;
    }
    changed_.notify_all();
  }
  if (stream != nullptr) {
    cuStreamDestroy(stream);
  }
}

} // namespace zmlx
