"""What learns numbers of columns that are read whole: with a target, and without one."""

from .embeddings import Sentences, SentenceTopics
from .tuned import TunedSentences
from .words import OfText, Topics, Words

__all__ = ["LEARNERS", "SentenceTopics", "Sentences", "Topics", "TunedSentences", "Words"]

LEARNERS: dict[str, tuple[type[OfText], type[OfText]]] = {"text": (Words, Topics)}
