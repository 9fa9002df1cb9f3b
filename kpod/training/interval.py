"""When a checkpoint is due."""

import time

RATIO = 20  # seconds of work for each second of saving: checkpoints cost at most 5% of the time
BYTES_A_SECOND = 1e9  # speed at which the first checkpoint, which has not been timed, is taken to be written


class Interval:
    """A checkpoint is due after `seconds` of work, and never before RATIO times what the last one cost."""

    def __init__(self, seconds: float, size: int) -> None:
        """`size`: bytes of a checkpoint."""
        self.seconds = seconds
        self.cost = size / BYTES_A_SECOND
        self.last = time.monotonic()  # when work began after the last checkpoint

    def due(self) -> bool:
        """Whether to save now."""
        return time.monotonic() - self.last >= max(self.seconds, RATIO * self.cost)

    def saved(self, started: float) -> None:
        """Tell that a checkpoint was begun at `started` (time.monotonic) and that work goes on now."""
        self.last = time.monotonic()
        self.cost = self.last - started
