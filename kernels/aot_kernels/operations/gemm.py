"""What is promised of matrix products, on whatever device the tensors are.

On a CPU shipped libraries are called. On a GPU shipped Triton kernels are launched, through Triton
where it is installed, else through the artifact's own loader. A device that nothing is shipped for
is served by Triton's compiler, or in strict mode (`AOT_RUNTIME=strict`) not at all.
"""

import torch

from aot_kernels.tensors import check


def gemm(a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """`a @ b + bias`: (M, K) by (K, N) to (M, N), `bias` of (N,), all of one dtype.

    bf16, fp16 or fp32; multiplied without rounding (no tf32), summed in fp32, rounded once. Any
    strides. K = 0 gives the bias, or zeros. Repeatable: the order of summation depends on shapes,
    strides and the device, on a CPU not on the number of its threads, which are
    `torch.get_num_threads()`.

    On a GPU, operands are copied where their pointers are not aligned to 16 bytes, their longer
    strides or K no multiples of 16, or their layout is one that nothing is shipped for; what has
    one stride of 1 and is aligned is not. K and N are below 2 ** 23 there.

    Raises TypeError for dtypes and devices, ValueError for shapes, `_aot.KernelNotFound` where the
    package was built without a variant.
    """
    check("gemm", a=a, b=b, **({} if bias is None else {"bias": bias}))
    left, right = tuple(a.shape), tuple(b.shape)
    fits = len(left) == 2 == len(right) and left[1] == right[0]
    if not fits or (bias is not None and tuple(bias.shape) != right[1:]):
        given = f"a {left}, b {right}" + ("" if bias is None else f", bias {tuple(bias.shape)}")
        raise ValueError(f"gemm: expected a (M, K), b (K, N) and bias (N,); got {given}")
    if a.is_cuda:
        from aot_kernels.gpu.gemm import gemm as on_gpu

        return on_gpu(a, b, bias)
    from aot_kernels.cpu.gemm import gemm as on_cpu

    return on_cpu(a, b, bias)
