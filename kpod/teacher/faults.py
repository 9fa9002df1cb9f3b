"""Planned faults of a local server, decided by a seed."""

import random
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]

KINDS = (
    "rate_limited",
    "rate_limited_silently",
    "server_error",
    "stall",
    "truncated",
    "invalid_json",
    "dropped",
    "length",
)


class Faults(BaseModel):
    """The share of requests with each fault, and the server's delays."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rate_limited: Share = Field(0.0, description="429 with Retry-After.")
    rate_limited_silently: Share = Field(0.0, description="429 without Retry-After.")
    server_error: Share = Field(0.0, description="500.")
    stall: Share = Field(0.0, description="No answer for `stall_s`, then the connection is closed.")
    truncated: Share = Field(0.0, description="The body breaks off in the middle.")
    invalid_json: Share = Field(0.0, description="200 with a body that is no JSON.")
    dropped: Share = Field(0.0, description="The connection is closed without an answer.")
    length: Share = Field(0.0, description="Half the text, with finish_reason `length`.")
    batch_expired: Share = Field(0.0, description="Lines of a batch that are not done in time.")
    batch_polls: int = Field(2, ge=0, description="Looks at a batch before it is over.")
    retry_after_s: float = Field(1.0, ge=0, description="Sent with `rate_limited`.")
    stall_s: float = Field(600.0, ge=0)
    latency_s: float = Field(0.0, ge=0, description="Service time of every request.")
    seed: int = 0

    def draw(self, content: str, attempt: int) -> str | None:
        """The fault of attempt number `attempt` at `content`, or None; independent of other requests."""
        point = random.Random(f"{self.seed}/{content}/{attempt}").random()
        for kind in KINDS:
            point -= getattr(self, kind)
            if point < 0:
                return kind
        return None

    def expires(self, content: str, attempt: int) -> bool:
        """Whether a line of a batch expires."""
        return random.Random(f"{self.seed}/batch/{content}/{attempt}").random() < self.batch_expired
