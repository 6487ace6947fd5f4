"""Random edits to a random small project: after each, what was built is what a clean build makes,
and nothing was built that had been built before.

    recorder.c, recorder.py   a compiler whose object is the text of what it read
    project.py                the project, what it declares, and the world that it is built in
    edits.py, upheavals.py    what may happen to it
    oracle.py                 what must come out, read off the disk without building anything
    engine.py                 builds: in this process (fast), and by the real command (slow)
    harness.py                edit, build, compare, count
    campaign.py               many edits at random, for nights: python -m tests.property.truth
"""
