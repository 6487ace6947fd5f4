"""Time that passes between events, for displays that show it."""

import signal
import threading
from collections.abc import Callable


class Heartbeat:
    """Calls `beat` every so many seconds, from a thread of its own.

    It ends with the thread that started it, which is the one that brings the events: nobody has to
    say that there will be no more, and nothing is shown of a build whose driver was killed.
    """

    def __init__(self, beat: Callable[[], None], seconds: float) -> None:
        self._beat = beat
        self._seconds = seconds
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, on the first call."""
        if self._thread is None:
            asking = threading.current_thread()
            self._thread = threading.Thread(target=self._run, args=(asking,), daemon=True)
            # A signal that comes while a thread is made is taken by the maker: handlers of Python
            # run in the main thread, and nothing would wake that. The new thread inherits the mask.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            try:
                self._thread.start()
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def stop(self) -> None:
        """Begin no further beat. Idempotent; does not wait."""
        self._over.set()

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._over.is_set()

    def _run(self, asking: threading.Thread) -> None:
        while not self._over.wait(self._seconds) and asking.is_alive():
            self._beat()
