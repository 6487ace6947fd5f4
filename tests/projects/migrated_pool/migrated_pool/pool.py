"""The job list and the compile function as they were; the pool around them is gone."""

import csv
import subprocess
from pathlib import Path

HERE = Path(__file__).parent


def collect_jobs():
    """A dict for each distinct row of the tuned table; what M is does not change the kernel."""
    jobs = []
    with open(HERE / "tuned.csv", newline="") as stream:
        for row in csv.DictReader(stream):
            job = {"T": row["T"], "BLOCK": int(row["BLOCK"]), "arch": row["arch"]}
            if job not in jobs:
                jobs.append(job)
    return jobs


def compile_one(job, folder):
    """The library of a job; None where it does not compile."""
    library = folder / "scale.so"
    words = [f"-DT={job['T']}", f"-DBLOCK={job['BLOCK']}"]
    words += [f"-march={job['arch']}"] if job["arch"] else []
    command = ["g++", "-O3", "-shared", "-fPIC", *words, HERE / "scale.cpp", "-o", library]
    return library if subprocess.run(command).returncode == 0 else None
