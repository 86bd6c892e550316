"""Columns of texts: what makes a column one, and what is counted of texts in place of them."""

from collections.abc import Mapping

import numpy as np
import polars as pl

from .. import privacy
from ..formats import number, percent
from ..model import texts
from ..model.texts import LEAST_ROWS, corpus
from .contract import Contract

WORDS = 4  # of a text on average; without spaces, characters
SIGNS = 8
MANY = 1000  # different texts are no levels, even where they come back
LONGEST = 10_000  # characters that a drafted contract allows at least
MAIL = r"[\w+-]@[\w-]+(\.[\w-]+)*\.[A-Za-z]{2,}"
EXAMINED = 2000  # texts that personal data are looked for in
# What text looks like that was decoded by a wrong encoding: U+FFFD, and UTF-8 read as Latin.
MISREAD = r"\ufffd|[\u00c3\u00c2][\u0080-\u00bf]|\u00e2\u20ac"


def are_texts(values: pl.Series, few: int) -> bool:
    """Whether values of a column, without missing ones, are texts to be read and no levels.

    Short ones have to be many. What holds an address of mail is never a level, which is written
    down in many places: where it stands among other words, marks can take its place.
    """
    different = values.n_unique()
    words = values.str.count_matches(r"\S+").sum() / max(1, len(values))
    signs = values.str.count_matches(f"[{texts.UNSPACED}]").sum() / max(1, len(values))
    if different <= few:
        return False
    if words > 1 and has_mail(values):
        return True
    times = 1 if different > min(0.5 * len(values), MANY) else 2
    return bool(words >= times * WORDS or signs >= times * SIGNS)


def have_words(values: pl.Series, few: int) -> bool:
    """Whether levels, more than a few, have several words each, as texts that come back do."""
    return values.n_unique() > few and values.str.count_matches(r"\S+").sum() >= WORDS * len(values)


def told_of_levels(different: int) -> str:
    """Say what becomes of such levels, and how their words count."""
    return (
        f"{different} different texts of several words: each counts as a level; with the custom "
        "property freeText: true its words count"
    )


def has_mail(values: pl.Series) -> bool:
    """Whether an address of mail stands in one of the values at least."""
    return bool(values.str.contains(MAIL).any())


def personal(values: pl.Series) -> str:
    """Say what of texts names somebody, or ""; no value of them."""
    some = values.gather_every(max(1, len(values) // EXAMINED))
    found: dict[str, int] = {}
    for text in some:
        for name in {match.lastgroup or "" for match in privacy.FOUND.finditer(text)}:
            found[name] = found.get(name, 0) + 1
    if not found:
        return ""
    listed = ", ".join(f"{name} {percent(n / len(some))}" for name, n in sorted(found.items()))
    return (
        f"texts that hold such: {listed}; marks stand for these in what models learn and what is "
        "written down, but names of people stay: ask who may read reports"
    )


def longest(values: pl.Series) -> int:
    """Return the characters that a contract allows: twice those of the longest text."""
    return max(LONGEST, 2 * max(values.str.len_chars().to_list(), default=0))


def doubts(frame: pl.DataFrame, contract: Contract) -> dict[str, int]:
    """Count texts that look as if they were decoded by a wrong encoding, by "column: rule"."""
    names = [column.name for column in contract.columns if column.kind == "text"]
    found = {f"{n}: encoding": int(frame[n].str.contains(MISREAD).sum() or 0) for n in names}
    return {rule: rows for rule, rows in found.items() if rows}


def watched(
    frame: pl.DataFrame, contract: Contract, known: Mapping[str, texts.Words] | None = None
) -> pl.DataFrame:
    """Return rows with what is watched of texts: characters, script, and share of unknown words.

    `known` are the words of a bundle by column. Without them each text is held against the others,
    as a new one will be.
    """
    for column in contract.features:
        if column.kind != "text" or column.name not in frame.columns:
            continue
        values = frame[column.name]
        rows = values.to_list()
        words = (known or {}).get(column.name)
        shares = _unknown(rows) if words is None else [_share(text, words) for text in rows]
        scripts = [None if text is None else texts.script(text) for text in rows]
        characters, script, unknown = names(column.name)
        frame = frame.with_columns(
            values.str.len_chars().cast(pl.Int64).alias(characters),
            pl.Series(script, scripts, dtype=pl.String),
            pl.Series(unknown, shares, dtype=pl.Float64),
        )
    return frame


def names(column: str) -> tuple[str, str, str]:
    """Return the names of what is watched of a column."""
    return f"{column}: characters", f"{column}: script", f"{column}: unknown words"


def _share(text: str | None, words: texts.Words) -> float | None:
    single = [term for term in texts.terms(text or "") if " " not in term]
    unknown = sum(term not in words.places for term in single)
    return round(unknown / len(single), 4) if single else None


def _unknown(rows: list[str | None]) -> list[float | None]:
    """Return for each text the share of its words that too few others have."""
    levels = tuple(dict.fromkeys(filter(None, rows)))
    known = corpus(levels)
    have = (known.counts > 0).sum(axis=0).A1 if len(known.terms) else []
    often = {term for term, n in zip(known.terms, have, strict=True) if n > LEAST_ROWS}
    found = {}
    for text in levels:
        single = [term for term in texts.terms(text) if " " not in term]
        unknown = sum(term not in often for term in single)
        found[text] = round(unknown / len(single), 4) if single else None
    return [found.get(text or "") for text in rows]


def told(values: pl.Series) -> str:
    """Say how many texts there are and how long they are."""
    middle = np.median(values.str.count_matches(r"\S+").to_numpy())
    return (
        f"{number(values.n_unique())} different texts, the median of {number(float(middle))} words"
    )
