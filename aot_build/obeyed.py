"""What backends pick from the environment: it is watched as they do."""

from collections.abc import Iterator, Mapping


class LookedUp(Mapping[str, str]):
    """A mapping that notes which names are looked up, found or not."""

    def __init__(self, source: Mapping[str, str]) -> None:
        self._source = source
        self.names: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.names.add(name)
        return self._source[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._source)

    def __len__(self) -> int:
        return len(self._source)
