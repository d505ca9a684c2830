#include "cuda_ahead.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

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
    over_ = true;
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
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (jobs_.size() == DEPTH) {
      jobs_.pop_front();
    }
    jobs_.push_back(std::make_shared<Job>(Job{std::move(values), std::move(enqueue)}));
  }
  changed_.notify_all();
}

CUgraphExec Ahead::take(const std::vector<uint64_t>& values) {
  std::unique_lock<std::mutex> lock(mutex_);
  taken_ = nullptr;
  const auto found = std::find_if(jobs_.begin(), jobs_.end(), [&](const auto& job) { return job->values == values; });
  if (found == jobs_.end()) {
    return nullptr;
  }
  const auto job = *found;
  jobs_.erase(jobs_.begin(), found);
  changed_.wait(lock, [&]() { return job->state == State::captured || job->state == State::failed; });
  jobs_.pop_front();
  taken_ = job->made;
  return taken_ != nullptr ? taken_->handle : nullptr;
}

void Ahead::run(CUcontext context) {
  CUstream stream = nullptr;
  // MLX captures in a mode that forbids other threads whatever could disturb a capture, unless they say otherwise.
  CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_RELAXED;
  const bool ready = cuCtxSetCurrent(context) == CUDA_SUCCESS &&
      cuThreadExchangeStreamCaptureMode(&mode) == CUDA_SUCCESS &&
      cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING) == CUDA_SUCCESS;
  std::unique_lock<std::mutex> lock(mutex_);
  const auto next = [this]() {
    return std::find_if(jobs_.begin(), jobs_.end(), [](const auto& job) { return job->state == State::asked; });
  };
  while (true) {
    changed_.wait(lock, [&]() { return over_ || next() != jobs_.end(); });
    if (over_) {
      break;
    }
    const auto job = *next();
    job->state = State::begun;
    lock.unlock();
    Executable* made = nullptr;
    try {
      if (ready) {
        made = capture(*job, stream);
      }
    } catch (const std::exception&) {
      made = nullptr; // the step is launched one by one, which says what is wrong
    }
    lock.lock();
    job->made = made;
    job->state = made != nullptr ? State::captured : State::failed;
    changed_.notify_all();
  }
  if (stream != nullptr) {
    cuStreamDestroy(stream);
  }
}

bool Ahead::is_waited_for(const Executable& executable) const {
  return &executable == taken_ || std::any_of(jobs_.begin(), jobs_.end(), [&](const auto& job) {
    return job->made == &executable;
  });
}

Ahead::Executable& Ahead::place_for(const Kind& kind) {
  const std::lock_guard<std::mutex> lock(mutex_);
  // Of this kind the one used longest ago and not by a step that may be under way, else the one of any kind.
  Executable* own = nullptr;
  Executable* oldest = nullptr;
  for (auto& each : executables_) {
    if (is_waited_for(each)) {
      continue;
    }
    if (each.kind == kind && each.used + DEPTH <= captures_ && (own == nullptr || each.used < own->used)) {
      own = &each;
    }
    if (oldest == nullptr || each.used < oldest->used) {
      oldest = &each;
    }
  }
  return own != nullptr ? *own : *oldest; // more than DEPTH and the one taken are never waited for
}

Ahead::Executable* Ahead::capture(const Job& job, CUstream stream) {
  CUgraph graph = nullptr;
  Kind kind;
  check(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_RELAXED), "beginning a capture");
  try {
    kind = job.enqueue(job.values, stream);
  } catch (...) {
    cuStreamEndCapture(stream, &graph);
    if (graph != nullptr) {
      cuGraphDestroy(graph);
    }
    throw;
  }
  check(cuStreamEndCapture(stream, &graph), "ending a capture");
  const std::unique_ptr<CUgraph_st, decltype(&cuGraphDestroy)> captured(graph, &cuGraphDestroy);
  Executable& place = place_for(kind);
  CUgraphExecUpdateResultInfo info{};
  if (place.kind != kind || cuGraphExecUpdate(place.handle, graph, &info) != CUDA_SUCCESS) {
    if (place.handle != nullptr) {
      cuGraphExecDestroy(place.handle);
    }
    place = {};
    check(cuGraphInstantiate(&place.handle, graph, 0), "making a captured step executable");
    place.kind = std::move(kind);
  }
  place.used = ++captures_;
  check(cuGraphUpload(place.handle, stream), "bringing a captured step to the GPU");
  return &place;
}

} // namespace zmlx
