"""The live display, on a real terminal."""

import importlib.util
import io
import json
import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest

from aot_build.events import ActionFinished, ActionStarted, Event, Notice, PlanReady
from aot_build.report.live import ROWS, LiveConsole

pytestmark = pytest.mark.skipif(importlib.util.find_spec("rich") is None, reason="needs rich")

COLOUR = re.compile(rb"\x1b\[[0-9;]*m")
HIDDEN, SHOWN = b"\x1b[?25l", b"\x1b[?25h"


def words_of(shown: bytes) -> list[str]:
    """The lines that were ever shown, without what moves and colours."""
    text = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", shown).decode()
    return [line.strip() for line in re.split(r"[\r\n]+", text) if line.strip()]


def restored(shown: bytes) -> bool:
    """Whether the cursor is to be seen and nothing is coloured any more."""
    colours = COLOUR.findall(shown)
    return shown.rfind(HIDDEN) <= shown.rfind(SHOWN) and (not colours or colours[-1] == b"\x1b[0m")


def test_what_runs_is_shown_and_failures_scroll_above(loud, new_terminal):
    terminal, held = new_terminal(), loud.hold(3)
    loud.fail(1)
    running = terminal.start(loud.words("build", "-j", "2", "--json"), loud.env, loud.path)
    terminal.wait_for(b"2/3 done (1 failed), 1 running")
    terminal.wait_for(b"table [n=3] for cpu")
    held.unlink()
    out, _ = running.communicate(timeout=60)
    shown = terminal.close()
    lines = words_of(shown)
    assert running.returncode == 1
    assert json.loads(out)["failed"] == 1, "standard output holds the object alone"
    assert "aot_build: 3 variants: 0 hits, 3 to build" in lines
    why = "error: ValueError: no \u2018table\u2019 ?[2J for you"
    assert f"aot_build: FAILED table [n=1] for cpu: {why}" in lines
    # Below the lines that stay nothing is left of what was drawn: then come verdict and tally.
    verdict = next(n for n, line in enumerate(lines) if "2 built, 1 failed in" in line)
    assert lines[verdict + 1].startswith(("1 of 3 variants failed", "aot_build: makespan"))
    assert not any("running" in line for line in lines[verdict:])
    assert b"noise" not in shown and b"\x1b[2J" not in shown
    assert b"\x1b[31m" in shown and restored(shown)


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_terminal_is_left_as_it_was(loud, new_terminal, stop):
    terminal = new_terminal()
    loud.hold(1)
    running = terminal.start(loud.words("build"), loud.env, loud.path)
    terminal.wait_for(b"1 running")
    running.send_signal(stop)
    running.communicate(timeout=30)
    shown = terminal.close()
    assert running.returncode == (130 if stop != signal.SIGKILL else -9)
    assert HIDDEN not in shown and restored(shown)
    if stop != signal.SIGKILL:
        assert words_of(shown)[-1] == "interrupted: what had finished is kept"


def test_an_error_is_told_below(loud, new_terminal):
    """The driver dies while the display is up."""
    terminal = new_terminal()
    loud.hold(1)
    running = terminal.start(loud.words("build"), loud.env, loud.path)
    terminal.wait_for(b"1 running")
    children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text()
    os.kill(int(children.split()[0]), signal.SIGKILL)
    running.communicate(timeout=30)
    shown = terminal.close()
    assert running.returncode == 1 and restored(shown)
    assert "the build driver ended without an answer (internal)" in words_of(shown)
    traced = json.loads(loud.run("trace").stdout)["traceEvents"]
    assert "unfinished" in [row["args"]["outcome"] for row in traced if row["ph"] == "X"]


def test_no_color_keeps_the_display(loud, new_terminal):
    terminal, held = new_terminal(), loud.hold(1)
    loud.fail(2)
    words = ["env", "NO_COLOR=1", *loud.words("build", "-j", "1")]
    running = terminal.start(words, loud.env, loud.path)
    terminal.wait_for(b"0/3 done, 1 running")
    held.unlink()
    running.communicate(timeout=60)
    shown = terminal.close()
    assert b"FAILED" in shown
    assert not [c for c in COLOUR.findall(shown) if re.search(rb"\b(3|4|9|10)[0-7]\b", c)]


@pytest.mark.parametrize(
    ("words", "env"),
    [
        (["build", "--progress", "plain"], []),
        (["build", "--progress", "none"], []),
        (["build"], ["TERM=dumb"]),
        (["build", "-q"], []),
    ],
)
def test_plain_lines_where_they_are_asked_for(loud, new_terminal, words, env):
    terminal, held = new_terminal(), loud.hold(1)
    running = terminal.start(["env", *env, *loud.words(*words)], loud.env, loud.path)
    time.sleep(1.5)
    held.unlink()
    running.communicate(timeout=60)
    shown = terminal.close()
    assert running.returncode == 0
    assert b"\x1b" not in shown
    if words != ["build", "--progress", "plain"] and not env:
        assert b"running" not in shown
    assert (b"3 variants, 0 hits, 3 built" in shown) == ("-q" not in words)


def test_a_narrow_terminal_that_is_resized(loud, new_terminal):
    terminal, held = new_terminal(columns=18, lines=4), loud.hold(1)
    loud.hold(2).unlink()
    running = terminal.start(loud.words("build", "-j", "1"), loud.env, loud.path)
    terminal.wait_for(b"0/3 done")
    drawn = re.split(rb"[\r\n]+", re.sub(rb"\x1b\[[0-9;]*[A-Za-z]", b"", terminal.shown))
    live = [line.decode() for line in drawn if b"done" in line or b" s  " in line]
    assert live and all(len(line) <= 18 for line in live), live
    terminal.resize(120, 30)
    running.send_signal(signal.SIGWINCH)
    terminal.wait_for("━".encode())
    held.unlink()
    running.communicate(timeout=60)
    assert running.returncode == 0 and restored(terminal.close())


def test_without_rich_there_are_lines(loud, new_terminal, tmp_path):
    """An interpreter that finds no rich: lines by themselves, a hint where tty was asked for."""
    block = "import sys; sys.modules['rich'] = None; sys.path_importer_cache.clear();"
    run = "from aot_build.cli import main; sys.exit(main(sys.argv[1:]))"
    finder = (
        "import importlib.util as u; found = u.find_spec;"
        "u.find_spec = lambda name, *more: None if name == 'rich' else found(name, *more);"
    )
    terminal = new_terminal()
    code = [sys.executable, "-c", block + finder + run, "build", "--project", str(loud.path)]
    running = terminal.start(code, loud.env, loud.path)
    running.communicate(timeout=60)
    asking = terminal.start([*code, "--progress", "tty"], loud.env, loud.path)
    asking.communicate(timeout=60)
    shown = terminal.close()
    assert running.returncode == 0 and b"3 built" in shown and b"\x1b" not in shown
    assert asking.returncode == 2 and b"hint: pip install 'aot-build[rich]'" in shown


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_as_many_rows_as_fit(monkeypatch):
    monkeypatch.setenv("COLUMNS", "70")
    monkeypatch.setenv("LINES", "40")
    now = [0.0]
    screen = Screen()
    console = LiveConsole(screen, clock=lambda: now[0])
    console._heartbeat.stop()  # Drawn here when the test says so.
    events: list[Event] = [PlanReady(50, 0, 50, workers=20, expected_s=500.0)]
    names = [("粉" * 60 + "\x1b[2J", f"N={n}", "cpu") for n in range(20)]
    events += [ActionStarted(*row, worker=n, expected_s=10.0 + n) for n, row in enumerate(names)]
    for event in events:
        console.emit(event)
        now[0] += 1.0
    lines = list(console.frame(ROWS))
    assert lines[0] == "0/50 done, 20 running, 21 s, about 28 s left"
    assert len(lines) == ROWS + 2 and lines[-1] == f"  and {20 - ROWS} more"
    assert lines[1].startswith("  20 s of 10 s  粉") and "?[2J" in lines[1]
    console._draw()
    drawn = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line) for line in screen.getvalue().split("\n")]
    cells = [sum(2 if c == "粉" else 1 for c in line.strip("\r")) for line in drawn]
    assert max(cells) <= 70, "wide characters count as two"
    console.close()
    before = screen.getvalue()
    console.emit(Notice("late"))
    assert screen.getvalue() == before


def test_a_terminal_that_goes_away():
    """Whatever is written fails from here on: the build must not notice."""

    tried = []

    class Gone(Screen):
        def write(self, text: str) -> int:
            tried.append(text)
            raise OSError(5, "Input/output error")

    console = LiveConsole(Gone())
    console.emit(PlanReady(1, 0, 1))
    console._draw()
    console.emit(Notice("hello"))
    console.emit(ActionFinished("k", "-", "cpu", 1.0, 1, 1))
    console.close()
    assert tried and "hello" not in "".join(tried), "it is left alone from then on"
