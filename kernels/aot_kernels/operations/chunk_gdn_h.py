"""What is promised of the state of gated delta nets, on whatever device the tensors are.

Where nothing is shipped for a device, what `operations/gemm.py` says holds here too.
"""

import torch

from aot_kernels.tensors import DTYPES, check_dtype, check_places


def chunk_gdn_h(
    k: torch.Tensor,
    w: torch.Tensor,
    u: torch.Tensor,
    g: torch.Tensor,
    initial_state: torch.Tensor | None = None,
    final_state: bool = False,
    cu_seqlens: torch.Tensor | None = None,
    chunk: int = 64,
    snapshot_dtype: torch.dtype | None = None,
    state_dtype: torch.dtype = torch.float32,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """The states before each chunk of tokens, the new values, and the states after the last.

    `k` (B, T, Hg, K), `w` (B, T, H, K) and `u` (B, T, H, V) are of one dtype, bf16, fp16 or fp32;
    H / Hg value heads in a row share a key head. `g` (B, T, H), fp32, is the logarithm (to base e)
    of the gates, summed up within each chunk of `chunk` tokens. For each chunk, from the state S:

        v_new = u - w @ S
        S     = exp(g[last]) * S + k^T @ (exp(g[last] - g) * v_new)

    Gives S before each chunk, (B, chunks, H, K, V) of `snapshot_dtype` (the dtype of k, which is
    the default, or fp32); v_new, (B, T, H, V) of the dtype of k; and, with `final_state`, S after
    the last, (B, H, K, V), else None. S begins at `initial_state` (B, H, K, V), else at 0. Both
    have `state_dtype`, fp32 or the dtype of k; an initial state brings its own.

    With `cu_seqlens` (N + 1), int32 or int64, N sequences of any lengths lie one after the other
    in a batch of one: N takes the place of B in initial and final states, and the chunks of all
    sequences lie in a row. The last chunk of a sequence may be shorter.

    S is summed in fp32. A GPU rounds it, and exp(...) * v_new, to the dtype of k for each product;
    there K is a power of two from 16 to 256, 16 divides V, and `chunk` is 16, 32 or 64.

    Raises TypeError for dtypes and devices, ValueError for shapes, `_aot.KernelNotFound` where the
    package was built without a variant.
    """
    if initial_state is not None:
        state_dtype = getattr(initial_state, "dtype", state_dtype)
    snapshot_dtype = snapshot_dtype or k.dtype
    given = {"k": k, "w": w, "u": u, "g": g}
    more = {"initial_state": initial_state, "cu_seqlens": cu_seqlens}
    ends = _checked(given, more, snapshot_dtype, state_dtype, chunk)
    if k.is_cuda:
        from aot_kernels.gpu.chunk_gdn_h import chunk_gdn_h as on_gpu

        return on_gpu(k, w, u, g, initial_state, final_state, ends, chunk, snapshot_dtype,
                      state_dtype)  # fmt: skip
    from aot_kernels.cpu.chunk_gdn_h import chunk_gdn_h as on_cpu

    return on_cpu(k, w, u, g, initial_state, final_state, ends, chunk, snapshot_dtype, state_dtype)


def _checked(
    given: dict[str, torch.Tensor],
    more: dict[str, torch.Tensor | None],
    snapshot_dtype: torch.dtype,
    state_dtype: torch.dtype,
    chunk: int,
) -> list[int] | None:
    """`cu_seqlens` as numbers; of `more` those count that there are. Raises as `chunk_gdn_h`."""
    given = given | {name: tensor for name, tensor in more.items() if tensor is not None}
    check_places("chunk_gdn_h", **given)
    _check_dtypes(given, snapshot_dtype, state_dtype)
    shapes = {name: tuple(tensor.shape) for name, tensor in given.items()}
    if len(shapes.get("cu_seqlens", (0,))) != 1:
        raise ValueError(f"chunk_gdn_h: expected cu_seqlens (N + 1,); got {shapes['cu_seqlens']}")
    ends = given["cu_seqlens"].tolist() if "cu_seqlens" in given else None
    _check_shapes(shapes, ends, chunk)
    return ends


def _check_dtypes(
    given: dict[str, torch.Tensor], snapshot_dtype: torch.dtype, state_dtype: torch.dtype
) -> None:
    own = given["k"].dtype
    check_dtype("chunk_gdn_h", "k", own, DTYPES)
    for name in ("w", "u"):
        check_dtype("chunk_gdn_h", name, given[name].dtype, (own,))
    check_dtype("chunk_gdn_h", "g", given["g"].dtype, (torch.float32,))
    check_dtype("chunk_gdn_h", "snapshot_dtype", snapshot_dtype, {own, torch.float32})
    state = "initial_state" if "initial_state" in given else "state_dtype"
    check_dtype("chunk_gdn_h", state, state_dtype, {own, torch.float32})
    if "cu_seqlens" in given:
        known = (torch.int32, torch.int64)
        check_dtype("chunk_gdn_h", "cu_seqlens", given["cu_seqlens"].dtype, known)


def _check_shapes(shapes: dict[str, tuple[int, ...]], ends: list[int] | None, chunk: int) -> None:
    k, u = shapes["k"], shapes["u"]
    listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
    if len(k) != 4 or len(u) != 4 or k[2] == 0 or u[2] % k[2] or 0 in (u[2], k[3], u[3]):
        raise ValueError(
            "chunk_gdn_h: expected k (B, T, Hg, K) and u (B, T, H, V), H a multiple of Hg, none of"
            f" H, K and V 0; got {listed}"
        )
    heads, count = u[2], k[0] if ends is None else len(ends) - 1
    wanted = {
        "w": (*k[:2], heads, k[3]), "u": (*k[:2], heads, u[3]), "g": (*k[:2], heads),
        "initial_state": (count, heads, k[3], u[3]),
    }  # fmt: skip
    if any(shapes.get(name, shape) != shape for name, shape in wanted.items()):
        raise ValueError(
            "chunk_gdn_h: expected w (B, T, H, K), g (B, T, H) and an initial state (B, H, K, V)"
            f" that fit k and u; got {listed}"
        )
    if ends is not None and (
        k[0] != 1 or ends[:1] != [0] or ends[-1] != k[1] or sorted(ends) != ends
    ):
        raise ValueError(
            f"chunk_gdn_h: cu_seqlens has to rise from 0 to T = {k[1]}, in a batch of one;"
            f" got {ends} for a batch of {k[0]}"
        )
    if chunk < 1:
        raise ValueError(f"chunk_gdn_h: a chunk has at least one token; got {chunk}")
