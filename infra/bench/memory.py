"""Peak memory of processes, sampled from the kernel while they work.

For our own processes it is the peak of the resident set; for PostgreSQL's, whose resident set is mostly the shared
buffers, of the private memory.
"""

import threading
from collections.abc import Callable, Iterable
from pathlib import Path

SAMPLE_SECONDS = 0.2

_KIB = 1024


class PeakMemory:
    """Samples between `start` and `stop`. `peaks` has bytes by process name; of several alike, the largest."""

    def __init__(self, processes: Callable[[], Iterable[tuple[str, int, bool]]]) -> None:
        """`processes` gives name, pid, and whether only private memory counts; it is asked again at each sample."""
        self._processes = processes
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.peaks: dict[str, int] = {}

    def start(self) -> None:
        """Begin to sample."""
        self._thread.start()

    def stop(self) -> dict[str, int]:
        """Take a last sample; the peaks."""
        self._stopped.set()
        self._thread.join()
        return dict(sorted(self.peaks.items()))

    def _run(self) -> None:
        while not self._stopped.wait(SAMPLE_SECONDS):
            self._sample()
        self._sample()

    def _sample(self) -> None:
        for name, pid, private in self._processes():
            size = private_bytes(pid) if private else resident_peak_bytes(pid)
            self.peaks[name] = max(self.peaks.get(name, 0), size)


def resident_peak_bytes(pid: int) -> int:
    """The largest resident set the process has had; 0 where it has ended."""
    return _field(Path(f"/proc/{pid}/status"), ("VmHWM:",))


def private_bytes(pid: int) -> int:
    """Memory that is the process's own just now; 0 where it has ended.

    The kernel's `Private_…` would not do: a page of the shared buffers that only one backend has touched counts as its.
    """
    return _field(Path(f"/proc/{pid}/smaps_rollup"), ("Anonymous:",))


def children(pid: int) -> list[int]:
    """The process's children."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _field(path: Path, names: tuple[str, ...]) -> int:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * _KIB for line in lines if line.startswith(names))
