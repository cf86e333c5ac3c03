/* An imitation of libcudart that forgives nothing. "GPU" memory is ordinary memory, poisoned when it is made and when it is
   freed, and never given back, so that what uses it too late is seen. Work on a stream happens when the stream is synchronized
   and not before: who forgets that reads poison or the last run. Every breach is counted and described. */
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEVICE, PINNED, STREAM, GRAPH, EXECUTABLE };
enum { OK = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, INVALID_HANDLE = 400, CAPTURE_INVALID = 901 };
typedef int (*work_fn)(int);
typedef struct { char *to; const char *from; size_t size; work_fn run; int id; } Work;
typedef struct { Work items[64]; int count; } Queue;
typedef struct { void *address; size_t size; int kind, live, mapped; } Owned;
typedef struct { Queue queue, captured; int capturing; } Stream;

static Owned owned[65536];
static int owned_count, breaches, calls, copies, fail_at = -1, fail_code, integrated;
static char last_breach[256];

static int breach(int code, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(last_breach, sizeof last_breach, format, arguments);
    va_end(arguments);
    breaches++;
    return code;
}
static int injected(void) { return calls++ == fail_at ? fail_code : OK; }
static Owned *find(const void *address, int kind) {
    for (int i = owned_count - 1; i >= 0; i--) if (owned[i].address == address && owned[i].kind == kind) return &owned[i];
    return NULL;
}
static Owned *holder(const void *address, size_t size) {
    for (int i = 0; i < owned_count; i++) {
        char *start = owned[i].address;
        if (owned[i].kind <= PINNED && (char *)address >= start && (char *)address + size <= start + owned[i].size) return &owned[i];
    }
    return NULL;
}
static void *own(void *address, size_t size, int kind) {
    owned[owned_count++] = (Owned){address, size, kind, 1, 0};
    return address;
}
static int make(void **out, size_t size, int kind) {
    int code = injected();
    if (code) return code;
    *out = own(malloc(size ? size : 1), size, kind);
    memset(*out, kind <= PINNED ? 0xCD : 0, size);
    return OK;
}
static int drop(void *address, int kind, const char *name) {
    if (!address) return OK;
    Owned *found = find(address, kind);
    if (!found) return breach(INVALID_VALUE, "%s of what was never made", name);
    if (!found->live) return breach(INVALID_VALUE, "%s twice", name);
    found->live = 0;
    if (kind <= PINNED) memset(address, 0xDD, found->size);
    return OK;
}
/* 0 when the bytes are live memory of that kind (or, for the GPU, mapped memory). */
static int check(const void *address, size_t size, int kind, const char *what) {
    Owned *found = holder(address, size);
    if (!found) return breach(INVALID_VALUE, "%s is outside every buffer", what);
    if (!found->live) return breach(INVALID_VALUE, "%s was freed", what);
    if (found->kind != kind && !(kind == DEVICE && found->mapped)) return breach(INVALID_VALUE, "%s is memory of the other side", what);
    return OK;
}
static Stream *stream_of(void *stream) {
    Owned *found = find(stream, STREAM);
    return found && found->live ? stream : NULL;
}
static int enqueue(void *handle, Work work) {
    Stream *stream = stream_of(handle);
    if (!stream) return breach(INVALID_HANDLE, handle ? "a stream that is gone" : "the default stream");
    Queue *queue = stream->capturing ? &stream->captured : &stream->queue;
    if (queue->count == 64) return breach(INVALID_VALUE, "a stream that is never synchronized");
    queue->items[queue->count++] = work;
    return OK;
}
static int perform(Work work) {
    if (work.run) return work.run(work.id);
    Owned *to = holder(work.to, work.size), *from = holder(work.from, work.size);
    if (!to || !from || !to->live || !from->live) return breach(INVALID_VALUE, "a copy after its memory was freed");
    memcpy(work.to, work.from, work.size);
    return OK;
}

int cudaRuntimeGetVersion(int *version) { *version = 12060; return injected(); }
int cudaDeviceGetAttribute(int *value, int attribute, int device) {
    *value = attribute == 18 ? integrated : attribute == 19;
    return injected();
}
int cudaMalloc(void **out, size_t size) { return make(out, size, DEVICE); }
int cudaFree(void *address) { return drop(address, DEVICE, "cudaFree"); }
int cudaHostAlloc(void **out, size_t size, unsigned flags) {
    int code = make(out, size, PINNED);
    if (!code) find(*out, PINNED)->mapped = (flags & 2) && integrated;
    return code;
}
int cudaFreeHost(void *address) { return drop(address, PINNED, "cudaFreeHost"); }
int cudaHostGetDevicePointer(void **out, void *host, unsigned flags) {
    Owned *found = find(host, PINNED);
    if (!found || !found->live || !found->mapped) return breach(INVALID_VALUE, "a device pointer of memory that is not mapped");
    *out = host;
    return injected();
}
int cudaMemcpyAsync(void *to, const void *from, size_t size, int kind, void *stream) {
    int code = injected();
    copies++;
    if (code) return code;
    if (kind != 1 && kind != 2) return breach(INVALID_VALUE, "a copy of kind %d", kind);
    if ((code = check(to, size, kind == 1 ? DEVICE : PINNED, "the target of a copy"))) return code;
    if ((code = check(from, size, kind == 1 ? PINNED : DEVICE, "the source of a copy"))) return code;
    return enqueue(stream, (Work){to, from, size, NULL, 0});
}
int cudaStreamCreateWithFlags(void **out, unsigned flags) { return make(out, sizeof(Stream), STREAM); }
int cudaStreamSynchronize(void *handle) {
    Stream *stream = stream_of(handle);
    if (!stream) return breach(INVALID_HANDLE, "synchronizing no stream");
    if (stream->capturing) return breach(CAPTURE_INVALID, "synchronizing while capturing");
    Queue queue = stream->queue;
    stream->queue.count = 0;
    int code = injected();
    for (int i = 0; i < queue.count; i++) {
        int failed = perform(queue.items[i]);
        if (!code) code = failed;
    }
    return code;
}
int cudaStreamDestroy(void *handle) {
    Stream *stream = stream_of(handle);
    if (stream && stream->queue.count) breach(0, "a stream destroyed with work on it");
    if (stream && stream->capturing) breach(0, "a stream destroyed while capturing");
    return drop(handle, STREAM, "cudaStreamDestroy");
}
int cudaStreamBeginCapture(void *handle, int mode) {
    int code = injected();
    if (code) return code;
    Stream *stream = stream_of(handle);
    if (!stream) return breach(INVALID_HANDLE, "capturing no stream");
    stream->capturing = 1;
    stream->captured.count = 0;
    return OK;
}
int cudaStreamEndCapture(void *handle, void **out) {
    Stream *stream = stream_of(handle);
    if (!stream || !stream->capturing) return breach(CAPTURE_INVALID, "the end of no capture");
    stream->capturing = 0;
    int code = make(out, sizeof(Queue), GRAPH);
    if (!code) *(Queue *)*out = stream->captured;
    return code;
}
int cudaGraphInstantiateWithFlags(void **out, void *graph, unsigned long long flags) {
    Owned *found = find(graph, GRAPH);
    if (!found || !found->live) return breach(INVALID_VALUE, "instantiating no graph");
    int code = make(out, sizeof(Queue), EXECUTABLE);
    if (!code) *(Queue *)*out = *(Queue *)graph;
    return code;
}
int cudaGraphLaunch(void *graph, void *stream) {
    Owned *found = find(graph, EXECUTABLE);
    if (!found || !found->live) return breach(INVALID_VALUE, "launching no graph");
    int code = injected();
    Queue *queue = graph;
    for (int i = 0; i < queue->count && !code; i++) code = enqueue(stream, queue->items[i]);
    return code;
}
int cudaGraphDestroy(void *graph) { return drop(graph, GRAPH, "cudaGraphDestroy"); }
int cudaGraphExecDestroy(void *graph) { return drop(graph, EXECUTABLE, "cudaGraphExecDestroy"); }
int cudaGetLastError(void) { return OK; }
const char *cudaGetErrorName(int code) {
    return code == OUT_OF_MEMORY ? "cudaErrorMemoryAllocation" : code == INVALID_HANDLE ? "cudaErrorInvalidResourceHandle" : "cudaErrorInvalidValue";
}
const char *cudaGetErrorString(int code) { return code == OUT_OF_MEMORY ? "out of memory" : "invalid argument"; }

/* For the imitation of TensorRT and for tests. */
int fake_enqueue(void *stream, work_fn run, int id) { return enqueue(stream, (Work){NULL, NULL, 0, run, id}); }
int fake_capturing(void *handle) { Stream *stream = stream_of(handle); return stream && stream->capturing; }
int fake_check(const void *address, size_t size) { return check(address, size, DEVICE, "a tensor of the engine"); }
int fake_breach(const char *what) { return breach(INVALID_VALUE, "%s", what); }
int fake_breaches(void) { return breaches; }
const char *fake_last_breach(void) { return last_breach; }
int fake_calls(void) { return calls; }
int fake_copies(void) { return copies; }
int fake_live(void) {
    int live = 0;
    for (int i = 0; i < owned_count; i++) live += owned[i].live;
    return live;
}
void fake_fail_at(int call, int code) { calls = 0; fail_at = call; fail_code = code; }
void fake_integrated(int is_integrated) { integrated = is_integrated; }
