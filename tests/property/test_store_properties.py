"""The store on disk against a dict, with random damage: it may forget, it never lies."""

import hashlib
import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from aot_build.core.artifact import Artifact
from aot_build.core.result import ActionResult
from aot_build.core.trace import Trace
from aot_build.digest import key_digest
from aot_build.store.local import LocalStore

KEYS = st.integers(0, 5).map(lambda n: key_digest(("key", n)))
BASES = st.integers(0, 2).map(lambda n: key_digest(("base", n)))
TRACES = st.integers(0, 3).map(lambda n: Trace(files=(f"{{project}}/{n}.h",)))
CONTENTS = st.lists(st.binary(max_size=4), min_size=1, max_size=3)


class StoreAndModel(RuleBasedStateMachine):
    """`model` is what was flushed; `waiting` what was published since."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.store = LocalStore(self.root / "cache")
        self.model: dict[str, ActionResult] = {}
        self.traces: dict[str, list[str]] = {}
        self.waiting: list[tuple[str, str, str, ActionResult]] = []
        self.blobs: dict[str, bytes] = {}
        self.damaged = False

    def teardown(self) -> None:
        shutil.rmtree(self.root)

    @rule(base=BASES, key=KEYS, trace=TRACES, contents=CONTENTS)
    def publish(self, base: str, key: str, trace: Trace, contents: list[bytes]) -> None:
        out = self.root / "out"
        out.mkdir(exist_ok=True)
        artifacts = []
        for number, content in enumerate(contents):
            (out / str(number)).write_bytes(content)
            digest = hashlib.sha256(content).hexdigest()
            self.blobs[digest] = content
            artifacts.append(Artifact(str(number), digest, len(content)))
        result = ActionResult(tuple(artifacts), {"n": len(contents)})
        self.store.publish(base, trace, key, result, out)
        self.waiting.append((base, key_digest(trace), key, result))

    @rule()
    def flush(self) -> None:
        self.store.flush()
        for base, trace_id, key, result in self.waiting:
            self.model[key] = result
            known = self.traces.setdefault(base, [])
            self.traces[base] = [trace_id, *(k for k in known if k != trace_id)]
        self.waiting.clear()

    @rule()
    def another_build_begins(self) -> None:
        """The old one was killed: what it had not flushed is lost."""
        self.store = LocalStore(self.root / "cache")
        self.waiting.clear()

    @precondition(lambda self: self.blobs)
    @rule(pick=st.integers(0, 999), how=st.sampled_from(["flip", "cut", "remove"]))
    def damage(self, pick: int, how: str) -> None:
        folders = ("cas-v1", "actions-v1", "traces-v2")
        files = sorted(
            p for f in folders for p in (self.root / "cache" / f).rglob("*") if p.is_file()
        )
        if not files:
            return
        path = files[pick % len(files)]
        content = path.read_bytes()
        self.damaged = True
        if how == "remove" or not content:
            path.unlink()
        elif how == "cut":
            path.write_bytes(content[:-1])
        else:
            path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
        self.another_build_begins()

    @rule(digest=st.integers(0, 50))
    def fetch(self, digest: int) -> None:
        for name in sorted(self.blobs)[digest : digest + 1]:
            target = self.root / "place"
            target.unlink(missing_ok=True)
            if self.store.fetch(name, target):
                assert target.read_bytes() == self.blobs[name]
            else:
                assert self.damaged and not target.exists()

    @invariant()
    def it_may_forget_but_never_lies(self) -> None:
        for number in range(6):
            key = key_digest(("key", number))
            found = self.store.result(key)
            assert found == self.model.get(key) or (found is None and self.damaged)

    @invariant()
    def traces_are_what_was_published(self) -> None:
        for number in range(3):
            base = key_digest(("base", number))
            ids = list(self.store.traces(base))
            known = self.traces.get(base, [])
            assert ids == known or (self.damaged and set(ids) <= set(known))
            for trace_id in ids:
                trace = self.store.trace(trace_id)
                assert trace is not None or self.damaged
                assert trace is None or key_digest(trace) == trace_id


TestStoreAndModel = StoreAndModel.TestCase
TestStoreAndModel.settings = settings(max_examples=25, stateful_step_count=25)
