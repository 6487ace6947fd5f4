"""Names in a result: what builds it, copies it and packs it agree on them here.

The runtime, which ships alone, and the snapshot, which imports nothing, spell them out.
"""

RESULT = "_aot"
"""Folder of the result inside its package."""
MANIFEST = "manifest.json"
RUNTIME = (
    "__init__.py", "_artifact.py", "_devices.py", "_flydsl.py", "_gpu.py", "_kernel.py",
    "_launch.py", "_manifest.py", "_specialization.py", "_triton.py",
)  # fmt: skip
"""The files of the runtime: those of `aot_build/runtime`, copied as they are."""
LOCK = "result.lock"
"""In `build/aot`: held exclusively by whoever fills the result, shared by whoever copies it."""
