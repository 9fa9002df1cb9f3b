"""The cost of requests, and a spending cap that is never exceeded."""

from decimal import Decimal

from kpod.config import Price, Teacher
from kpod.teacher.ask import TeacherRequest
from kpod.teacher.reply import Reply

MILLION = Decimal(1_000_000)
OVERHEAD = 64  # tokens of a chat template around the messages


def cost(price: Price, prompt_tokens: int, completion_tokens: int) -> Decimal:
    """The cost of a completion in US dollars."""
    return (price.input * prompt_tokens + price.output * completion_tokens) / MILLION


class Budget:
    """Spent US dollars, and the upper bound of the requests in flight (a token has at least one byte)."""

    def __init__(self, config: Teacher) -> None:
        self._price = config.price or Price()
        self._cap, self._max_tokens = config.max_cost_usd, config.max_tokens
        self.spent = Decimal(0)
        self.unconfirmed = Decimal(0)  # requests whose answer was lost; the provider may bill them all the same
        self._reserved = Decimal(0)

    def worst(self, ask: TeacherRequest) -> Decimal:
        """Upper bound of a request's cost in US dollars."""
        return cost(self._price, ask.size + OVERHEAD, self._max_tokens)

    def affords(self, ask: TeacherRequest) -> bool:
        """Whether the cap holds even if this request and all in flight cost their upper bound."""
        return self._cap is None or self.spent + self.unconfirmed + self._reserved + self.worst(ask) <= self._cap

    def reserve(self, ask: TeacherRequest) -> None:
        """Reserve the upper bound while the request is in flight."""
        self._reserved += self.worst(ask)

    def free(self, ask: TeacherRequest, lost: bool) -> None:
        """Release a reservation; `lost`: the request may have been billed but its answer did not arrive."""
        self._reserved -= self.worst(ask)
        if lost:
            self.unconfirmed += self.worst(ask)

    def paid(self, reply: Reply) -> None:
        """Count an answer, new or from the journal."""
        self.spent += cost(self._price, reply.prompt_tokens, reply.completion_tokens)

    def __str__(self) -> str:
        lost = f", {self.unconfirmed:.4f} may have been billed for lost answers" if self.unconfirmed else ""
        return f"{self.spent:.4f} of {self._cap} US dollars spent{lost}"
