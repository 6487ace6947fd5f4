"""What the build calls instead of the pool."""

from pathlib import Path

from migrated_pool import pool


def rows(targets):
    """The job list, as it is; `target` says which jobs are for which hardware."""
    for job in pool.collect_jobs():
        arch = job.pop("arch")
        yield {**job, "target": f"cpu:{arch}" if arch else "cpu"}


def make(out_dir, target, **job):
    """One job, into a folder of its own; what fails must raise."""
    job["arch"] = target.partition(":")[2]
    if pool.compile_one(job, Path(out_dir)) is None:
        raise RuntimeError(f"nothing was compiled for {job}")
