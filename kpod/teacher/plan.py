"""The samples that each question still needs; requests that the journal answers are not sent."""

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from kpod.answers.formats import states_answer
from kpod.config import Teacher
from kpod.errors import TeacherError
from kpod.teacher import local
from kpod.teacher.ask import Question, RequestBuilder, TeacherRequest
from kpod.teacher.budget import Budget
from kpod.teacher.journal import Journal
from kpod.teacher.reply import Reply
from kpod.teacher.tables import Outcome
from kpod.teacher.verdict import Verdict, judge, warn_unknown_finish
from kpod.text.prompts import answer_format

Job = tuple[int, int]  # index of the question, sample
ALIKE = 10  # the run stops if so many first requests all fail alike
UNSTATED = 50  # the run stops if none of so many first replies states its answer in the set form


class Plan:
    """The state of all samples.

    Each question gets `samples` requests; when all are answered, dropped rationales are sampled again under new sample
    numbers, up to `resamples`. So the requests depend on the answers, not on their order in time. Questions with the
    same text share their requests: one is sent, and its answer finishes all of them.
    """

    def __init__(self, questions: Sequence[Question], config: Teacher, journal: Journal) -> None:
        """Raises ConfigError if the few-shot examples are unusable."""
        self._questions, self.config, self.journal = questions, config, journal
        self.asking, self.budget = RequestBuilder(config, local.identity(config.endpoint)), Budget(config)
        self._planned = [0] * len(questions)  # number of samples planned so far
        self._waiting = [0] * len(questions)  # requests in flight
        self._kept = [0] * len(questions)
        self._keys: dict[Job, str] = {}
        self._twins: dict[str, list[Job]] = {}  # by the key of a request in flight: the other jobs that wait for it
        self._paid: set[str] = set()
        self._unknown: set[str] = set()  # finish reasons that were warned about
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
        ask = self.asking.ask(self._questions[index], sample)
        self._keys[index, sample] = ask.key
        return ask

    def initial_jobs(self) -> list[Job]:
        """(index of the question, sample) of every request that the journal does not answer."""
        return [(i, s) for i in range(len(self._questions)) for s in self._settle(i, self._more(i))]

    def known(self, key: str) -> Reply | None:
        """The reply in the journal, or None."""
        record = self.journal.get(key)
        return Reply(**{name: record[name] for name in Reply.__slots__}) if record else None

    def finish(self, index: int, sample: int, outcome: Reply | str) -> tuple[list[Job], int]:
        """Record a reply (already in the journal) or the reason of a failure.

        Returns the jobs to do next, and the number of questions that have no request in flight any more.
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
        """The error to stop the run with, or None: the first requests all failed alike, more failed than `max_failed`
        allows, or no reply states its answer in the form of the setting `answer`.
        """
        if self.counts["done"] >= UNSTATED and not self._stated:
            form = self._form.wording.replace("{answer}", "<answer>")
            return TeacherError(
                f"none of the teacher's first {UNSTATED} answers is stated as {form!r}: say so in"
                " teacher.prompt.system, or set answer.kind to what the teacher writes; what is finished is kept"
            )
        if self.counts["failed"] < ALIKE:
            return None
        first = list(islice(self.failed.values(), ALIKE))
        if not self.counts["done"] and len({text.partition(":")[0] for text in first}) == 1:
            return TeacherError(
                f"the first {ALIKE} requests all failed alike ({first[0]}): correct the teacher settings,"
                " then run again"
            )
        return self.too_many_failed(self.config.samples * len(self._questions))

    def too_many_failed(self, planned: int) -> TeacherError | None:
        """An error if more of the `planned` requests failed than `max_failed` allows, or None."""
        if (failed := self.counts["failed"]) <= self.config.max_failed * planned:
            return None
        return TeacherError(
            f"{failed} of {planned} requests failed for good ({next(iter(self.failed.values()))}, ...), more than"
            " teacher.max_failed allows; what is finished is kept, run again to ask for the rest"
        )

    @property
    def open(self) -> int:
        """Number of questions with requests in flight."""
        return sum(map(bool, self._waiting))

    @property
    def at_most(self) -> list[int]:
        """The most requests that each question may still need, those in flight included."""
        return [
            self._waiting[i] + (self.config.samples + self.config.resamples - self._planned[i] if out else 0)
            for i, out in enumerate(self._waiting)
        ]

    def outcomes(self) -> Iterator[Outcome]:
        """The outcome of every planned sample, in the order of the table; texts are read from the journal again.

        Raises TeacherError if a record is missing from the journal.
        """
        for index, planned in enumerate(self._planned):
            for sample in range(planned):
                yield self._questions[index], sample, self.failed.get((index, sample)) or self._judged(index, sample)

    def _judged(self, index: int, sample: int) -> tuple[Reply, Verdict]:
        if (reply := self.known(self._keys[index, sample])) is None:
            raise TeacherError("a finished request is missing from the journal: run again")
        return reply, self._verdicts[index, sample]

    def _more(self, index: int) -> range:
        """The samples to plan now."""
        planned, config = self._planned[index], self.config
        if planned == 0:
            count = config.samples
        elif self._waiting[index] or any((index, sample) in self.failed for sample in range(planned)):
            count = 0
        else:
            count = min(config.samples - self._kept[index], config.samples + config.resamples - planned)
        self._planned[index] += max(0, count)
        return range(planned, self._planned[index])

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
            self.budget.paid(reply)
        self.counts["done"] += 1
        self.counts["tokens"] += reply.prompt_tokens + reply.completion_tokens
        self.counts["completion_tokens"] += reply.completion_tokens
        warn_unknown_finish(reply, self.config, self._unknown)
        verdict = self._verdicts[job] = judge(reply, self._questions[job[0]], self.config)
        self._kept[job[0]] += verdict.kept
        if not self._stated:  # a right answer without any statement is as good as a sentence
            right = self._form.kind == "sentence" and verdict.correct
            self._stated = right or states_answer(self._form, reply.text)
