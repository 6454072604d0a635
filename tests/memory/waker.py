"""A waker that remembers what it was told."""


class InMemoryWaker:
    """`woken` is what there was something new in, in order."""

    def __init__(self) -> None:
        self.woken: list[str] = []

    def wake(self, what: str) -> None:
        """There is something new in `what`."""
        self.woken.append(what)
