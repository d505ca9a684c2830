#include "cuda_graph.h"

#include <algorithm>
#include <stdexcept>

#include "mlx/backend/cuda/allocator.h"
#include "mlx/backend/cuda/device.h"

namespace mx = mlx::core;

namespace zmlx {

void check(CUresult result, const char* what) {
  if (result != CUDA_SUCCESS) {
    const char* text = nullptr;
    cuGetErrorString(result, &text);
    throw std::runtime_error(std::string(what) + ": " + (text != nullptr ? text : "unknown CUDA error"));
  }
}

bool enter() noexcept {
  try {
    mx::cu::device(mx::Device::gpu).make_current();
    return true;
  } catch (const std::exception&) {
    return false;
  }
}

Turn::~Turn() {
  if (event_ != nullptr && enter()) {
    cuEventDestroy(event_);
  }
}

void Turn::take(CUstream stream) {
  if (last_ != nullptr && last_ != stream) {
    check(cuStreamWaitEvent(stream, event_, CU_EVENT_WAIT_DEFAULT), "waiting for another stream");
  }
}

void Turn::mark(CUstream stream) {
  if (event_ == nullptr) {
    check(cuEventCreate(&event_, CU_EVENT_DISABLE_TIMING), "making an event");
  }
  check(cuEventRecord(event_, stream), "recording an event");
  last_ = stream;
}

namespace {

uint64_t address(const mx::array& array) {
  return reinterpret_cast<uint64_t>(mx::gpu_ptr<void>(array));
}

} // namespace

Work::Work(std::vector<mx::array> spares) : spares_(std::move(spares)) {
  if (spares_.empty()) {
    throw std::invalid_argument("a step needs a buffer for its output");
  }
}

void Work::launch(
    const mx::array& in, const mx::array& out, Buffers& buffers, const std::vector<int>& numbers, CUstream stream) {
  const std::lock_guard<std::mutex> lock(mutex_);
  Values now = values(buffers, numbers, true);
  now[INPUT] = address(in);
  now[OUTPUT] = address(out);
  turn_.take(stream);
  buffers.turn.take(stream);
  enqueue(now, stream);
  turn_.mark(stream);
  buffers.turn.mark(stream);
}

bool Work::lend(mx::array& out) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto free = std::find_if(spares_.begin(), spares_.end(), [](const auto& each) { return each.is_donatable(); });
  if (free == spares_.end()) {
    return false;
  }
  out.copy_shared_buffer(*free);
  return true;
}

void Work::keep(const Parameter& parameter) {
  if (const auto* array = std::get_if<mx::array>(&parameter)) {
    if (known_.emplace(array->id(), arrays_.size()).second) {
      arrays_.push_back(*array);
      const auto* buffer = static_cast<const mx::cu::CudaBuffer*>(arrays_.back().buffer().ptr());
      lies_.emplace_back(buffer, arrays_.back().offset());
    }
  } else if (const auto* buffer = std::get_if<Buffer>(&parameter)) {
    buffers_ = std::max(buffers_, buffer->index + 1);
  } else if (const auto* number = std::get_if<Number>(&parameter)) {
    numbers_ = std::max(numbers_, number->index + 1);
  }
}

size_t Work::place(const Parameter& parameter) const {
  if (const auto* array = std::get_if<mx::array>(&parameter)) {
    return ARRAYS + known_.at(array->id());
  }
  const size_t buffers_begin = ARRAYS + arrays_.size();
  if (const auto* buffer = std::get_if<Buffer>(&parameter)) {
    return buffers_begin + buffer->index;
  }
  if (const auto* number = std::get_if<Number>(&parameter)) {
    return buffers_begin + buffers_ + number->index;
  }
  return std::holds_alternative<Input>(parameter) ? INPUT : OUTPUT;
}

std::vector<size_t> Work::places(const std::vector<Parameter>& parameters) const {
  std::vector<size_t> found;
  for (const auto& each : parameters) {
    found.push_back(place(each));
  }
  return found;
}

Work::Values Work::values(const Buffers& buffers, const std::vector<int>& numbers, bool anew) {
  if (static_cast<int>(buffers.arrays.size()) < buffers_ || static_cast<int>(numbers.size()) < numbers_) {
    throw std::invalid_argument("a step needs more buffers or numbers");
  }
  if (anew || addresses_.empty()) {
    addresses_.clear();
    for (const auto& [buffer, offset] : lies_) {
      addresses_.push_back(reinterpret_cast<uint64_t>(buffer->data) + offset);
    }
  }
  Values found(ARRAYS, 0);
  found.reserve(ARRAYS + arrays_.size() + buffers_ + numbers_);
  found.insert(found.end(), addresses_.begin(), addresses_.end());
  for (int i = 0; i < buffers_; ++i) {
    found.push_back(address(buffers.arrays[i]));
  }
  for (int i = 0; i < numbers_; ++i) {
    found.push_back(static_cast<uint32_t>(numbers[i]));
  }
  return found;
}

CUfunction kernel_of(CUmodule module, const std::string& name, int shared_bytes) {
  CUfunction function = nullptr;
  check(cuModuleGetFunction(&function, module, name.c_str()), name.c_str());
  check(
      cuFuncSetAttribute(function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, shared_bytes),
      "shared memory of a launch");
  return function;
}

Graph::Graph(const std::string& machine_code, const std::vector<Launch>& launches, std::vector<mx::array> spares)
    : Work(std::move(spares)) {
  mx::cu::device(mx::Device::gpu).make_current();
  check(cuModuleLoadData(&module_, machine_code.data()), "loading the graph's machine code");
  check(cuGraphCreate(&graph_, 0), "making a graph");
  for (const auto& launch : launches) {
    for (const auto& each : launch.parameters) {
      keep(each);
    }
  }
  for (const auto& launch : launches) {
    add(launch);
  }
  check(cuGraphInstantiate(&executable_, graph_, 0), "making a graph executable");
}

Graph::~Graph() {
  if (!enter()) {
    return;
  }
  if (executable_ != nullptr) {
    cuGraphExecDestroy(executable_);
  }
  if (graph_ != nullptr) {
    cuGraphDestroy(graph_);
  }
  if (module_ != nullptr) {
    cuModuleUnload(module_);
  }
}

void Graph::add(const Launch& launch) {
  Node& node = nodes_.emplace_back();
  node.places = places(launch.parameters);
  node.values.resize(node.places.size());
  for (auto& value : node.values) {
    node.pointers.push_back(&value);
  }
  CUfunction function = kernel_of(module_, launch.kernel, launch.shared_bytes);
  CUgraphNodeParams settings{};
  settings.type = CU_GRAPH_NODE_TYPE_KERNEL;
  settings.kernel.func = function;
  set_sizes(settings.kernel, launch);
  settings.kernel.kernelParams = node.pointers.data();
  CUgraphEdgeData edge{};
  if (launch.ahead) {
    edge.from_port = CU_GRAPH_KERNEL_NODE_PORT_PROGRAMMATIC;
    edge.type = CU_GRAPH_DEPENDENCY_TYPE_PROGRAMMATIC;
  }
  const bool first = nodes_.size() == 1;
  const CUgraphNode* before = first ? nullptr : &nodes_[nodes_.size() - 2].handle;
  check(
      cuGraphAddNode(&node.handle, graph_, before, first ? nullptr : &edge, first ? 0 : 1, &settings),
      "adding a launch to a graph");
  node.settings.func = function;
  set_sizes(node.settings, launch);
  node.settings.kernelParams = node.pointers.data();
}

void Graph::enqueue(const Values& values, CUstream stream) {
  for (auto& node : nodes_) {
    bool differs = false;
    for (size_t i = 0; i < node.places.size(); ++i) {
      const uint64_t now = values[node.places[i]];
      differs |= now != node.values[i];
      node.values[i] = now;
    }
    if (differs) {
      check(cuGraphExecKernelNodeSetParams(executable_, node.handle, &node.settings), "setting a launch anew");
    }
  }
  check(cuGraphLaunch(executable_, stream), "launching a graph");
}

} // namespace zmlx
