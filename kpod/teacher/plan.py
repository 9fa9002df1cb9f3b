"""Which samples each question still needs. What the journal holds is settled without a request."""

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from kpod.answers.formats import states_answer
from kpod.config import Teacher
from kpod.errors import TeacherError
from kpod.teacher.ask import Question, RequestBuilder, TeacherRequest
from kpod.teacher.budget import Budget
from kpod.teacher.journal import Journal
from kpod.teacher.reply import Reply
from kpod.teacher.tables import Outcome
from kpod.teacher.verdict import Verdict, judge, warn_unknown_finish
from kpod.text.prompts import answer_format

Job = tuple[int, int]  # index of the question, sample
ALIKE = 10  # requests, the first ones, that must all fail alike for the run to stop
UNSTATED = 50  # answers, the first ones, of which one at least must state its answer as it should


class Plan:
    """Each question gets `samples` requests at first; once these are back, dropped ones are asked again under new
    sample numbers, up to `resamples`. So what is asked follows from the answers alone, whatever their order in time.
    Questions of the same text share their requests: one is sent, and its answer finishes all of them.
    """

    def __init__(
        self, questions: Sequence[Question], config: Teacher, asking: RequestBuilder, journal: Journal, budget: Budget
    ) -> None:
        self._questions, self._config, self._asking = questions, config, asking
        self._journal, self._budget = journal, budget
        self._asked = [0] * len(questions)  # samples planned so far: 0 .. asked - 1
        self._waiting = [0] * len(questions)  # requests out
        self._kept = [0] * len(questions)
        self._keys: dict[Job, str] = {}
        self._twins: dict[str, list[Job]] = {}  # by the key of a request that is out: who else waits for it
        self._paid: set[str] = set()
        self._unknown: set[str] = set()  # reasons to end of which was warned
        self._verdicts: dict[Job, Verdict] = {}
        self._form = answer_format(config.answer.kind, config.answer.template)
        self._stated = False  # whether an answer was stated in this form
        self.failed: dict[Job, str] = {}
        self.counts: Counter[str] = Counter()

    @property
    def size(self) -> int:
        """Number of questions."""
        return len(self._questions)

    def ask(self, index: int, sample: int) -> TeacherRequest:
        """The request for one sample of a question, by the question's index."""
        ask = self._asking.ask(self._questions[index], sample)
        self._keys[index, sample] = ask.key
        return ask

    def start(self) -> list[Job]:
        """(question, sample) of every request that the journal does not answer."""
        return [(i, s) for i in range(len(self._questions)) for s in self._settle(i, self._more(i))]

    def known(self, key: str) -> Reply | None:
        """The reply in the journal."""
        record = self._journal.get(key)
        return Reply(**{name: record[name] for name in Reply.__slots__}) if record else None

    def finish(self, index: int, sample: int, outcome: Reply | str) -> tuple[list[Job], int]:
        """Take a reply (already in the journal) or the reason of a failure.

        Returns the jobs to do next, and how many questions have nothing out any more.
        """
        following: list[Job] = []
        finished = 0
        for job in ((index, sample), *self._twins.pop(self._keys[index, sample], ())):
            self._waiting[job[0]] -= 1
            if isinstance(outcome, str):
                self.failed[job] = outcome
                self.counts["failed"] += 1
            else:
                self._count(job, outcome)
            following += [(job[0], more) for more in self._settle(job[0], self._more(job[0]))]
            finished += not self._waiting[job[0]]
        return following, finished

    def stop_reason(self) -> TeacherError | None:
        """Why the run should stop, if it should: nothing ever succeeded and the first requests all failed alike, more
        of them have failed than `max_failed` allows of all, or the first answers are never stated as they should be.
        """
        if self.counts["done"] >= UNSTATED and not self._stated:
            form = self._form.told.replace("{answer}", "<answer>")
            return TeacherError(
                f"none of the teacher's first {UNSTATED} answers is stated as {form!r}: say so in"
                " teacher.prompt.system, or set answer.kind to what the teacher writes; what is finished is kept"
            )
        failed, planned = self.counts["failed"], self._config.samples * len(self._questions)
        if failed < ALIKE:
            return None
        first = list(islice(self.failed.values(), ALIKE))
        reason = first[0]
        if not self.counts["done"] and len({text.partition(":")[0] for text in first}) == 1:
            return TeacherError(
                f"the first {ALIKE} requests all failed alike ({reason}): correct the teacher settings, then run again"
            )
        if failed > self._config.max_failed * planned:
            return TeacherError(
                f"{failed} of {planned} requests failed for good ({reason}, ...), more than teacher.max_failed allows;"
                " what is finished is kept"
            )
        return None

    @property
    def open(self) -> int:
        """How many questions have something out."""
        return sum(map(bool, self._waiting))

    @property
    def at_most(self) -> list[int]:
        """How many requests each question may still take, those that are out among them."""
        return [
            self._waiting[i] + (self._config.samples + self._config.resamples - self._asked[i] if out else 0)
            for i, out in enumerate(self._waiting)
        ]

    def outcomes(self) -> Iterator[Outcome]:
        """Everything that was planned, in the order of the table, with texts read from the journal again.

        Raises TeacherError if the journal was emptied meanwhile.
        """
        for index, asked in enumerate(self._asked):
            for sample in range(asked):
                yield self._questions[index], sample, self.failed.get((index, sample)) or self._judged(index, sample)

    def _judged(self, index: int, sample: int) -> tuple[Reply, Verdict]:
        if (reply := self.known(self._keys[index, sample])) is None:
            raise TeacherError("a finished request is missing from the journal: run again")
        return reply, self._verdicts[index, sample]

    def _more(self, index: int) -> range:
        """The samples to plan now."""
        asked, config = self._asked[index], self._config
        if asked == 0:
            count = config.samples
        elif self._waiting[index] or any((index, sample) in self.failed for sample in range(asked)):
            count = 0
        else:
            count = min(config.samples - self._kept[index], config.samples + config.resamples - asked)
        self._asked[index] += max(0, count)
        return range(asked, self._asked[index])

    def _settle(self, index: int, samples: Iterable[int]) -> list[int]:
        missing, todo = [], deque(samples)
        while todo:
            sample = todo.popleft()
            key = self.ask(index, sample).key
            if (reply := self.known(key)) is None:
                self._waiting[index] += 1
                if key in self._twins:
                    self._twins[key].append((index, sample))
                else:
                    self._twins[key] = []
                    missing.append(sample)
            else:
                self.counts["journal"] += 1
                self._count((index, sample), reply)
            if not todo:
                todo.extend(self._more(index))
        return missing

    def _count(self, job: Job, reply: Reply) -> None:
        if (key := self._keys[job]) not in self._paid:
            self._paid.add(key)
            self._budget.paid(reply)
        self.counts["done"] += 1
        self.counts["tokens"] += reply.prompt_tokens + reply.completion_tokens
        self.counts["completion_tokens"] += reply.completion_tokens
        warn_unknown_finish(reply, self._config, self._unknown)
        verdict = self._verdicts[job] = judge(reply, self._questions[job[0]], self._config)
        self._kept[job[0]] += verdict.kept
        if not self._stated:  # a right answer without any statement is as good as a sentence
            right = self._form.kind == "sentence" and verdict.correct
            self._stated = right or states_answer(self._form, reply.text)
