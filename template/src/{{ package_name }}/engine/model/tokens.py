"""From a text to the numbers of its tokens, as the makers of a pretrained model cut texts.

Two ways, with the standard library alone: WordPiece, as BERT has it (Schuster and Nakajima 2012;
Devlin et al. 2019), and pairs of bytes merged in their order, as Llama has it (Sennrich et al.
2016). Both read the tokenizer.json of the library `tokenizers`.
"""

import unicodedata
from functools import lru_cache
from typing import Any

import msgspec

LONGEST_WORD = 100  # characters: of longer ones WordPiece knows nothing, and merges begin anew
SPACE = "\u2581"  # stands for a space within a merged token
CACHED = 50_000  # words whose tokens are remembered
# Characters that BERT takes as words of their own (Devlin et al. 2019, tokenization.py).
IDEOGRAPHS = (
    *((0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F)),
    *((0x2B740, 0x2B81F), (0x2B820, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F)),
)


class Tokens(msgspec.Struct, frozen=True, eq=False, tag_field="way"):
    """How a text becomes tokens: `vocabulary` numbers them, `unknown` is the number of any other.

    `before` and `behind` are numbers that a text is put between.
    """

    vocabulary: dict[str, int]
    unknown: int
    before: tuple[int, ...] = ()
    behind: tuple[int, ...] = ()

    def cut(self, text: str) -> list[int]:
        """Return the numbers of the tokens of a text."""
        raise NotImplementedError


class WordPiece(Tokens, frozen=True, eq=False, tag="wordpiece"):
    """The longest known beginning of each word, then that of what is left, marked with `mark`."""

    lowercase: bool = True
    strip_accents: bool = True
    clean: bool = True
    ideographs: bool = True
    mark: str = "##"
    longest: int = LONGEST_WORD

    def cut(self, text: str) -> list[int]:
        """Return the numbers of the tokens of a text."""
        return [number for word in self._words(text) for number in _pieces(self, word)]

    def _words(self, text: str) -> list[str]:
        if self.clean:
            text = "".join(map(_cleaned, text))
        if self.ideographs:
            text = "".join(f" {sign} " if _is_ideograph(sign) else sign for sign in text)
        if self.strip_accents:
            apart = unicodedata.normalize("NFD", text)
            text = "".join(sign for sign in apart if unicodedata.category(sign) != "Mn")
        if self.lowercase:
            text = "".join(map(str.lower, text))  # one by one: no final sigma
        marked = (f" {sign} " if _is_punctuation(sign) else sign for sign in text)
        return "".join(marked).split()


class Merges(Tokens, frozen=True, eq=False, tag="merges", kw_only=True):
    """Neighbouring tokens are merged, the pair of the lowest rank first; of an unknown one bytes.

    `ranks` numbers pairs, whose two parts a line break is between.
    """

    ranks: dict[str, int]

    def cut(self, text: str) -> list[int]:
        """Return the numbers of the tokens of a text."""
        if not text:
            return []
        marked = f"{SPACE}{text.replace(' ', SPACE)}"
        found: list[int] = []
        start = 0
        # No known token has a space behind another sign, so that words stand for themselves.
        for place in range(1, len(marked) + 1):
            is_end = place == len(marked) or place - start == LONGEST_WORD
            if is_end or (marked[place] == SPACE and marked[place - 1] != SPACE):
                found += _merged(self, marked[start:place])
                start = place
        return found


Known = WordPiece | Merges


@lru_cache(maxsize=CACHED)
def _pieces(tokens: WordPiece, word: str) -> tuple[int, ...]:
    if len(word) > tokens.longest:
        return (tokens.unknown,)
    found, start = [], 0
    while start < len(word):
        head = tokens.mark if start else ""
        for end in range(len(word), start, -1):
            number = tokens.vocabulary.get(head + word[start:end])
            if number is not None:
                found.append(number)
                start = end
                break
        else:
            return (tokens.unknown,)
    return tuple(found)


@lru_cache(maxsize=CACHED)
def _merged(tokens: Merges, word: str) -> tuple[int, ...]:
    parts: list[str] = []
    for sign in word:
        if sign in tokens.vocabulary:
            parts.append(sign)
            continue
        coded = [f"<0x{byte:02X}>" for byte in sign.encode(errors="replace")]
        is_known = all(byte in tokens.vocabulary for byte in coded)
        parts += coded if is_known else [""]
    while len(parts) > 1:
        ranked = [
            (rank, place)
            for place in range(len(parts) - 1)
            if (rank := tokens.ranks.get(f"{parts[place]}\n{parts[place + 1]}")) is not None
        ]
        if not ranked:
            break
        place = min(ranked)[1]
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
    return tuple(tokens.vocabulary.get(part, tokens.unknown) for part in parts)


@lru_cache(maxsize=10_000)
def _cleaned(sign: str) -> str:
    if sign in "\t\n\r" or unicodedata.category(sign) == "Zs":
        return " "
    is_odd = sign in "\x00\ufffd" or unicodedata.category(sign) in ("Cc", "Cf", "Co", "Cs")
    return "" if is_odd else sign


@lru_cache(maxsize=10_000)
def _is_punctuation(sign: str) -> bool:
    return (sign.isascii() and sign.isprintable() and not sign.isalnum() and sign != " ") or (
        unicodedata.category(sign)[0] == "P"
    )


@lru_cache(maxsize=10_000)
def _is_ideograph(sign: str) -> bool:
    return any(low <= ord(sign) <= high for low, high in IDEOGRAPHS)


def of_vocabulary(lines: list[str], *, lowercase: bool) -> WordPiece:
    """Return the tokens of a vocab.txt of BERT, a line for each; KeyError where one is missing."""
    places = {line: place for place, line in enumerate(lines)}
    edges = ((places["[CLS]"],), (places["[SEP]"],))
    return WordPiece(places, places["[UNK]"], *edges, lowercase=lowercase, strip_accents=lowercase)


def of_settings(settings: dict[str, Any]) -> Known:
    """Return the tokens that a tokenizer.json describes.

    ValueError names what is not known here, or KeyError what is missing.
    """
    model = settings["model"]
    kind = model.get("type") or ("WordPiece" if "continuing_subword_prefix" in model else "BPE")
    before, behind = _edges(settings)
    normalizer = settings.get("normalizer") or {}
    if kind == "WordPiece":
        if normalizer.get("type") != "BertNormalizer":
            raise ValueError(f"its normalizer {normalizer.get('type')} is not built, BERT's is")
        _only(settings, "pre_tokenizer", "BertPreTokenizer")
        lowercase = bool(normalizer["lowercase"])
        accents = normalizer.get("strip_accents")
        return WordPiece(
            model["vocab"],
            model["vocab"][model.get("unk_token", "[UNK]")],
            before,
            behind,
            lowercase=lowercase,
            strip_accents=lowercase if accents is None else bool(accents),
            clean=bool(normalizer["clean_text"]),
            ideographs=bool(normalizer["handle_chinese_chars"]),
            mark=model.get("continuing_subword_prefix", "##"),
            longest=int(model.get("max_input_chars_per_word", LONGEST_WORD)),
        )
    if kind != "BPE":
        raise ValueError(f"its model {kind} is not built, WordPiece and BPE are")
    told = [(each.get("type"), each.get("prepend")) for each in normalizer.get("normalizers", ())]
    if told != [("Prepend", SPACE), ("Replace", None)] or settings.get("pre_tokenizer"):
        raise ValueError("its BPE is of another kind than that of Llama, which is built")
    if not model.get("byte_fallback"):
        raise ValueError("its BPE has no bytes for unknown signs, which Llama's has")
    pairs = [each.split(" ") if isinstance(each, str) else each for each in model["merges"]]
    if any(
        SPACE in right.lstrip(SPACE) or (right[0] == SPACE and left.strip(SPACE))
        for left, right in pairs
    ):
        raise ValueError("its BPE merges across spaces, which is not built")
    ranks = {f"{left}\n{right}": rank for rank, (left, right) in enumerate(pairs)}
    return Merges(model["vocab"], model["vocab"][model["unk_token"]], before, behind, ranks=ranks)


def _only(settings: dict[str, Any], part: str, known: str) -> None:
    found = (settings.get(part) or {}).get("type")
    if found != known:
        raise ValueError(f"its {part} {found} is not built, {known} is")


def _edges(settings: dict[str, Any]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the numbers that a text is put between."""
    processor = settings.get("post_processor") or {}
    if processor.get("type") == "BertProcessing":
        return (int(processor["cls"][1]),), (int(processor["sep"][1]),)
    if processor.get("type") != "TemplateProcessing":
        return (), ()
    ids = {name: each["ids"] for name, each in processor["special_tokens"].items()}
    sides: tuple[list[int], list[int]] = [], []
    side = 0
    for part in processor["single"]:
        if "Sequence" in part:
            side = 1
        else:
            sides[side].extend(ids[part["SpecialToken"]["id"]])
    return tuple(sides[0]), tuple(sides[1])
