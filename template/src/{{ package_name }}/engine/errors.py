"""The two ways a command can end badly. Everything else is a bug."""


class ProjectError(Exception):
    """Bad usage, input or environment: one line that says what, where and how to mend it."""

    exit_code = 2


class CheckFailed(ProjectError):
    """A check did its work and the answer is no."""

    exit_code = 1
