"""One row a block size; the wide one for machines with wide vectors only."""

from tuning.sizes import BLOCKS


def scale(targets):
    for block in BLOCKS:
        yield {"T": "float", "BLOCK": block, "target": "cpu"}
    if "cpu:x86-64-v3" in targets:
        yield {"T": "float", "BLOCK": 256, "target": ["cpu:x86-64-v3"], "flags": ["-DWIDE=1"]}
