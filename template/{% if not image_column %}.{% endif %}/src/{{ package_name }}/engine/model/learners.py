"""What learns numbers of columns that are read whole: with a target, and without one."""

from .words import OfText, Topics, Words

LEARNERS: dict[str, tuple[type[OfText], type[OfText]]] = {"text": (Words, Topics)}
