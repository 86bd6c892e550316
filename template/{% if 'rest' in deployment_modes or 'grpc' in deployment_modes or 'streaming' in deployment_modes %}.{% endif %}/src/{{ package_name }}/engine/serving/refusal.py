"""Why a caller gets no predictions, in the words of every way to serve."""

import msgspec


class Problem(msgspec.Struct, frozen=True):
    """What is wrong with a field of a row; null stands for the row or the request as a whole.

    The problem is the rule that is broken, in the words of `ml validate` and `ml score`.
    """

    row: int | None
    field: str | None
    problem: str
    hint: str


class Refusal(msgspec.Struct, frozen=True):
    """Why a request got no predictions."""

    errors: list[Problem]
    request_id: str | None = None


class Refused(Exception):
    """Ends a request with `status` and what is wrong with it."""

    def __init__(self, status: int, *problems: Problem) -> None:
        self.status = status
        self.problems = list(problems)

    def body(self, request_id: str | None = None) -> bytes:
        """Return the answer to the caller."""
        return msgspec.json.encode(Refusal(self.problems, request_id))


def refused(status: int, problem: str, hint: str) -> Refused:
    """Refuse a request as a whole."""
    return Refused(status, Problem(None, None, problem, hint))


def too_busy() -> Refused:
    """Refuse a request that the service has no room for now."""
    return refused(503, "too busy", "send it again in a second")


def out_of_use() -> Refused:
    """Refuse every request to a model that was retired."""
    return refused(503, "the model was retired", "use your fallback, and take this call out")


def too_slow(seconds: float) -> Refused:
    """Refuse a request that took too long to arrive."""
    return refused(408, "too slow", f"send the whole request within {seconds:g} seconds")
