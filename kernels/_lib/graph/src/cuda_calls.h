#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <type_traits>
#include <vector>

#include <cuda.h>

namespace zmlx {

struct DestroyGraph {
  void operator()(CUgraph graph) const {
    cuGraphDestroy(graph);
  }
};
using OwnGraph = std::unique_ptr<std::remove_pointer_t<CUgraph>, DestroyGraph>;

// Captures what `launch` gives to the stream.
OwnGraph captured(CUstream stream, const std::function<void()>& launch);

// What launches are, whatever they are launched with: kernels, their clusters and how they wait for each other.
using Kind = std::vector<uint64_t>;

// The node that was captured last on a stream.
CUgraphNode last_captured(CUstream stream);

// The `count` nodes that end with `last`, each of which waits for the one before it alone.
std::vector<CUgraphNode> run_of(CUgraphNode last, size_t count);

// What kind of nodes such a run has, all of which have to be launches of kernels.
Kind kind_of(const std::vector<CUgraphNode>& run);
// How many nodes a run of that kind has.
size_t length_of(const Kind& kind);

// Has a node of an executable graph launch what `from` does, a node of its kind in another graph.
void set(CUgraphExec executable, CUgraphNode node, CUgraphNode from);

} // namespace zmlx
