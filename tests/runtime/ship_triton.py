"""Ships what a package's `kern.py` launches: `python ship_triton.py FOLDER`, run beside `shipping`.

Compiles by ordinary launches on GPUs that are not there, and writes the manifest that a build with
the Triton backend writes. FOLDER is `shipping/_aot`.
"""

import hashlib
import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fake_gpu

from aot_build.core.manifest import manifest_text

GPUS = {"cuda:sm_90a": ("cuda", 90), "hip:gfx942": ("hip", "gfx942")}
MACHINES_OWN = ("extern_libs", "enable_fp_fusion")


def launches(kern: Any) -> Iterator[tuple[str, dict[str, Any], Any]]:
    """Kernel, what its metadata tells of Triton besides, and what Triton compiled."""
    aligned, loose = fake_gpu.Tensor("fp16"), fake_gpu.Tensor("fp16", 4098)
    yield "scale", {}, kern.scale[(1,)](aligned, aligned, 1024, BLOCK=64)
    yield "scale", {}, kern.scale[(1,)](loose, loose, 1000, BLOCK=64)
    functions = {f"{kern.__name__}:twice": kern.twice.cache_key}
    yield "apply", {"functions": functions}, kern.apply[(1,)](aligned, 1024, kern.twice, BLOCK=64)
    for config in [config.all_kwargs() for config in kern.tuned.configs]:
        yield "tuned", {"config": config}, kern.tuned.fn[(1,)](aligned, 1024, **config)


def variant(told: dict[str, Any], more: dict[str, Any], kernel: Any) -> dict[str, Any]:
    """Metadata of what was compiled, given how Triton tells the launch."""
    fn = kernel.src.fn
    found = json.loads(json.dumps(kernel.metadata._asdict(), default=vars))
    options = {n: v for n, v in told["options"].items() if n not in MACHINES_OWN}
    triton = {
        "version": found["triton_version"],
        "function": f"{fn.module}:{fn.fn.__qualname__}",
        "source": fn.cache_key,
        "specialization": {**told, "options": options},
        "metadata": {n: v for n, v in found.items() if n != "hash"} | {"extern_libs": []},
        **more,
    }
    del triton["specialization"]["key"]
    return {"symbol": found["name"], "triton": triton}


def main(folder: Path) -> None:
    from triton import knobs

    told: list[Any] = []
    gpu = fake_gpu.plug_in("cuda", 90)
    knobs.runtime.jit_post_compile_hook = lambda compile, **more: told.append(
        json.loads(compile["specialization_data"])
    )
    kern = importlib.import_module("shipping.kern")
    kernels: dict[str, Any] = {}
    for gpu.device, (target, (gpu.backend, gpu.arch)) in enumerate(GPUS.items()):
        for number, (name, more, kernel) in enumerate(launches(kern)):
            extension = "cubin" if gpu.backend == "cuda" else "hsaco"
            path = f"{name}/{target.replace(':', '-')}/{number}-{kernel.name}.{extension}"
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(kernel.kernel)
            digest = hashlib.sha256(kernel.kernel).hexdigest()
            file = {"path": path, "sha256": digest, "size": len(kernel.kernel)}
            shipped = kernels.setdefault(name, {"backend": "triton", "variants": []})
            shipped["variants"].append({
                "target": target,
                "row": {"number": number},
                "metadata": variant(told[-1], more, kernel),
                "toolchain": "",
                "files": {f"{kernel.name}.{extension}": file},
            })  # fmt: skip
    made = {"version": 1, "package": "shipping", "toolchains": {}, "kernels": kernels}
    (folder / "manifest.json").write_text(manifest_text(made))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
