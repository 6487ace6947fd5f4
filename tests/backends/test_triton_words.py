"""What is told of an error of Triton's: the reason first, and then where."""

from aot_build.backends.triton.perform import _told


class Wrong(Exception):
    """As Triton's: what it shows is the place, then the reason if it has one of its own."""

    def __init__(self, place: str, reason: str | None = None, cause: Exception | None = None):
        super().__init__(f"at {place}:\n{reason}" if reason else f"at {place}:")
        self.error_message, self.__cause__ = reason, cause


def test_the_reason_comes_first() -> None:
    assert _told(Wrong("2:36", "no power of 2")) == "Wrong: no power of 2\nat 2:36:"
    cause = ValueError("no shape")
    assert _told(Wrong("3:1", cause=cause)) == "Wrong: ValueError: no shape\nat 3:1:"


def test_of_functions_that_call_each_other_the_innermost_says_why() -> None:
    inner = Wrong("2:36", "no power of 2")
    told = _told(Wrong("1:1", cause=Wrong("9:4", cause=inner)))
    assert told == "Wrong: no power of 2\nat 2:36:\nat 9:4:\nat 1:1:"
    other = Wrong("9:4", cause=ValueError("no shape"))
    told = _told(Wrong("1:1", cause=other))
    assert told == "Wrong: ValueError: no shape\nat 9:4:\nat 1:1:"
