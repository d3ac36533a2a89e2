#include "blindsight/aes_portable.hpp"
#include "blindsight/ot_kernels.hpp"

namespace bs {
const OtKernels ot_portable = table_of<PortableBackend>();
}
