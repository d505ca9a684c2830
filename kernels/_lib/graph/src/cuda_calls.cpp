#include "cuda_calls.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "cuda_graph.h"

namespace zmlx {

namespace {

// What a node waits for, with the type of the edge; it has to be one node.
std::pair<CUgraphNode, CUgraphEdgeData> before(CUgraphNode node) {
  size_t count = 0;
  check(cuGraphNodeGetDependencies(node, nullptr, nullptr, &count), "a node's dependencies");
  if (count != 1) {
    throw std::runtime_error("launches of a product do not follow each other");
  }
  std::pair<CUgraphNode, CUgraphEdgeData> found{};
  check(cuGraphNodeGetDependencies(node, &found.first, &found.second, &count), "a node's dependencies");
  return found;
}

constexpr size_t WORDS = 3; // of a node in a kind

} // namespace

OwnGraph captured(CUstream stream, const std::function<void()>& launch) {
  check(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_RELAXED), "beginning a capture");
  CUgraph graph = nullptr;
  try {
    launch();
  } catch (...) {
    cuStreamEndCapture(stream, &graph);
    if (graph != nullptr) {
      cuGraphDestroy(graph);
    }
    throw;
  }
  check(cuStreamEndCapture(stream, &graph), "ending a capture");
  return OwnGraph(graph);
}

CUgraphNode last_captured(CUstream stream) {
  CUstreamCaptureStatus status{};
  cuuint64_t id = 0;
  CUgraph graph = nullptr;
  const CUgraphNode* nodes = nullptr;
  const CUgraphEdgeData* edges = nullptr;
  size_t count = 0;
  check(cuStreamGetCaptureInfo(stream, &status, &id, &graph, &nodes, &edges, &count), "what a stream captures");
  if (status != CU_STREAM_CAPTURE_STATUS_ACTIVE || count != 1) {
    throw std::runtime_error("a captured launch is not found again");
  }
  return nodes[0];
}

std::vector<CUgraphNode> run_of(CUgraphNode last, size_t count) {
  std::vector<CUgraphNode> run{last};
  while (run.size() < count) {
    run.push_back(before(run.back()).first);
  }
  std::reverse(run.begin(), run.end());
  return run;
}

Kind kind_of(const std::vector<CUgraphNode>& run) {
  Kind kind;
  for (size_t i = 0; i < run.size(); ++i) {
    CUgraphNodeType type{};
    check(cuGraphNodeGetType(run[i], &type), "a node's type");
    if (type != CU_GRAPH_NODE_TYPE_KERNEL) {
      throw std::runtime_error("a product is more than launches of kernels");
    }
    CUDA_KERNEL_NODE_PARAMS launch{};
    check(cuGraphKernelNodeGetParams(run[i], &launch), "a node's launch");
    CUlaunchAttributeValue attribute{};
    check(
        cuGraphKernelNodeGetAttribute(run[i], CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION, &attribute), "a node's cluster");
    const auto& cluster = attribute.clusterDim;
    kind.push_back(reinterpret_cast<uint64_t>(launch.func) ^ reinterpret_cast<uint64_t>(launch.kern));
    kind.push_back(static_cast<uint64_t>(cluster.x) << 40 | static_cast<uint64_t>(cluster.y) << 20 | cluster.z);
    const auto edge = i > 0 ? before(run[i]).second : CUgraphEdgeData{};
    kind.push_back(static_cast<uint64_t>(edge.from_port) << 16 | static_cast<uint64_t>(edge.to_port) << 8 | edge.type);
  }
  return kind;
}

size_t length_of(const Kind& kind) {
  return kind.size() / WORDS;
}

void set(CUgraphExec executable, CUgraphNode node, CUgraphNode from) {
  CUDA_KERNEL_NODE_PARAMS launch{};
  check(cuGraphKernelNodeGetParams(from, &launch), "a node's launch");
  if (launch.kernelParams == nullptr && launch.extra == nullptr) {
    throw std::runtime_error("a product's launch does not say its parameters");
  }
  check(cuGraphExecKernelNodeSetParams(executable, node, &launch), "setting a launch anew");
}

} // namespace zmlx
