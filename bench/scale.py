"""What scheduling costs: simulated actions of recorded lengths, on 2 to 1,024 slots.

    python bench/scale.py [--history FILE] [--runs 3] [--most 100000]

No action does any work: an executor with a clock of its own ends each after the seconds that a
real one took (those of a history file of a cache directory, `history-v1/<package>.msgpack`, drawn
with replacement; without one, of a cold build of this repository's own kernels on two cores, kept
below). A tenth of the actions need four others each, as links need objects. Prints, for each size
and number of slots, the microseconds that the scheduler took for an action (memory admission
included, medians of the runs) and the simulated makespan against max(critical path, CPU / slots).
"""

import argparse
import random
import statistics
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1])]

from aot_build.execute.admission import GIB, Admission
from aot_build.execute.scheduler import Limits
from aot_build.store.history import History
from tests.fakes import SimulatedPool, SimulatedTask, simulate

SECONDS = (
    0.31, 0.34, 0.35, 0.36, 0.38, 0.4, 0.41, 0.42, 0.44, 0.47, 0.52, 0.55, 0.58, 0.61, 0.66, 0.7,
    0.74, 0.81, 0.93, 1.02, 1.1, 1.24, 1.31, 1.5, 1.72, 1.95, 2.3, 2.61, 3.25,
)  # fmt: skip
SIZES = (1_000, 10_000, 100_000)
SLOTS = (2, 16, 128, 1_024)
LINKED = 10
"""One action in so many needs others."""
NEEDS = 4


def recorded(path: Path | None) -> list[float]:
    """Seconds of real actions."""
    if path is None:
        return list(SECONDS)
    history = History(path.parent.parent, path.stem)
    return [past.seconds for named in history.families().values() for past in named.values()]


def measure(actions: int, slots: int, lengths: list[float], seed: int) -> tuple[float, float]:
    """Microseconds of scheduling an action, makespan over the lower bound."""
    draw = random.Random(seed)
    pool = SimulatedPool(slots)
    tasks: list[SimulatedTask] = []
    for number in range(actions):
        seconds = draw.choice(lengths)
        linked = number % LINKED == LINKED - 1
        needs = tasks[-NEEDS:] if linked else ()
        more = {"needs": needs, "seconds": seconds, "family": "f", "memory": GIB // 4}
        tasks.append(SimulatedTask(pool, seconds, bytes=GIB // 4, **more))
    limits = Limits(admission=Admission(room=lambda: GIB * slots))
    began = time.perf_counter()
    tally = simulate(pool, tasks, limits).tally
    cost = (time.perf_counter() - began) / actions * 1e6
    bound = max(tally.critical_path, tally.cpu_seconds / slots)
    return cost, (tally.ended - tally.began) / bound


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--history", type=Path)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--most", type=int, default=SIZES[-1], help="greatest number of actions")
    chosen = parser.parse_args()
    lengths = recorded(chosen.history)
    print("| actions | slots | us an action | makespan / bound |")
    print("|---:|---:|---:|---:|")
    for actions in (size for size in SIZES if size <= chosen.most):
        for slots in SLOTS:
            runs = [measure(actions, slots, lengths, seed) for seed in range(chosen.runs)]
            cost, ratio = (statistics.median(column) for column in zip(*runs, strict=True))
            print(f"| {actions:,} | {slots:,} | {cost:.1f} | {ratio:.3f} |", flush=True)


if __name__ == "__main__":
    main()
