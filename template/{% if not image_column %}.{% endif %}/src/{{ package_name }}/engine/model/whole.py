"""What a bundle holds of columns that are read whole: its files, and what reads them."""

from functools import partial

from . import sentences, texts, ways
from .sentences import Meaning
from .texts import Words
from .ways import Way, drawn

__all__ = ["FILES", "content", "drawn", "read"]
WAYS = {
    ("text", ""): Way(texts.FILE, Words, texts.content, texts.read),
    ("text", "sentences"): Way(sentences.FILE, Meaning, sentences.content, sentences.read),
}
FILES = tuple(way.file for way in WAYS.values())
content, read = partial(ways.content, WAYS), partial(ways.read, WAYS)
