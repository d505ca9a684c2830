#include "cuda_graph.h"

#include <algorithm>
#include <stdexcept>

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

mx::array* Work::spare() {
  const auto free = std::find_if(spares_.begin(), spares_.end(), [](const auto& each) { return each.is_donatable(); });
  return free == spares_.end() ? nullptr : &*free;
}

void Work::note(const Parameter& parameter) {
  if (const auto* buffer = std::get_if<Buffer>(&parameter)) {
    buffers_ = std::max(buffers_, buffer->index + 1);
  }
  if (const auto* number = std::get_if<Number>(&parameter)) {
    numbers_ = std::max(numbers_, number->index + 1);
  }
}

uint64_t Work::value(
    const Parameter& parameter, const mx::array* in, const mx::array* out, const Buffers* buffers,
    const std::vector<int>& numbers) {
  const auto address = [](const mx::array& array) {
    return reinterpret_cast<uint64_t>(mx::gpu_ptr<void>(array));
  };
  if (const auto* array = std::get_if<mx::array>(&parameter)) {
    return address(*array);
  }
  if (std::holds_alternative<Input>(parameter)) {
    return in != nullptr ? address(*in) : 0;
  }
  if (std::holds_alternative<Output>(parameter)) {
    return out != nullptr ? address(*out) : 0;
  }
  if (const auto* buffer = std::get_if<Buffer>(&parameter)) {
    return buffers != nullptr ? address(buffers->arrays[buffer->index]) : 0;
  }
  const int at = std::get<Number>(parameter).index;
  return numbers.empty() ? 0 : static_cast<uint32_t>(numbers[at]);
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
  node.parameters = launch.parameters;
  node.values.resize(launch.parameters.size());
  for (size_t i = 0; i < node.parameters.size(); ++i) {
    const Parameter& parameter = node.parameters[i];
    note(parameter);
    node.values[i] = value(parameter, nullptr, nullptr, nullptr, {});
    node.places.push_back(&node.values[i]);
  }
  CUfunction function = kernel_of(module_, launch.kernel, launch.shared_bytes);
  CUgraphNodeParams settings{};
  settings.type = CU_GRAPH_NODE_TYPE_KERNEL;
  settings.kernel.func = function;
  settings.kernel.gridDimX = launch.blocks[0];
  settings.kernel.gridDimY = launch.blocks[1];
  settings.kernel.gridDimZ = launch.blocks[2];
  settings.kernel.blockDimX = launch.threads;
  settings.kernel.blockDimY = 1;
  settings.kernel.blockDimZ = 1;
  settings.kernel.sharedMemBytes = launch.shared_bytes;
  settings.kernel.kernelParams = node.places.data();
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
  node.settings.gridDimX = launch.blocks[0];
  node.settings.gridDimY = launch.blocks[1];
  node.settings.gridDimZ = launch.blocks[2];
  node.settings.blockDimX = launch.threads;
  node.settings.blockDimY = 1;
  node.settings.blockDimZ = 1;
  node.settings.sharedMemBytes = launch.shared_bytes;
  node.settings.kernelParams = node.places.data();
}

int Graph::launch(
    const mx::array& in, const mx::array& out, const std::shared_ptr<Buffers>& buffers, const std::vector<int>& numbers,
    CUstream stream) {
  const std::lock_guard<std::mutex> lock(mutex_);
  int changed = 0;
  for (auto& node : nodes_) {
    bool differs = false;
    for (size_t i = 0; i < node.parameters.size(); ++i) {
      const uint64_t now = value(node.parameters[i], &in, &out, buffers.get(), numbers);
      differs |= now != node.values[i];
      node.values[i] = now;
    }
    if (differs) {
      check(cuGraphExecKernelNodeSetParams(executable_, node.handle, &node.settings), "setting a launch anew");
      ++changed;
    }
  }
  turn_.take(stream);
  buffers->turn.take(stream);
  check(cuGraphLaunch(executable_, stream), "launching a graph");
  turn_.mark(stream);
  buffers->turn.mark(stream);
  return changed;
}

} // namespace zmlx
