// Runs a compiled kernel: lanes are fibres, threadgroups run one after another, buffers lie against guard pages.
// Everything runs twice, in ascending and in descending order of groups and lanes, over differently poisoned
// memory; a kernel whose output differs needs a barrier, or did not write all of its output.
#include "runtime.h"

#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <setjmp.h>
#include <string>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>
#include <vector>

extern "C" void shim_call(const shim::Buffer* buffers);
extern "C" const char* const shim_names[];
extern "C" const bool shim_whole_groups;
extern "C" const bool shim_lanes_may_leave;  // those that ended are not waited for at a barrier
extern "C" char __start_shim_group_memory[], __stop_shim_group_memory[];
__attribute__((used)) SHIM_GROUP_MEMORY char section_exists;

namespace shim {

Where where;
Launch launch;
bool fast_apart;

void fail(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  std::vfprintf(stderr, format, arguments);
  va_end(arguments);
  std::fputc('\n', stderr);
  std::_Exit(3);
}

namespace {

constexpr size_t STACK = 128 << 10;
constexpr unsigned char POISON[2] = {0xFF, 0xA5};
constexpr size_t MOST_GROUP_MEMORY = 32 << 10;  // of Apple's GPUs

enum class State { running, at_barrier, at_simd, gone };

struct Fibre {
  ucontext_t beginning;
  jmp_buf resumption;
  bool begun;
  Where where;
  State state;
  const char* what;
  int line;
  uint64_t value;
};

std::vector<Fibre> fibres;
std::vector<Meeting> meetings;
std::unique_ptr<char[]> stacks;
size_t stacked = 0;
jmp_buf scheduler;
Fibre* current;
const Buffer* arguments;

void stop(State state, const char* what, int line) {
  current->state = state;
  current->what = what;
  current->line = line;
  if (_setjmp(current->resumption) == 0) _longjmp(scheduler, 1);
}

void enter() {
  shim_call(arguments);
  current->state = State::gone;
  _longjmp(scheduler, 1);
}

// Only a lane's beginning needs a context: switching contexts costs a system call each time, a jump costs none.
void resume(Fibre& lane) {
  current = &lane;
  where = lane.where;
  if (_setjmp(scheduler) != 0) return;
  if (lane.begun) _longjmp(lane.resumption, 1);
  lane.begun = true;
  setcontext(&lane.beginning);
}

bool release_simdgroup(uint first, uint end) {
  Fibre* waiting = nullptr;
  for (uint i = first; i < end; ++i)
    if (fibres[i].state == State::at_simd) waiting = &fibres[i];
  if (waiting == nullptr) return false;
  Meeting& met = meetings[first / SIMD];
  met = {};
  for (uint i = first; i < end; ++i) {
    Fibre& lane = fibres[i];
    if (lane.state != State::at_simd)
      fail("line %d: diverging %s: lane %u is not there", waiting->line, waiting->what, i);
    if (lane.line != waiting->line || lane.what != waiting->what)
      fail("line %d: diverging %s: lane %u is at line %d", waiting->line, waiting->what, i, lane.line);
    met.value[i - first] = lane.value;
    met.present[i - first] = true;
    lane.state = State::running;
  }
  return true;
}

bool release_barrier() {
  Fibre* waiting = nullptr;
  for (Fibre& lane : fibres)
    if (lane.state == State::at_barrier) waiting = &lane;
  if (waiting == nullptr) return false;
  for (Fibre& lane : fibres) {
    if (lane.state == State::gone && shim_lanes_may_leave) continue;
    if (lane.state != State::at_barrier)
      fail("line %d: diverging barrier: lane %u is not there", waiting->line, lane.where.index);
    if (lane.line != waiting->line)
      fail("line %d: diverging barrier: lane %u is at line %d", waiting->line, lane.where.index, lane.line);
    lane.state = State::running;
  }
  return true;
}

void run_group(uint3 group, bool descending) {
  memset(__start_shim_group_memory, POISON[descending], __stop_shim_group_memory - __start_shim_group_memory);
  const uint3 size = launch.group_size;
  fibres.clear();
  for (uint z = 0; z < size.z; ++z)
    for (uint y = 0; y < size.y; ++y)
      for (uint x = 0; x < size.x; ++x) {
        const uint3 at = {group.x * size.x + x, group.y * size.y + y, group.z * size.z + z};
        const bool exists = at.x < launch.threads.x && at.y < launch.threads.y && at.z < launch.threads.z;
        if (!exists && !shim_whole_groups) continue;
        Fibre lane{};
        lane.where = {at, group, {x, y, z}, uint(fibres.size())};
        fibres.push_back(lane);
      }
  const uint lanes = fibres.size();
  meetings.resize(lanes / SIMD + 1);
  if (stacked < lanes) {
    // Not a vector, which writes zeros over every page; a lane needs few of its own.
    stacks.reset(new char[STACK * lanes]);
    stacked = lanes;
  }
  for (uint i = 0; i < lanes; ++i) {
    ucontext_t& context = fibres[i].beginning;
    getcontext(&context);
    context.uc_stack.ss_sp = &stacks[STACK * i];
    context.uc_stack.ss_size = STACK;
    makecontext(&context, enter, 0);
  }
  for (bool released = true; released;) {
    for (uint i = 0; i < lanes; ++i) {
      Fibre& lane = fibres[descending ? lanes - 1 - i : i];
      if (lane.state == State::running) resume(lane);
    }
    released = false;
    for (uint first = 0; first < lanes; first += SIMD)
      released |= release_simdgroup(first, first + SIMD < lanes ? first + SIMD : lanes);
    if (!released) released = release_barrier();
  }
}

void run_grid(bool descending) {
  const uint3 groups = launch.groups;
  const uint all = groups.x * groups.y * groups.z;
  for (uint i = 0; i < all; ++i) {
    const uint at = descending ? all - 1 - i : i;
    run_group({at % groups.x, at / groups.x % groups.y, at / groups.x / groups.y}, descending);
  }
}

// Bytes between two guard pages: they end where the second begins, or start where the first ends.
struct Guarded {
  char *pages, *data;
  size_t mapped, room, bytes;

  Guarded(size_t size, bool at_start, unsigned char poison) : bytes(size) {
    const size_t page = sysconf(_SC_PAGESIZE);
    room = (size + page - 1) / page * page;
    mapped = room + 2 * page;
    pages = static_cast<char*>(mmap(nullptr, mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    mprotect(pages + page, room, PROT_READ | PROT_WRITE);
    memset(pages + page, poison, room);
    data = pages + page + (at_start ? 0 : room - size);
  }
};

std::vector<Guarded> guarded;

void out_of_bounds(int, siginfo_t* info, void*) {
  const char* at = static_cast<char*>(info->si_addr);
  for (size_t i = 0; i < guarded.size(); ++i)
    if (at >= guarded[i].pages && at < guarded[i].pages + guarded[i].mapped)
      fail("out of bounds: byte %ld of %s, which has %zu", long(at - guarded[i].data), shim_names[i], guarded[i].bytes);
  fail("out of bounds: an address outside every buffer");
}

template <typename T>
T read(FILE* file) {
  T value;
  if (std::fread(&value, sizeof(T), 1, file) != 1) fail("the request ends early");
  return value;
}

struct Argument {
  std::vector<int32_t> shape;
  std::vector<int64_t> strides;
  std::string content;
  size_t bytes;
};

Argument read_argument(FILE* file, bool input) {
  Argument argument;
  argument.shape.resize(read<int32_t>(file));
  for (int32_t& size : argument.shape) size = read<int32_t>(file);
  // The strides are those of the buffer of which the argument is the beginning along each axis.
  std::vector<int32_t> buffer(argument.shape.size());
  for (int32_t& size : buffer) size = read<int32_t>(file);
  argument.strides.resize(buffer.size());
  int64_t stride = 1;
  for (size_t i = buffer.size(); i-- > 0; stride *= buffer[i]) argument.strides[i] = stride;
  argument.bytes = read<int64_t>(file);
  argument.content.resize(input ? argument.bytes : 0);
  if (input && argument.bytes > 0 && std::fread(&argument.content[0], argument.bytes, 1, file) != 1)
    fail("the request ends early");
  return argument;
}

}  // namespace

void barrier(int line) { stop(State::at_barrier, "barrier", line); }

const Meeting& meet(const char* what, uint64_t value, int line) {
  current->value = value;
  stop(State::at_simd, what, line);
  return meetings[where.index / SIMD];
}

}  // namespace shim

int main(int, char** paths) {
  using namespace shim;
  char signal_stack[1 << 16];
  stack_t alternative = {};
  alternative.ss_sp = signal_stack;
  alternative.ss_size = sizeof(signal_stack);
  sigaltstack(&alternative, nullptr);
  struct sigaction action = {};
  action.sa_sigaction = out_of_bounds;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigaction(SIGSEGV, &action, nullptr);

  const size_t group_memory = __stop_shim_group_memory - __start_shim_group_memory - sizeof(section_exists);
  if (!shim_whole_groups && group_memory > MOST_GROUP_MEMORY)
    fail("%zu bytes of threadgroup memory; a GPU has %zu", group_memory, MOST_GROUP_MEMORY);
  FILE* file = std::fopen(paths[1], "rb");
  const int inputs = read<int32_t>(file), outputs = read<int32_t>(file);
  fast_apart = read<int32_t>(file) != 0;
  launch.threads = read<uint3>(file);
  launch.group_size = read<uint3>(file);
  auto up = [](uint a, uint b) { return (a + b - 1) / b; };
  launch.groups = {up(launch.threads.x, launch.group_size.x), up(launch.threads.y, launch.group_size.y),
                   up(launch.threads.z, launch.group_size.z)};
  std::vector<Argument> all;
  for (int i = 0; i < inputs + outputs; ++i) all.push_back(read_argument(file, i < inputs));
  std::fclose(file);

  std::vector<std::string> first;
  file = std::fopen(paths[2], "wb");
  for (bool descending : {false, true}) {
    std::vector<Buffer> buffers;
    guarded.clear();
    for (const Argument& argument : all) {
      Guarded memory(argument.bytes, descending, POISON[descending]);
      memcpy(memory.data, argument.content.data(), argument.content.size());
      guarded.push_back(memory);
      buffers.push_back({memory.data, argument.shape.data(), argument.strides.data(), int(argument.shape.size())});
    }
    arguments = buffers.data();
    run_grid(descending);
    for (int i = inputs; i < inputs + outputs; ++i) {
      const std::string bytes(guarded[i].data, guarded[i].bytes);
      if (!descending) {
        first.push_back(bytes);
        std::fwrite(bytes.data(), 1, bytes.size(), file);
      } else if (bytes != first[i - inputs]) {
        size_t at = 0;
        while (bytes[at] == first[i - inputs][at]) ++at;
        fail("byte %zu of %s depends on the order of lanes or was never written", at, shim_names[i]);
      }
    }
  }
  std::fclose(file);
}
