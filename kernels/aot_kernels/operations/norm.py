"""What is promised of norms, on whatever device the tensors are.

On a CPU shipped libraries are called. On a GPU shipped Triton kernels are launched, through Triton
where it is installed, else through the artifact's own loader. A device that nothing is shipped for
is served by Triton's compiler, or in strict mode (`AOT_RUNTIME=strict`) not at all.
"""

import torch

from aot_kernels.tensors import check


def rmsnorm(x: torch.Tensor, weight: torch.Tensor, eps: float = 1e-6) -> torch.Tensor:
    """`x * rsqrt(mean(x ** 2) + eps) * weight` over the last dimension: (..., N) and (N,).

    bf16, fp16 or fp32, both of one dtype; computed in fp32, rounded once. Rows may lie any stride
    apart; the result is contiguous. Uses up to `torch.get_num_threads()` threads of a CPU. On a
    GPU, operands are copied where their pointers are not aligned to 16 bytes, or N or the stride
    of the rows is no multiple of 16.

    Raises TypeError for dtypes and devices, ValueError for shapes, `_aot.KernelNotFound` where the
    package was built without a variant.
    """
    check("rmsnorm", x=x, weight=weight)
    _check_rows("rmsnorm", x, weight)
    if x.is_cuda:
        from aot_kernels.gpu.rmsnorm import rmsnorm as on_gpu

        return on_gpu(x, weight, eps)[0]
    from aot_kernels.cpu.rmsnorm import rmsnorm as on_cpu

    return on_cpu(x, weight, eps)


def add_rmsnorm(
    x: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor, eps: float = 1e-6
) -> tuple[torch.Tensor, torch.Tensor]:
    """`rmsnorm(x + residual, weight, eps)`, and the sum itself, as it is stored: rounded.

    `residual` has the shape of `x`. One kernel on a GPU. Else as `rmsnorm`.
    """
    check("add_rmsnorm", x=x, residual=residual, weight=weight)
    if residual.shape != x.shape:
        given = f"x {tuple(x.shape)}, residual {tuple(residual.shape)}"
        raise ValueError(f"add_rmsnorm: expected x and residual of one shape; got {given}")
    _check_rows("add_rmsnorm", x, weight)
    if x.is_cuda:
        from aot_kernels.gpu.rmsnorm import rmsnorm as on_gpu

        return on_gpu(x, weight, eps, residual)
    from aot_kernels.cpu.rmsnorm import rmsnorm as on_cpu

    total = (x + residual).contiguous()
    return on_cpu(total, weight, eps), total


def _check_rows(operation: str, x: torch.Tensor, weight: torch.Tensor) -> None:
    if x.dim() == 0 or tuple(weight.shape) != (x.shape[-1],):
        given = f"x {tuple(x.shape)}, weight {tuple(weight.shape)}"
        raise ValueError(f"{operation}: expected x (..., N) and weight (N,); got {given}")
