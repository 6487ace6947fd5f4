"""Workers for run_jobs_parallel that import nothing which takes long."""

import dataclasses
import os
import time


@dataclasses.dataclass(frozen=True)
class Point:
    x: int


def behave(how):
    if how == "raise":
        raise ValueError("boom")
    if how == "crash":
        os.abort()
    if how == "hang":
        time.sleep(60)
    return how


def odd(what):
    return {"object": object(), "keys": {Point(1): 3}, "bytes": b"\0\xff"}[what]
