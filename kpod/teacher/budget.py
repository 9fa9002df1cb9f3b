"""Money: what a request costs, and a cap that is never passed."""

from decimal import Decimal

from kpod.config import Price, Teacher
from kpod.teacher.ask import TeacherRequest
from kpod.teacher.reply import Reply

MILLION = Decimal(1_000_000)
OVERHEAD = 64  # tokens of a chat template around the messages


def cost(price: Price, prompt_tokens: int, completion_tokens: int) -> Decimal:
    """US dollars."""
    return (price.input * prompt_tokens + price.output * completion_tokens) / MILLION


class Budget:
    """What was spent, and what the requests in flight may cost at worst (a token is at least a byte)."""

    def __init__(self, config: Teacher) -> None:
        self._price = config.price or Price()
        self._cap, self._max_tokens = config.max_cost_usd, config.max_tokens
        self.spent = Decimal(0)
        self.unconfirmed = Decimal(0)  # requests whose answer was lost; the provider may bill them all the same
        self._reserved = Decimal(0)

    def worst(self, ask: TeacherRequest) -> Decimal:
        """The most that a request can cost."""
        return cost(self._price, ask.size + OVERHEAD, self._max_tokens)

    def affords(self, ask: TeacherRequest) -> bool:
        """Whether the request can be sent without any way to pass the cap."""
        return self._cap is None or self.spent + self.unconfirmed + self._reserved + self.worst(ask) <= self._cap

    def reserve(self, ask: TeacherRequest) -> None:
        """Set the worst case aside while the request is in flight."""
        self._reserved += self.worst(ask)

    def free(self, ask: TeacherRequest, lost: bool) -> None:
        """The request came back; `lost`: it reached the provider but its answer did not reach us."""
        self._reserved -= self.worst(ask)
        if lost:
            self.unconfirmed += self.worst(ask)

    def paid(self, reply: Reply) -> Decimal:
        """Count an answer, new or from the journal, and return its cost."""
        amount = cost(self._price, reply.prompt_tokens, reply.completion_tokens)
        self.spent += amount
        return amount

    def __str__(self) -> str:
        lost = f", {self.unconfirmed:.4f} may have been billed for lost answers" if self.unconfirmed else ""
        return f"{self.spent:.4f} of {self._cap} US dollars spent{lost}"
