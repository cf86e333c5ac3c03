/* An imitation of libcuda.so.1: cuInit answers FAKE_CUDA_INIT, and there are FAKE_CUDA_GPUS boards called Orin. */
#include <stdlib.h>
#include <string.h>

static int setting(const char *name, int otherwise) { return getenv(name) ? atoi(getenv(name)) : otherwise; }
int cuInit(unsigned flags) { return setting("FAKE_CUDA_INIT", 0); }
int cuDeviceGetCount(int *count) { *count = setting("FAKE_CUDA_GPUS", 1); return 0; }
int cuDriverGetVersion(int *version) { *version = 12060; return 0; }
int cuDeviceGet(int *device, int index) { *device = index; return 0; }
int cuDeviceGetName(char *name, int size, int device) { strncpy(name, "Orin", size); return 0; }
int cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = 8ul << 30; return 0; }
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    *value = attribute == 75 ? 8 : attribute == 76 ? 7 : attribute == 16 ? 8 : 1;
    return 0;
}
