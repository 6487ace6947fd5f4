"""Variables of Triton's: which of them shape what it makes, and which files they name.

Its knobs.py, and names in libtriton, tell most of them. A name of its own that is not known here
is taken to matter.
"""

import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping

from aot_build.core.target import Target

OTHERS = (
    "ALLOW_LHS_TMEM_LAYOUT_CONVERSION", "AMDGCN_ANALYZE_SMALL_TENSOR_RANGE",
    "AMDGCN_SCALARIZE_PACKED_FOPS", "AMDGCN_USE_BUFFER_ATOMICS", "AMDGCN_USE_BUFFER_OPS",
    "DISABLE_LLVM_OPT", "DISABLE_MMA_V3", "DISABLE_MMA_V5", "DISABLE_PTXAS_OPT",
    "LLVM_EXTRACT_DI_LOCAL_VARIABLES", "LLVM_OVERRIDE_PRODUCER", "LLVM_PASS_PLUGIN_PATH",
    "PTXAS_OPTIONS", "USE_IR_LOC",
)  # fmt: skip
"""What changes its output, of names that do not begin like its own."""
OWN = re.compile(r"TRITON_\w+")
UNSET_ENV = (
    "TRITON_ALWAYS_COMPILE", "TRITON_CACHE_AUTOTUNING", "TRITON_CACHE_MANAGER",
    "TRITON_INTERPRET", "TRITON_KERNEL_DUMP", "TRITON_KERNEL_OVERRIDE", "TRITON_OVERRIDE_DIR",
    "TRITON_REMOTE_CACHE_BACKEND",
)  # fmt: skip
"""What would have it do something else than compile."""
SET_BY_US = (
    "TRITON_CACHE_DIR", "TRITON_DEFAULT_FP_FUSION", "TRITON_DISABLE_LINE_INFO",
    "TRITON_STORE_BINARY_ONLY",
)  # fmt: skip
ONLY_TELLS = (
    "TRITON_DUMP_DIR", "TRITON_DUMP_PTXAS_LOG", "TRITON_ENABLE_LLVM_DEBUG",
    "TRITON_ENABLE_PYTHON_STACKTRACE", "TRITON_FRONT_END_DEBUGGING", "TRITON_HOME",
    "TRITON_LLVM_DEBUG_ONLY", "TRITON_PARTITION_SCHEDULING_DUMP_DATA_ONLY",
    "TRITON_PARTITION_SCHEDULING_DUMP_LOOP_ONLY", "TRITON_PARTITION_SCHEDULING_ENABLE_DUMP_DOT",
    "TRITON_PLUGIN_VERSION_CHECK", "TRITON_PRINT_AUTOTUNING", "TRITON_REDIS_HOST",
    "TRITON_REDIS_KEY_FORMAT", "TRITON_REDIS_PORT", "TRITON_REPRODUCER_PATH",
)  # fmt: skip
"""Where caches and dumps go, and what is said on the way."""
NOT_WHILE_COMPILING = (
    "TRITON_CUDACRT_PATH", "TRITON_CUDART_PATH", "TRITON_CUOBJDUMP_PATH",
    "TRITON_CUPTI_LIB_BLACKWELL_PATH", "TRITON_CUPTI_LIB_PATH", "TRITON_ENABLE_HW_TRACE",
    "TRITON_ENABLE_NVTX", "TRITON_HSA_RUNTIME_LIBRARY", "TRITON_HSA_RUNTIME_PATH",
    "TRITON_LIBCUDA_PATH", "TRITON_LIBHIP_PATH", "TRITON_NVDISASM_PATH",
    "TRITON_PROFILE_BUFFER_SIZE", "TRITON_PROFILE_METRIC_BUFFER_SIZE", "TRITON_PROTON_DISABLE",
    "TRITON_ROCPROFILER_SDK_INCLUDE_PATH", "TRITON_ROCPROFILER_SDK_LIBRARY",
    "TRITON_ROCPROFILER_SDK_LIB_PATH", "TRITON_ROCTRACER_LIBRARY", "TRITON_ROCTRACER_LIB_PATH",
    "TRITON_ROCTX_LIBRARY", "TRITON_ROCTX_LIB_PATH",
)  # fmt: skip
"""What launches, profiles and disassembles."""
_DUMPS = re.compile(r"\w+_ENABLE_(?:DUMP|TIMING|DIAGNOSTICS)|MLIR_DUMP_PATH")
"""What of MLIR and LLVM says what they do."""
UNKEYED = frozenset({*UNSET_ENV, *SET_BY_US, *ONLY_TELLS, *NOT_WHILE_COMPILING})
KNOWN = (
    *OTHERS, "TRITON_ALLOW_NON_CONSTEXPR_GLOBALS", "TRITON_AMD_CODEGEN_PATH",
    "TRITON_CONSAN_INIT_ALLOCATIONS", "TRITON_DEBUG", "TRITON_DEFAULT_BACKEND", "TRITON_DUMP_MIR",
    "TRITON_ENABLE_ASAN", "TRITON_ENABLE_EXPERIMENTAL_CONSAN", "TRITON_F32_DEFAULT",
    "TRITON_FORCE_DISABLE_FP_FUSION", "TRITON_FPSAN_HOMOMORPHIC_CASTS",
    "TRITON_HIP_USE_ASYNC_COPY", "TRITON_HIP_USE_BLOCK_PINGPONG",
    "TRITON_HIP_USE_COEXEC_SCHEDULER", "TRITON_HIP_USE_EXPERT_SCHEDULING",
    "TRITON_HIP_USE_IN_THREAD_TRANSPOSE", "TRITON_INSTRUMENTATION_MODE", "TRITON_LIBDEVICE_PATH",
    "TRITON_MOCK_PTX_VERSION", "TRITON_OVERRIDE_ARCH", "TRITON_PLUGIN_PATHS",
    "TRITON_PTXAS_BLACKWELL_PATH", "TRITON_PTXAS_PATH", "TRITON_SWAP_MIR",
    "TRITON_SWAP_MIR_ENABLE_MISCHED",
)  # fmt: skip
"""Keyed where they are set; watched where they are not."""
ONE_MAKER = {
    "cuda": re.compile(r".*PTXAS.*|NVPTX_.*|TRITON_(LIBDEVICE_PATH|MOCK_PTX_VERSION)"),
    "hip": re.compile(r"AMDGCN_.*|TRITON_(HIP|AMD)_.*|TRITON_\w*MIR\w*"),
}
"""What only code for GPUs of that kind is shaped by."""


def counted(looked_up: Iterable[str]) -> tuple[str, ...]:
    """Of the variables that Triton was seen to look up, those that may change what it makes."""
    return tuple(n for n in looked_up if n not in UNKEYED and not _DUMPS.fullmatch(n))


def is_keyed(name: str, target: Target) -> bool:
    """Whether a variable may change what Triton makes for a target."""
    if name in UNKEYED or not (name in OTHERS or OWN.fullmatch(name)):
        return False
    return not any(m.fullmatch(name) for kind, m in ONE_MAKER.items() if kind != target.kind)


def keyed(env: Mapping[str, str], target: Target) -> dict[str, str]:
    """What of an environment may change what Triton makes. Unset and empty are not the same to it.

    Looks names up that are not set as well: whoever notes look-ups sees them coming.
    """
    names = {*KNOWN, *env}
    return {n: env[n] for n in sorted(names) if is_keyed(n, target) and env.get(n) is not None}


def files(named: Mapping[str, str], path: str) -> Iterator[str]:
    """Absolute paths of the files that variables name: an assembler, a plug-in, device code. A bare
    name is looked up on `path`, as Triton has its programs looked up."""
    for name, value in sorted(named.items()):
        for part in filter(None, re.split(r"[:;,]", value)):
            found = shutil.which(part, path=path) if _is_program(name, part) else part
            if found and os.path.isfile(found):
                yield os.path.abspath(found)


def _is_program(name: str, part: str) -> bool:
    return name.endswith("_PATH") and os.sep not in part
