"""Each operation once, forward and backward, on tensors of a declared shape."""

import torch
from liger_kernel import ops


def tensor(dtype: str, *shape: int) -> torch.Tensor:
    return torch.ones(shape, dtype=getattr(torch, dtype), device="cuda", requires_grad=True)


def rms_norm(dtype: str, rows: int, columns: int) -> None:
    y = ops.LigerRMSNormFunction.apply(tensor(dtype, rows, columns), tensor(dtype, columns), 1e-6)
    y.sum().backward()


def swiglu(dtype: str, rows: int, columns: int) -> None:
    a, b = tensor(dtype, rows, columns), tensor(dtype, rows, columns)
    ops.LigerSiLUMulFunction.apply(a, b).sum().backward()


def rope(dtype: str, tokens: int, heads: int, kv_heads: int, width: int) -> None:
    q, k = tensor(dtype, 1, heads, tokens, width), tensor(dtype, 1, kv_heads, tokens, width)
    cos, sin = (tensor(dtype, 1, tokens, width).detach() for _ in range(2))
    q, k = ops.LigerRopeFunction.apply(q, k, cos, sin)
    (q.sum() + k.sum()).backward()


def cross_entropy(dtype: str, tokens: int, words: int) -> None:
    logits = tensor(dtype, tokens, words) * 1
    target = torch.zeros(tokens, dtype=torch.int64, device="cuda")
    loss, *_ = ops.LigerCrossEntropyFunction.apply(logits, target, None)
    (loss * 2).backward()  # a gradient of one takes no kernel
