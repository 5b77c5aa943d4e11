// A stand-in for libnvinfer, libnvonnxparser and libnvinfer_plugin that knows none of their classes.
//
// NVIDIA's own Python bindings reach TensorRT through nine C functions and through virtual tables. Here every object is
// {vptr, pImpl}, and both lead to one table of like entries: an entry tells a listener (Python, through ctypes) which
// object was called at which slot with which arguments, and returns what the listener answers. What a slot means differs
// between versions; the listener finds out by calling each method once (see slots.py).
//
// x86-64 System V and the Itanium C++ ABI only: integer arguments and `this` come in rdi, rsi, rdx, rcx, r8 and r9, larger
// ones on the stack, and a struct larger than two words is returned through a pointer that comes before `this`.

#include <array>
#include <cstddef>
#include <cstdint>
#include <typeinfo>
#include <utility>

namespace {

constexpr int kSlots = 256;
constexpr size_t kObjects = 1 << 16;

struct Interface {
    virtual ~Interface() = default;
};

// The bindings read `mImpl` of some objects and call the object itself of others; nothing else lies in an object.
struct Object {
    void* const* vptr;
    Object* impl;
};

// What lies on the stack where a call has arguments that fit no register: `Weights` is three words.
struct OnStack {
    uint64_t words[3];
};

using Listener = uint64_t (*)(uint64_t object, int slot, uint64_t result, uint64_t a, uint64_t b, uint64_t c, uint64_t d,
                              uint64_t stack);

Listener listener = nullptr;
Object objects[kObjects];
size_t born = 0;

bool isObject(uint64_t address) {
    auto const first = reinterpret_cast<uint64_t>(objects);
    return address >= first && address < first + born * sizeof(Object);
}

uint64_t called(int slot, uint64_t rdi, uint64_t rsi, uint64_t rdx, uint64_t rcx, uint64_t r8, uint64_t r9,
                OnStack const& stack) {
    if (listener == nullptr) {
        return 0;  // Python has gone: the bindings are deleting what is left
    }
    auto const rest = reinterpret_cast<uint64_t>(&stack);
    if (!isObject(rdi) && isObject(rsi)) {  // a struct is returned: its place comes before `this`
        listener(rsi, slot, rdi, rdx, rcx, r8, r9, rest);
        return rdi;
    }
    return listener(rdi, slot, 0, rsi, rdx, rcx, r8, rest);
}

template <int slot>
uint64_t entry(uint64_t rdi, uint64_t rsi, uint64_t rdx, uint64_t rcx, uint64_t r8, uint64_t r9, OnStack stack) {
    return called(slot, rdi, rsi, rdx, rcx, r8, r9, stack);
}

// A virtual table as the ABI lays it out: pybind11 asks returned pointers for their type.
struct Table {
    ptrdiff_t toTop;
    std::type_info const* type;
    std::array<void*, kSlots> entries;
};

template <int... slots>
Table table(std::integer_sequence<int, slots...>) {
    return {0, &typeid(Interface), {reinterpret_cast<void*>(&entry<slots>)...}};
}

Table const shared = table(std::make_integer_sequence<int, kSlots>());

// The nine functions are told apart by a negative slot of no object.
enum Function { kBuilder = -1, kRuntime = -2, kRefitter = -3, kParser = -4, kParserRefitter = -5 };

void* made(Function function, void* first, void* second) {
    if (listener == nullptr) {
        return nullptr;
    }
    return reinterpret_cast<void*>(
        listener(0, function, 0, reinterpret_cast<uint64_t>(first), reinterpret_cast<uint64_t>(second), 0, 0, 0));
}

}  // namespace

extern "C" {

// For the listener ---------------------------------------------------------------------------------------------------

void fake_listen(Listener next) { listener = next; }

void* fake_object() {
    if (born == kObjects) {
        return nullptr;
    }
    Object& object = objects[born++];
    object = {shared.entries.data(), &object};
    return &object;
}

// Call a virtual function of an object of the bindings', as TensorRT calls a logger or a progress monitor.
uint64_t fake_call(void* object, int slot, uint64_t a, uint64_t b, uint64_t c) {
    using Method = uint64_t (*)(void*, uint64_t, uint64_t, uint64_t);
    return reinterpret_cast<Method>((*static_cast<void***>(object))[slot])(object, a, b, c);
}

// For the bindings ---------------------------------------------------------------------------------------------------

void* createInferBuilder_INTERNAL(void* logger, int) { return made(kBuilder, logger, nullptr); }
void* createInferRuntime_INTERNAL(void* logger, int) { return made(kRuntime, logger, nullptr); }
void* createInferRefitter_INTERNAL(void* engine, void* logger, int) { return made(kRefitter, logger, engine); }
void* createNvOnnxParser_INTERNAL(void* network, void* logger, int) { return made(kParser, logger, network); }
void* createNvOnnxParserRefitter_INTERNAL(void* refitter, void* logger, int) {
    return made(kParserRefitter, logger, refitter);
}
int getNvOnnxParserVersion() { return 0; }
void* getBuilderPluginRegistry() { return fake_object(); }
void* getPluginRegistry() { return fake_object(); }
bool initLibNvInferPlugins() { return true; }
}
