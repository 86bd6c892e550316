"""What learns numbers of columns that are read whole: with a target, and without one."""

from .backbones import Network, NetworkTopics
from .embeddings import Sentences, SentenceTopics
from .shapes import PatchTopics, PatchWeights
from .trained import TrainedNetwork
from .tuned import TunedSentences
from .words import OfText, Topics, Words

__all__ = ["LEARNERS", "Network", "NetworkTopics"]
__all__ += ["SentenceTopics", "Sentences", "Topics", "TrainedNetwork"]
__all__ += ["TunedSentences", "Words"]

LEARNERS: dict[str, tuple[type[OfText], type[OfText]]] = {
    "text": (Words, Topics),
    "image": (PatchWeights, PatchTopics),
}
