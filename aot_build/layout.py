"""Names in a result: what builds it, copies it and packs it agree on them here.

The runtime module, which ships alone, and the snapshot, which imports nothing, spell them out.
"""

RESULT = "_aot"
"""Folder of the result inside its package."""
MANIFEST = "manifest.json"
RUNTIME = "__init__.py"
LOCK = "result.lock"
"""In `build/aot`: held exclusively by whoever fills the result, shared by whoever copies it."""
