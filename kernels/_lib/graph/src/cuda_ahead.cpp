#include "cuda_ahead.h"

#include <memory>
#include <stdexcept>

#include "cuda_graph.h"

namespace zmlx {

Ahead::Ahead() {
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
  for (const auto& executable : executables_) {
    if (executable.handle != nullptr) {
      cuGraphExecDestroy(executable.handle);
    }
  }
}

void Ahead::begin(std::vector<uint64_t> values, Enqueue enqueue) {
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait(lock, [this]() { return state_ != State::asked; });
  values_ = std::move(values);
  enqueue_ = std::move(enqueue);
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
  if (state_ != State::captured) {
    return nullptr;
  }
  state_ = State::nothing;
  return latest_->handle;
}

void Ahead::run(CUcontext context) {
  CUstream stream = nullptr;
  // MLX captures in a mode that forbids other threads whatever could disturb a capture, unless they say otherwise.
  CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_RELAXED;
  const bool ready = cuCtxSetCurrent(context) == CUDA_SUCCESS &&
      cuThreadExchangeStreamCaptureMode(&mode) == CUDA_SUCCESS &&
      cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING) == CUDA_SUCCESS;
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    changed_.wait(lock, [this]() { return state_ == State::asked || state_ == State::over; });
    if (state_ == State::over) {
      break;
    }
    // Values and what enqueues them stay as they are until this has answered.
    lock.unlock();
    bool captured = ready;
    try {
      if (captured) {
        capture(stream);
      }
    } catch (const std::exception&) {
      captured = false; // the step is launched one by one, which says what is wrong
    }
    lock.lock();
    if (state_ == State::asked) {
      state_ = captured ? State::captured : State::nothing;
    }
    changed_.notify_all();
  }
  if (stream != nullptr) {
    cuStreamDestroy(stream);
  }
}

void Ahead::capture(CUstream stream) {
  CUgraph graph = nullptr;
  Kind kind;
  check(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_RELAXED), "beginning a capture");
  try {
    kind = enqueue_(values_, stream);
  } catch (...) {
    cuStreamEndCapture(stream, &graph);
    if (graph != nullptr) {
      cuGraphDestroy(graph);
    }
    throw;
  }
  check(cuStreamEndCapture(stream, &graph), "ending a capture");
  const std::unique_ptr<CUgraph_st, decltype(&cuGraphDestroy)> captured(graph, &cuGraphDestroy);
  // Of this kind the one used longest ago and not by a step that may be under way, else the one of any kind.
  Executable* own = nullptr;
  Executable* oldest = &executables_[0];
  for (auto& each : executables_) {
    if (each.kind == kind && each.used + 2 <= captures_ && (own == nullptr || each.used < own->used)) {
      own = &each;
    }
    if (each.used < oldest->used) {
      oldest = &each;
    }
  }
  CUgraphExecUpdateResultInfo info{};
  if (own == nullptr || cuGraphExecUpdate(own->handle, graph, &info) != CUDA_SUCCESS) {
    own = own != nullptr ? own : oldest;
    if (own->handle != nullptr) {
      cuGraphExecDestroy(own->handle);
    }
    *own = {};
    check(cuGraphInstantiate(&own->handle, graph, 0), "making a captured step executable");
    own->kind = std::move(kind);
  }
  own->used = ++captures_;
  latest_ = own;
  check(cuGraphUpload(own->handle, stream), "bringing a captured step to the GPU");
}

} // namespace zmlx
