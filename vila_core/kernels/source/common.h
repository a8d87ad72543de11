// What every instruction set's file includes before it chooses the set: so that nothing of the system's headers is
// compiled for it, which the linker might then take for all.
#pragma once

#include <omp.h>

#include <cmath>
#include <cstdint>
#include <cstring>

#include "kernels.h"
