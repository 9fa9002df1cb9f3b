"""The interval between checkpoints."""

import time

RATIO = 20  # seconds of work for each second of saving: checkpoints cost at most 5% of the time
BYTES_A_SECOND = 1e9  # assumed speed of writing the first checkpoint


class Interval:
    """A checkpoint is due after `seconds` of work, and after at least RATIO times the cost of the last one."""

    def __init__(self, seconds: float, size: int) -> None:
        """`size`: bytes of a checkpoint."""
        self.seconds = seconds
        self.cost = size / BYTES_A_SECOND
        self.last = time.monotonic()  # when work began after the last checkpoint

    def due(self) -> bool:
        """Whether a checkpoint is due."""
        return time.monotonic() - self.last >= max(self.seconds, RATIO * self.cost)

    def saved(self, started: float) -> None:
        """Record that a checkpoint was written from `started` (time.monotonic) until now."""
        self.last = time.monotonic()
        self.cost = self.last - started
