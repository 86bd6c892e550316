"""Operators from a text to a few numbers, learnt from training rows.

In training each different text of the development rows is a level, so that such an operator is a
table of the numbers of each; a bundle holds words and weights in its place (`texts.Words`).
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache, lru_cache, partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from . import texts
from .lookups import INNER_FOLDS, Table
from .operators import Count, Floats, Learnt, Rows
from .texts import LEAST_ROWS, Corpus, corpus

PENALTY = 10.0  # C of the logistic regression
Codes = NDArray[np.int64]


class OfText(Table, frozen=True, kw_only=True):
    """Numbers of a text by the tf-idf of at most `most` words and pairs of words.

    `stem` ("english") or `lemma` ("en") counts forms of one word as one, by the libraries
    `snowballstemmer` or `simplemma`, which only training needs: a bundle names each form it knows.
    """

    most: Annotated[int, msgspec.Meta(ge=1, le=200_000)] = 60_000
    stem: str = ""
    lemma: str = ""
    takes: ClassVar[str] = "text"
    gives: ClassVar[str] = "words"  # behind the name of the column, where nobody named it
    without_target: ClassVar[str] = "Topics"

    def placed(self, root: Path) -> Self:
        """Return it with the files that it names found in a project's folder."""
        return self

    def problem(self) -> str:
        """Ask for one way at most, its library, and a language that it knows."""
        if self.stem and self.lemma:
            return "give stem or lemma, not both"
        for library, language in (("snowballstemmer", self.stem), ("simplemma", self.lemma)):
            if language and find_spec(library) is None:
                word = "stem" if language == self.stem else "lemma"
                return f"{word} needs the library {library}: `uv add --group train {library}`"
        try:
            _former(self.stem, self.lemma)("word")
        except (KeyError, ValueError):
            return f"the library knows no language {self.stem or self.lemma!r}"
        return ""

    def weights(self, x: Any, rows: Rows) -> tuple[Floats, Floats]:
        """Learn from tf-idf (rows, terms): weights (terms, numbers) and intercepts (numbers,)."""
        raise NotImplementedError

    def learn(self, columns: Floats, levels: tuple[str, ...], rows: Rows) -> Learnt:
        """Learn words and weights from the texts of rows; the table has the numbers of all."""
        own = corpus(levels).terms
        texts_of, at = _by_forms(levels, self.stem, self.lemma)
        codes = columns[:, 0].astype(np.int64)
        known = np.array([not level or level.isspace() for level in levels] + [True])
        seen = ~known[codes]
        kept, idf = _vocabulary(texts_of, codes[seen], self.most)
        x = _weighed(texts_of.counts[:, kept], idf)
        goals = None if rows.goals is None else rows.goals[seen]
        weights, intercept = self.weights(x[codes[seen]], rows._replace(goals=goals))
        table = np.full((len(levels) + 1, len(intercept)), np.nan)
        table[:-1] = x @ weights + intercept
        table[known] = np.nan
        column = np.full(len(texts_of.terms), -1)
        column[kept] = np.arange(len(kept))
        is_kept = column[at] >= 0
        return {
            "table": table,
            "terms": own[is_kept],
            "places": column[at][is_kept],
            "idf": idf,
            "weights": weights,
            "intercept": intercept,
        }

    def words(self, learnt: Learnt) -> texts.Reader:
        """Return what a bundle holds of it."""
        told = zip(learnt["terms"], learnt["places"].tolist(), strict=True)
        places = {str(term): place for term, place in told}
        return texts.Words(places, learnt["idf"], learnt["weights"], learnt["intercept"])


class Words(OfText, frozen=True, kw_only=True):
    """What a linear model of the words says of the target: a number for each of its goals.

    Logistic regression where a goal is 0 or 1, else ridge regression. Training rows never see
    their own target: theirs is the number by the other parts of five, and equal texts are in one
    part (Wolpert 1992).
    """

    purpose: ClassVar[str] = "what is written tells of the target: its words, each with its weight"

    def weights(self, x: Any, rows: Rows) -> tuple[Floats, Floats]:
        """Fit each goal."""
        return of_goals(self, x, rows)

    def training(self, columns: Floats, levels: tuple[str, ...], rows: Rows) -> Floats:
        """Return numbers that hold no row's own target, shape (rows, goals)."""
        return honest(self, columns, levels, rows)


class Topics(OfText, frozen=True, kw_only=True):
    """The `keep` directions in which texts differ the most (Deerwester et al. 1990, LSA)."""

    keep: Count = 8
    purpose: ClassVar[str] = "what texts are about, learnt without the target"

    def weights(self, x: Any, rows: Rows) -> tuple[Floats, Floats]:
        """Learn by singular vectors; the largest weight of each is positive."""
        from scipy.sparse.linalg import svds

        keep = min(self.keep, min(x.shape) - 1)
        axes = np.zeros((x.shape[1], self.keep))
        if keep > 0:
            start = np.random.default_rng(rows.seed).normal(size=min(x.shape))
            found = svds(x, k=keep, v0=start)[2][::-1].T
            largest = np.take_along_axis(found, np.abs(found).argmax(axis=0)[None], axis=0)
            axes[:, :keep] = found * np.sign(largest)
        return axes, np.zeros(self.keep)


def of_goals(operator: OfText, x: Any, rows: Rows) -> tuple[Floats, Floats]:
    """Return weights (columns, goals) and intercepts (goals,) of x (rows, columns)."""
    if rows.goals is None:
        raise ValueError(f"it needs a target that every row has: use {operator.without_target}")
    found = [fitted(x, goal, rows.seed) for goal in rows.goals.T]
    weights, intercepts = zip(*found, strict=True)
    return np.stack(weights, axis=1), np.array(intercepts)


def honest(operator: OfText, columns: Floats, levels: tuple[str, ...], rows: Rows) -> Floats:
    """Return numbers of training rows by the other parts of five, shape (rows, goals)."""
    codes = columns[:, 0].astype(np.int64)
    rng = np.random.default_rng(rows.seed)
    part = rng.integers(0, INNER_FOLDS, len(levels) + 1)[codes]
    if rows.goals is None:
        raise ValueError(f"it needs a target that every row has: use {operator.without_target}")
    found = np.full(rows.goals.shape, np.nan)
    for number in range(INNER_FOLDS):
        others, these = part != number, part == number
        if others.any() and these.any():
            goals = rows._replace(goals=rows.goals[others])
            found[these] = operator.learn(columns[others], levels, goals)["table"][codes[these]]
    return found


def complete(features: Sequence[Any], columns: Mapping[str, type[OfText]]) -> list[Any]:
    """Return declared features, with one of each column that none is made of; these come first."""
    of = {source for item in features if isinstance(item, OfText) for source in item.sources}
    missing = ((name, kind) for name, kind in columns.items() if name not in of)
    added = [kind(f"{name}.{kind.gives}", of=name) for name, kind in missing]
    declared = [item for item in features if isinstance(item, OfText)]
    return [*declared, *added, *(item for item in features if item not in declared)]


@cache
def _former(stem: str, lemma: str) -> Callable[[str], str]:
    """Return what makes one form of the forms of a word; KeyError, ValueError for no language."""
    if stem:
        found: Callable[[str], str] = import_module("snowballstemmer").stemmer(stem).stemWord
    elif lemma:
        lemmatize = import_module("simplemma").lemmatize
        found = partial(lemmatize, lang=lemma)
    else:
        found = str
    return lru_cache(maxsize=200_000)(found)


@lru_cache(maxsize=8)
def _by_forms(levels: tuple[str, ...], stem: str, lemma: str) -> tuple[Corpus, Codes]:
    """Return the corpus of texts whose terms are forms, and the place of each own term there.

    Of a pair of words that is the form of each. Every fold asks for the same.
    """
    known = corpus(levels)
    if not (stem or lemma):
        return known, np.arange(len(known.terms))
    form = _former(stem, lemma)
    return texts.merged(known, [" ".join(map(form, term.split(" "))) for term in known.terms])


def _vocabulary(known: Corpus, codes: Codes, most: int) -> tuple[NDArray[np.intp], Floats]:
    """Return the most frequent terms of rows, in the order of the corpus, and their idf."""
    occurrences = known.counts[codes]
    rows = np.bincount(occurrences.indices, minlength=len(known.terms))
    order = np.lexsort((known.terms.astype(str), -rows))[:most]
    kept = np.sort(order[rows[order] >= LEAST_ROWS])
    return kept, np.log((1 + len(codes)) / (1 + rows[kept])) + 1


def _weighed(counts: Any, idf: Floats) -> Any:
    """Return tf-idf of rows whose length is 1, or 0 without a known term."""
    from scipy import sparse

    x = counts.astype(np.float64)
    x.data = (1 + np.log(x.data)) * idf[x.indices]
    lengths = np.sqrt(np.asarray(x.multiply(x).sum(axis=1)))[:, 0]
    return sparse.csr_matrix(sparse.diags(1 / np.where(lengths > 0, lengths, 1.0)) @ x)


def fitted(x: Any, goal: Floats, seed: int) -> tuple[Floats, float]:
    """Return weights and intercept of one goal."""
    from sklearn.linear_model import LogisticRegression, Ridge

    shown = np.unique(goal)
    if not x.shape[1] or len(shown) < 2:
        mean = float(goal.mean()) if len(goal) else 0.0
        return np.zeros(x.shape[1]), mean
    if set(shown) <= {0.0, 1.0}:
        model = LogisticRegression(C=PENALTY, solver="liblinear", random_state=seed).fit(x, goal)
        return model.coef_[0], float(model.intercept_[0])
    spread = float(goal.std())
    ridge = Ridge(1.0, solver="sparse_cg", random_state=seed).fit(x, (goal - goal.mean()) / spread)
    return ridge.coef_ * spread, float(ridge.intercept_) * spread + float(goal.mean())
