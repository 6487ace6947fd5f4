"""What is launched while the kernels are built."""

import torch

from triton_captured.kern import row_sum as launch


def row_sum(dtype: str, rows: int, columns: int) -> None:
    launch(torch.empty(rows, columns, dtype=getattr(torch, dtype), device="cuda"))
