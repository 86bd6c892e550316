"""Recommendation: lists by the graph, metrics by hand, and nothing that is later than its row."""

from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import polars as pl
import pytest
from helpers import package
from scipy import sparse as sparse_matrices

package.recommendation()

from recommendation_package import models, value  # noqa: E402
from recommendation_package.engine import history, metrics, performance, privacy, task  # noqa: E402
from recommendation_package.engine.data import (  # noqa: E402
    kept,
    sample,
    signal,
    target,
    target_draft,
    target_fields,
)
from recommendation_package.engine.data.candidate import Candidate  # noqa: E402
from recommendation_package.engine.data.contract import Column, Contract  # noqa: E402
from recommendation_package.engine.errors import ProjectError  # noqa: E402
from recommendation_package.engine.model import (  # noqa: E402
    bundle,
    coded,
    graph,
    head,
    near,
    ranked,
    stored_graph,
    wanted,
)
from recommendation_package.engine.model.fitting import Data  # noqa: E402
from recommendation_package.engine.model.history import Lag  # noqa: E402
from recommendation_package.engine.model.scorer import (  # noqa: E402
    FeatureSpec,
    NumericFeature,
    session,
)

ITEM = Column(name="item", kind="integer", role="target")
AGREED = Contract(
    name="rows",
    version="1",
    columns=(
        Column(name="user", kind="category", role="entity"),
        Column(name="at", kind="timestamp", role="time"),
        Column(name="device", kind="category", role="feature", levels=("a", "b")),
        ITEM,
    ),
)
LOOKS = 8
PAST = tuple(
    Lag(f"item.{n}", of="item", back=n, by="user", on="at", delay_days=0)
    for n in range(1, LOOKS + 1)
)
SPEC = FeatureSpec(tuple(NumericFeature(f.name, f.name) for f in PAST), (), history=PAST)


def looked(frame: pl.DataFrame) -> Data:
    """Return rows as a matrix of what their users did before."""
    found = history.looked_up(frame, history.state_of(PAST, AGREED, frame))
    x = found.select(f.name for f in PAST).to_numpy().astype(np.float32)
    return Data(x, target.values(frame, ITEM), SPEC, 1)


@pytest.fixture(scope="module")
def parts() -> SimpleNamespace:
    """Return rows of the sample in the order of time: learnt from, and later ones."""
    frame = sample.generate(AGREED, 6000, seed=1).sort("at")
    data = looked(frame)
    rows = np.arange(len(frame))
    return SimpleNamespace(
        frame=frame, data=data, learnt=data.rows(rows[:4800]), later=data.rows(rows[4800:])
    )


@pytest.fixture(scope="module")
def fitted(parts: SimpleNamespace) -> dict[str, object]:
    return {name: fit(parts.learnt, 0, {"support": 2}) for name, fit in models.FITTERS.items()}


def test_items_with_names_have_numbers_that_stay(tmp_path: Path) -> None:
    named = Column(name="item", kind="category", role="target")
    first = pl.Series(["b, c", "a", None, "a", "12"])
    coded.add(tmp_path, named, first)
    assert coded.read(tmp_path) == ("12", "a", "b, c")
    coded.add(tmp_path, named, pl.Series(["aa", "a", "Z"]))
    (column,) = coded.known(tmp_path, [named])
    assert column.codes == ("12", "a", "b, c", "Z", "aa")  # the numbers of the first three stay
    frame = pl.DataFrame({"item": ["aa", "12", None, "new"]})
    assert target.outcome(frame, column).to_list() == [4.0, 0.0, None, 5.0]
    places = coded.codes(column.codes)
    assert [coded.number(n, places) for n in ("12.0", "Z", "new")] == [0.0, 3.0, 5.0]
    told = coded.texts(np.array([[4, -1], [0, -7]]), column.codes)
    assert told.tolist() == [["aa", ""], ["12", ""]]
    kinds = {output.name: output.kind for output in target.outputs(column, np.empty(0))}
    assert kinds["items"] == kinds["because"] == "names"
    assert target.outputs(ITEM, np.empty(0)) == task.OUTPUTS
    with pytest.raises(ProjectError, match=r"items\.json beside the contract"):
        target.outcome(frame, named)
    texts = signal.outcome(named, np.array([3.0, 3.0, 7.0]))
    assert texts.to_list() == ["item 3", "item 3", "item 7"]


def test_names_of_personal_items_are_not_listed(tmp_path: Path) -> None:
    named = Column(name="friend", kind="category", role="target", personal=True)
    with pytest.raises(ProjectError, match=r"items\.json would hold the values of friend"):
        coded.add(tmp_path, named, pl.Series(["Ana", "Eva"]))
    assert not [*tmp_path.iterdir()]
    numbered = Column(name="friend", kind="integer", role="target", personal=True)
    coded.add(tmp_path, numbered, pl.Series([7, 8]))
    assert coded.FILE in privacy.NEEDED


@pytest.mark.parametrize("exclude", [True, False])
def test_a_request_says_what_lists_may_show(parts: SimpleNamespace, exclude: bool) -> None:
    """Left out, chosen among, seen or not: against the same list without what may not be there."""
    fitted = models.FITTERS["ease"](parts.learnt, 0, {"exclude": exclude})
    content = graph.emit(
        graph.Predictor((graph.Member(*fitted),), head.Head(10)), SPEC, encoded=True
    )
    opened, x = session(content), parts.later.x[:200]

    def lists(**asked: list[list[int]]) -> list[list[int]]:
        given = {name: np.array(value, np.int64) for name, value in asked.items()}
        return opened.run(["items"], {"x": x, **given})[0].tolist()

    plain, every = lists(), set(np.unique(parts.learnt.y).astype(int))
    assert lists(exclude=[[-1]], only=[[-1]], show_seen=[[-1]]) == plain
    first = [row[:4] for row in plain]
    left = lists(exclude=first)
    for row, before, out in zip(left, plain, first, strict=True):
        assert row[:6] == before[4:] and not {*row} & {*out}
    some = sorted(every)[:25]
    chosen = lists(only=[some] * len(x))
    assert all({n for n in row if n >= 0} <= {*some} for row in chosen)
    few = lists(only=[[some[0], 10**7]] * len(x))  # the places that nothing fills hold none
    assert all(row[0] in (some[0], *range(-11, 0)) and max(row[1:]) < 0 for row in few)
    assert all(max(row) < 0 for row in lists(only=[[10**7]] * len(x)))
    assert stored_graph.stated(content, wanted.items_of).tolist() == sorted(every)
    further = lists(earlier=first)  # taken before what the model sees: as if it were seen
    assert further == (left if exclude else plain)
    seen = [{int(n) for n in row if not np.isnan(n)} for row in x]
    shown = lists(show_seen=[[1]] * len(x))
    hidden = lists(show_seen=[[0]] * len(x))
    assert not any({*row} & had for row, had in zip(hidden, seen, strict=True))
    assert any({*row} & had for row, had in zip(shown, seen, strict=True))
    assert plain == (hidden if exclude else shown)


@pytest.mark.parametrize("name", ["item_item", "factors"])
def test_neighbours_are_the_weights_that_are_kept(
    parts: SimpleNamespace, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With all neighbours lists are the same; with few the graph says what numpy does."""
    monkeypatch.setattr(models, "NEIGHBOURS", 300)
    monkeypatch.setattr(models, "KEPT", 300)
    x = parts.later.x[:300].copy()
    x[:20, 1:4] = x[:20, :1]  # an item that comes again counts once
    dense = models.FITTERS[name](parts.learnt, 0, {"support": 2})
    monkeypatch.setattr(models, "DENSE", 0)
    monkeypatch.setattr(models, "BLOCK", 7)
    sparse = models.FITTERS[name](parts.learnt, 0, {"support": 2})
    assert isinstance(sparse.model.weights, near.Near)
    assert not isinstance(dense.model.weights, near.Near)
    many, few = sparse.predict(x), dense.predict(x)  # neighbours are kept in four bytes
    same = many[:, : task.LENGTH] == few[:, : task.LENGTH]
    assert same.mean() > 0.99 and many[same.all(axis=1)] == pytest.approx(
        few[same.all(axis=1)], abs=1e-5
    )
    monkeypatch.setattr(models, "NEIGHBOURS", 12)
    monkeypatch.setattr(models, "KEPT", 12)
    few = models.FITTERS[name](parts.learnt, 0, {"support": 2})
    assert few.model.weights.places.shape[1] == 12
    content = graph.emit(graph.Predictor((graph.Member(*few),), head.Head(10)), SPEC, encoded=True)
    opened = session(content)
    found = opened.run(["ranking", "because"], {"x": x})
    want = few.predict(x)
    assert found[0] == pytest.approx(want[:, : 2 * task.LENGTH], abs=1e-6)
    assert found[1].tolist() == want[:, 2 * task.LENGTH : -1].astype(int).tolist()
    lists = few.predict(parts.later.x)[:, : 2 * task.LENGTH]
    best = metrics.score("ndcg", parts.later.y, dense.predict(parts.later.x)[:, : 2 * task.LENGTH])
    assert metrics.score("ndcg", parts.later.y, lists) > 0.8 * best


@pytest.mark.parametrize("dense", [True, False])
def test_later_items_count_more_in_the_graph_as_well(
    parts: SimpleNamespace, dense: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "DENSE", 5000 if dense else 0)
    model = models.FITTERS["item_item"](parts.learnt, 0, {"support": 2}).model
    faded = model._replace(fade=0.4, short=3.0)
    x = parts.later.x[:400].copy()
    x[:20, 1:4] = x[:20, :1]  # an item that comes again counts as its latest
    x[20:40, 2:4] = x[20:40, 1:2]
    content = graph.emit(
        graph.Predictor((graph.Member(faded, faded.predict),), head.Head(10)), SPEC, encoded=True
    )
    found, want = session(content).run(["ranking", "because"], {"x": x}), faded.predict(x)
    assert found[0] == pytest.approx(want[:, : 2 * task.LENGTH], abs=1e-6)
    assert found[1].tolist() == want[:, 2 * task.LENGTH : -1].astype(int).tolist()
    row = x[np.isnan(x).sum(axis=1).argmin()]
    told = [int(item) for item in row if item in model.items]  # the latest first
    one = model._replace(fade=0.4, short=0.0, exclude=False)
    items = model.items.tolist()
    if dense:  # by hand: the sum of weights, each by where its item comes first
        total = sum(
            0.6 ** row.tolist().index(item) * model.weights[items.index(item)]
            for item in dict.fromkeys(told)
        )
        total[model.offset < 0] = -1
        best = one.predict(row[None])[0]
        assert best[task.LENGTH] == pytest.approx(total.max(), abs=1e-5)
        assert int(best[0]) == items[int(total.argmax())]


def test_what_is_chosen_on_later_rows_is_what_made_them() -> None:
    """Who takes what goes with the last item fades fast; who takes what is popular is short."""
    rng = np.random.default_rng(0)
    count, wide = 4000, 6
    last = rng.integers(0, 40, (count, wide)).astype(np.float32)
    last[:, -1] = np.nan
    spec = FeatureSpec(SPEC.numeric[:wide], (), history=PAST[:wide])
    follows = Data(last, ((last[:, 0] + 1) % 40).astype(np.float64), spec, 1)
    fade, _ = models.suited(follows, models.similar, models.SHORTS)
    assert fade == max(models.FADES)
    some = rng.random(count) < 0.7
    common = np.where(some, rng.geometric(0.1, count), rng.integers(0, 400, count))
    had = rng.integers(0, 400, (count, wide)).astype(np.float32)  # says nothing of what comes
    had[:, -1] = np.nan
    taken = Data(had, common.astype(np.float64), spec, 1)
    assert models.suited(taken, models.similar, models.SHORTS)[1] > 0
    assert models.suited(taken, models.similar, (0.0,))[1] == 0
    few = follows.rows(np.arange(600))  # whose last fifth is too few to tell
    assert models.suited(few, models.similar, (1.0, 3.0)) == (0.0, 1.0)


def test_a_list_is_tried_on_what_its_user_took_next() -> None:
    """Rows that follow are found by their histories, against those of two users."""
    users = [[1, 2, 3, 4], [7, 8, 9]]
    order = [(0, 0), (1, 0), (0, 1), (1, 1), (1, 2), (0, 2), (0, 3)]
    x = np.full((len(order), 2), np.nan, np.float32)
    for row, (user, place) in enumerate(order):
        had = users[user][:place][::-1][:2]
        x[row, : len(had)] = had
    y = np.array([users[user][place] for user, place in order], np.float64)
    data = Data(x, y, FeatureSpec(SPEC.numeric[:2], (), history=PAST[:2]), 1)
    ahead = models.following(data, (0, 1))
    assert ahead.shape == (7, models.AHEAD)
    for row, (user, place) in enumerate(order):
        assert ahead[row][~np.isnan(ahead[row])].tolist() == users[user][place:]
    lists = np.array(
        [[2.0, 5, 1], [0, 0, 0], [0, 0, 2], [8, 9, 0], [9, 0, 0], [0, 0, 0], [4, 0, 0]]
    )
    share = 1 / np.log2([2, 3, 4])
    want = [(1 + 0.5) / share.sum(), 0, 0.5 / share.sum(), 1, 1, 0, 1]
    assert models.discounted(ahead, lists) == pytest.approx(want)


def test_pairs_of_a_share_of_the_rows_tell_as_much(
    parts: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "PAIR_ROWS", 1700)
    known = models.counted(parts.learnt)
    assert known.taken.sum() <= 1600 and known.rows.sum() == 4800
    fitted = models.FITTERS["item_item"](parts.learnt, 0, {"support": 2})
    lists = fitted.predict(parts.later.x)[:, : 2 * task.LENGTH]
    assert metrics.score("ndcg", parts.later.y, lists) > 0.1


def test_what_is_wanted_is_read_from_requests_and_files() -> None:
    codes = coded.codes(("a b", "c"))
    found = wanted.read({"exclude": ["c", "new"], "show_seen": True, "only": []}, codes)
    assert {name: value.tolist() for name, value in found.items()} == {
        "exclude": [[1, 2]],
        "only": [[wanted.BEYOND]],  # of nothing there is nothing to choose
        "show_seen": [[1]],
    }
    for content, said in (
        ({"exclude": "c"}, ("type", "exclude")),
        ({"only": ["c", 1]}, ("type", "only[1]")),
        ({"show_seen": 1}, ("type", "show_seen")),
        ({"exclude": ["c"] * (wanted.MOST + 1)}, ("length", "exclude")),
    ):
        with pytest.raises(wanted.Odd) as odd:
            wanted.read(content, codes)
        assert (odd.value.rule, odd.value.place) == said
    cells = {"exclude": ["a b", '["c", "a b"]', None, "[x"], "show_seen": ["true", "0", "", None]}
    found, wrong, _ = wanted.of_texts(cells, codes, np.arange(2))
    assert found["exclude"].tolist() == [[0, -1], [1, 0], [-1, -1], [-1, -1]]
    assert found["show_seen"].tolist() == [[1], [0], [-1], [-1]] and wrong == {3: "exclude: type"}
    found, wrong, doubts = wanted.of_texts({"only": ["3 4", 5, "x"]}, {}, np.arange(3, 5))
    assert doubts == {1: "only: the model does not know 5"}
    assert found["only"].tolist() == [[3, 4], [5, -1], [-1, -1]] and wrong == {2: "only[0]: type"}


def test_no_number_of_an_item_makes_what_is_wanted_vanish_or_break() -> None:
    """To the graph a number below 0 is no item, and `only` without one shows everything."""
    for name in ("only", "exclude"):
        with pytest.raises(wanted.Odd) as odd:
            wanted.read({name: [3, -1]}, {})
        assert (odd.value.rule, odd.value.place) == ("range", f"{name}[1]")
        found = wanted.read({name: [10**320, 5, task.LARGEST]}, {})[name]
        assert found.tolist() == [[wanted.BEYOND, 5, task.LARGEST]]
    assert wanted.BEYOND > task.LARGEST  # the largest number may be an item's
    cells = {"only": ["-1", "[-1]", "[]", "9" * 5000]}
    found, wrong, _ = wanted.of_texts(cells, {}, np.arange(5))
    assert wrong == {0: "only[0]: type", 1: "only[0]: range", 3: "only[0]: type"}
    assert found["only"].tolist() == [[-1], [-1], [wanted.BEYOND], [-1]]


def test_files_name_items_that_are_texts_of_digits_and_say_yes_as_the_rest_does() -> None:
    codes = coded.codes(("12", "40", "a", "a b", "7 8"))
    cells = {
        "exclude": ["12 40", "[12, 40]", 12, [40, "12"], "12 99", "a b", "7 8", "a 12", "b c"],
        "show_seen": [1, 0, "yes", "N", " True ", 1.0, None, "maybe", False],
    }
    found, wrong, doubts = wanted.of_texts(cells, codes, np.arange(5))
    assert doubts == {
        4: "exclude: the model does not know '99'",
        8: "exclude: the model does not know 'b c'",
    }
    none = len(codes)  # the number of an item that is not known
    assert wrong == {7: "show_seen: type"}
    right = [[0, 1], [0, 1], [0, -1], [1, 0], [0, none], [3, -1], [4, -1], [-1, -1], [none, -1]]
    assert found["exclude"].tolist() == right
    assert found["show_seen"].ravel().tolist() == [1, 0, 1, 0, 1, 1, -1, -1, 0]
    (one,) = wanted.of_texts({"exclude": ["a 12"]}, codes, np.arange(5))[0].values()
    assert one.tolist() == [[2, 0]]


def test_names_with_blanks_stay_whole_beside_others_and_unknown_ones_are_told() -> None:
    codes = coded.codes(("Star Wars", "Alien", "Star", "The  Matrix", "Wars of Roses"))
    known = np.array([0, 1, 2, 3])  # the last came after training
    cells = [
        "Star Wars Alien",
        "Alien The  Matrix",
        "Star",
        "Wars of Roses",
        "Alien Blade Runner Star",
    ]
    found, wrong, doubts = wanted.of_texts({"exclude": cells}, codes, known)
    none = len(codes)
    assert not wrong
    assert found["exclude"].tolist() == [
        [0, 1, -1],
        [1, 3, -1],
        [2, -1, -1],
        [4, -1, -1],
        [1, none, 2],
    ]
    assert doubts == {
        3: "exclude: the model does not know 'Wars of Roses'",
        4: "exclude: the model does not know 'Blade Runner'",
    }
    many = {"exclude": ["Alien", *map(str, range(9))], "only": ["Star", "x" * 60]}
    assert wanted.doubt(many, codes, known) == (
        "exclude: the model does not know '0', '1', '2' and 6 more; only: the model does not know "
        f"'{'x' * 50}'"
    )
    assert not wanted.doubt({"only": [3, 0]}, {}, known)
    assert wanted.doubt({"only": [3, 7]}, {}, known) == "only: the model does not know 7"


def test_metrics_are_those_by_hand() -> None:
    p = np.zeros((4, 2 * task.LENGTH))
    p[:, :3] = [[1, 2, 3], [2, 1, 3], [3, 2, 1], [1, 2, 4]]
    y = np.array([1.0, 1.0, 1.0, 9.0])
    found = metrics.evaluate(y, p, 3)
    assert found["ndcg"] == pytest.approx((1 + 1 / np.log2(3) + 0.5) / 4)
    assert found["recall"] == 0.75 and found["map"] == pytest.approx((1 + 1 / 2 + 1 / 3) / 4)
    assert found["coverage"] == 0.5  # of 1 and 9 lists show 1
    shares = {1: 3 / 4, 2: 1 / 4, 3: 1 / 4, 4: 1 / 4}  # 2, 3 and 4 count as taken once
    bits = sum(-np.log2(shares[item]) for item in p[:, :3].ravel().astype(int))
    assert found["novelty"] == pytest.approx(bits / 12)
    assert found["popularity_bias"] == pytest.approx(4 / 12 - 3 / 4)
    assert metrics.score("recall", y, p, 1) == 0.25  # a shorter list
    assert metrics.sign("popularity_bias") == -1 and metrics.sign("ndcg") == 1
    weights = np.array([2.0, 0, 1, 1])
    again = np.array([0, 0, 2, 3])
    for name in metrics.NAMES:
        assert metrics.score(name, y, p, 3, weights) == pytest.approx(
            metrics.score(name, y[again], p[again], 3)
        )


def test_pairs_of_a_user_count_once_the_more_the_nearer_they_lie() -> None:
    at = pl.datetime_range(pl.datetime(2026, 1, 1), pl.datetime(2026, 1, 7), "1d", eager=True)
    users, items = list("aaabbcc"), [5, 7, 9, 7, 5, 9, 9]
    frame = pl.DataFrame({"user": users, "at": at, "device": "a", "item": items})
    known = models.counted(looked(frame))
    assert known.items.tolist() == [5, 7, 9] and known.rows.tolist() == [2, 2, 3]
    # 5, 7, 9 of a, 7, 5 of b, 9 of c twice, of which the second is no new one.
    near, far = LOOKS / (LOOKS + 1), (LOOKS - 1) / (LOOKS + 1)
    want = [[0, 2 * near, far], [2 * near, 0, near], [far, near, 0]]
    assert known.pairs.toarray() == pytest.approx(np.array(want))
    assert known.taken.tolist() == [2, 2, 2]
    cosine = models.similar(known)
    assert cosine[0, 1] == pytest.approx(2 * near / (2 + models.SHRINK)) and cosine[0, 0] == 0
    again = frame.with_columns(item=pl.Series([5, 7, 5, 7, 5, 9, 9]))
    known = models.counted(looked(again))
    assert known.pairs.toarray() == pytest.approx(
        np.array([[0, 2 * near, 0], [2 * near, 0, 0], [0] * 3])
    )
    # However long histories are, a user's pairs count once: those of one long history here.
    long = Data(
        np.array(
            [[n - k if n >= k else np.nan for k in range(1, 7)] for n in range(50)], np.float32
        ),
        np.arange(50.0),
        FeatureSpec(SPEC.numeric[:6], (), history=PAST[:6]),
        1,
    )
    far = np.abs(np.subtract.outer(np.arange(50), np.arange(50)))
    want = np.where(far > 0, np.maximum(1 - far / 7, 0), 0)
    assert models.counted(long).pairs.toarray() == pytest.approx(want, abs=1e-6)


def test_ease_finds_a_penalty_where_pairs_are_no_gram_matrix() -> None:
    pairs = sparse_matrices.csr_matrix(np.full((3, 3), 900.0) - 900 * np.eye(3))
    none = np.zeros(3)
    known = models.Counts(np.arange(3), none + 1, none, pairs, none + 1, ())
    found = models.ease(known)
    assert np.isfinite(found).all() and (found[~np.eye(3, dtype=bool)] > 0).all()


def test_ease_is_the_ridge_of_each_item_by_the_others(parts: SimpleNamespace) -> None:
    known = models.counted(parts.learnt)
    small = known._replace(pairs=known.pairs[:40, :40], taken=known.taken[:40])
    found = models.ease(small)
    gram = small.pairs.toarray().astype(np.float64) + np.diag(small.taken)
    penalty = models.PENALTY * np.diag(gram).mean()
    for item in (0, 7, 31):
        others = np.delete(np.arange(40), item)
        left = gram[np.ix_(others, others)] + penalty * np.eye(39)
        assert found[others, item] == pytest.approx(np.linalg.solve(left, gram[others, item]))
    assert (np.diag(found) == 0).all()
    assert ((models.largest(found, 5) != 0).sum(axis=0) <= 5).all()


def test_factors_are_those_of_a_singular_value_decomposition() -> None:
    rng = np.random.default_rng(5)
    took = (rng.random((300, 40)) < 0.15).astype(float)
    counts, none = took.sum(axis=0), np.zeros(40)
    pairs = sparse_matrices.csr_matrix(took.T @ took - np.diag(counts))
    known = models.Counts(np.arange(40), counts, none, pairs, counts, ())
    damp = counts**-models.DAMP
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "FACTORS", 7)
        found = models.factors(known)
        _, _, right = np.linalg.svd(took * damp)
        want = damp[:, None] * (right[:7].T @ right[:7]) / damp
        np.fill_diagonal(want, 0)
        assert found == pytest.approx(np.maximum(want, 0), abs=1e-6)
        assert np.array_equal(found, models.factors(known))
        # Of many items each keeps its largest weights, none below 0.
        patch.setattr(models, "DENSE", 10)
        patch.setattr(models, "KEPT", 5)
        patch.setattr(models, "BLOCK", 16)
        spread = models.factors(known).matrix().toarray()[:40, :40]
    for item, row in enumerate(want):
        best = np.argsort(-row)[:5]
        kept = np.zeros(40)
        kept[best] = np.maximum(row[best], 0)
        assert spread[item] == pytest.approx(kept, abs=1e-6)
    alone = models.Counts(np.arange(1), counts[:1], none[:1], pairs[:1, :1], counts[:1], ())
    assert models.factors(alone).weights.tolist() == [[0.0], [0.0]]


def test_models_find_the_tastes_of_the_sample(
    parts: SimpleNamespace, fitted: dict[str, object]
) -> None:
    y = parts.later.y
    found = {n: metrics.evaluate(y, f.predict(parts.later.x)) for n, f in fitted.items()}  # type: ignore[attr-defined]
    for name in ("item_item", "factors", "ease"):
        assert found[name]["ndcg"] > 2 * found["popular"]["ndcg"]
        assert found[name]["coverage"] > 3 * found["popular"]["coverage"]
        assert found[name]["popularity_bias"] < found["popular"]["popularity_bias"]


def test_a_row_knows_nothing_that_is_not_before_it(parts: SimpleNamespace) -> None:
    frame, data = parts.frame, parts.data
    before: dict[str, list[int]] = {}
    for row, (user, item) in enumerate(frame.select("user", "item").iter_rows()):
        known = data.x[row][~np.isnan(data.x[row])].astype(int).tolist()
        assert known == before.get(user, [])[::-1][:LOOKS]
        before.setdefault(user, []).append(item)
    # An item of the future, put among the rows, changes no earlier row and no model of these.
    late = frame.tail(1).with_columns(pl.col("at").dt.offset_by("1d"), item=pl.lit(299, pl.Int64))
    again = looked(pl.concat([frame, late.select(frame.columns)]))
    assert np.array_equal(again.x[:-1], data.x, equal_nan=True)
    # Nor does one at the very moment of a row.
    same = frame.tail(1).with_columns(item=pl.lit(298, pl.Int64))
    together = looked(pl.concat([frame, same]))
    assert np.array_equal(together.x[:-1], data.x, equal_nan=True)


def test_what_a_user_took_before_the_history_is_known_as_well(parts: SimpleNamespace) -> None:
    """Against what a hand finds: all earlier items of the user but the last ones."""
    state = history.state_of(PAST[:2], AGREED, parts.frame)
    keys, moments = history.keys(parts.frame["user"]), history.times(parts.frame["at"])
    found = state.earlier("item", {"user": keys}, moments)
    rows = parts.frame.select("user", "at", "item").rows()
    longest = 0
    for place, (user, at, _) in enumerate(rows[:1500]):
        before = [item for who, when, item in rows if who == user and when < at]
        assert sorted(found[place].tolist()) == sorted(before[: max(0, len(before) - 2)])
        longest = max(longest, len(found[place]))
    assert longest >= 3
    # A lag of another column, however far it reaches, changes nothing of that.
    far = Lag("far", of="price", back=9, by="user", on="at", delay_days=0)
    priced = parts.frame.with_columns(price=pl.lit(1.5))
    price = Column(name="price", kind="number", role="feature")
    agreed = msgspec.structs.replace(AGREED, columns=(*AGREED.columns, price))
    other = history.state_of((far, *PAST[:2]), agreed, priced)
    again = other.earlier("item", {"user": keys}, moments)
    assert all(map(np.array_equal, again, found))
    few = parts.frame.head(3)  # the first rows of all
    assert (
        state.earlier("item", {"user": history.keys(few["user"])}, history.times(few["at"])) is None
    )


@pytest.mark.parametrize("dense", [True, False])
def test_folds_leave_out_what_the_graph_leaves_out(
    parts: SimpleNamespace, dense: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a user took before the history is in no list of cross-validation either."""
    monkeypatch.setattr(models, "DENSE", 5000 if dense else 0)
    past = PAST[:2]
    frame = parts.frame
    state = history.state_of(past, AGREED, frame)
    spec = FeatureSpec(SPEC.numeric[:2], (), history=past)
    short = parts.data._replace(x=parts.data.x[:, :2], spec=spec)
    data = kept.asking(short, state, AGREED, frame)
    assert kept.asking(short, None, AGREED, frame) is short
    fitted = models.FITTERS["item_item"](data, 0, {"support": 2})
    late = data.rows(np.arange(len(data.y))[-700:])
    told, plain = fitted.told(late), fitted.predict(late.x)
    assert (told[:, : task.LENGTH] != plain[:, : task.LENGTH]).any()
    before = [set(items.tolist()) for items in late.beyond.values()]
    assert not any(had & set(row) for had, row in zip(before, told[:, : task.LENGTH], strict=True))
    content = graph.emit(
        graph.Predictor((graph.Member(*fitted),), head.Head(10)), spec, encoded=True
    )
    wide = max(map(len, before))
    earlier = np.full((len(before), wide), -1, np.int64)
    for row, had in zip(earlier, late.beyond.values(), strict=True):
        row[: len(had)] = had
    (found,) = session(content).run(["items"], {"x": late.x, "earlier": earlier})
    assert np.array_equal(found, told[:, : task.LENGTH])
    whole = models.FITTERS["item_item"](data, 0, {"support": 2, "exclude": False})
    assert np.array_equal(whole.told(late), whole.predict(late.x))


def test_ratings_are_known_by_name_and_scale_and_told_how_to_use() -> None:
    rows = np.arange(400)
    frame = pl.DataFrame(
        {
            "Rating": rows % 5 + 1.0,
            "avg_stars": (rows % 10 + 1) / 2,
            "stars_seen": rows,
            "score": rows % 7 / 7,
            "rating_text": ["good", "bad"] * 200,
            "shelf": rows % 5 + 1,
        }
    )
    y = pl.Series("y", rows % 40 * 1.0)
    found = {
        name: told for name, told, _ in target.signs(frame, y, dict.fromkeys(frame.columns, 0.0))
    }
    assert [*found] == ["Rating", "avg_stars"]
    assert "--definition 'CASE WHEN \"Rating\" >= 3 THEN ITEM END'" in found["Rating"]
    assert "from 0.5 to 5," in found["avg_stars"] and '"avg_stars" >= 3 ' in found["avg_stars"]


def test_rows_without_an_item_are_no_part_of_a_history(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else what was not liked would take the place of what was."""
    asked: list[str] = []
    monkeypatch.setattr(history.validation, "stored", lambda _, name, *__: asked.append(name))
    facts = SimpleNamespace(n_rows=1000)
    made = SimpleNamespace(facts=facts, path=lambda _: Path(__file__))
    history.events(made, AGREED)  # type: ignore[arg-type]
    assert asked == [history.VALID]


def test_a_column_that_is_the_item_is_found(parts: SimpleNamespace) -> None:
    y = target.outcome(parts.frame, ITEM)
    copy = parts.frame.with_columns(next=pl.col("item"), other=pl.col("item").shuffle(seed=1))
    (found,) = target.signs(copy, y, {"next": 1.0, "other": 0.0})
    assert found[0] == "next" and "is the item itself" in found[1]
    assert target.association(copy["next"], y) > 0.9
    assert target.association(copy["other"], y.alias("item")) < 0.1


@pytest.mark.parametrize("name", models.FITTERS)
@pytest.mark.parametrize("shown", [1, 4, 10])
def test_the_graph_repeats_the_model(
    parts: SimpleNamespace, fitted: dict[str, object], name: str, shown: int
) -> None:
    one = fitted[name]
    predictor = graph.Predictor((graph.Member(*one),), head.Head(shown))  # type: ignore[misc]
    opened = session(graph.emit(predictor, SPEC, encoded=True))
    x = parts.later.x[:300].copy()
    odd = np.array([np.nan, -3, 1e9, np.inf, -np.inf, 0.4, 16777215, 7.0000005], np.float32)
    x[:8] = odd[:, None]
    x[8:16] = odd[None]
    names = ["ranking", "items", "because", "known"]
    told = dict(zip(names, opened.run(names, {"x": x}), strict=True))
    raw = one.predict(x)  # type: ignore[attr-defined]
    assert np.array_equal(told["ranking"][:, : task.LENGTH], raw[:, : task.LENGTH])
    assert told["ranking"] == pytest.approx(raw[:, : 2 * task.LENGTH], abs=1e-6)
    assert np.array_equal(told["items"], raw[:, :shown])
    assert np.array_equal(told["because"], raw[:, 2 * task.LENGTH :][:, :shown])
    assert np.array_equal(told["known"][:, 0], raw[:, -1])


def test_lists_leave_out_what_was_had_and_who_is_new_gets_what_is_popular(
    parts: SimpleNamespace, fitted: dict[str, object]
) -> None:
    x = parts.later.x
    for one in fitted.values():
        lists = one.predict(x)[:, : task.LENGTH]  # type: ignore[attr-defined]
        assert not (lists[:, :, None] == x[:, None, :]).any()
        assert all(len(set(row)) == task.LENGTH for row in lists.tolist())
    nobody = np.full((1, LOOKS), np.nan, np.float32)
    new = fitted["ease"].predict(nobody)[0]  # type: ignore[attr-defined]
    recent = fitted["recent"].predict(nobody)[0]  # type: ignore[attr-defined]
    assert (new[: task.LENGTH] == recent[: task.LENGTH]).all() and new[-1] == 0
    assert (new[2 * task.LENGTH : 3 * task.LENGTH] == ranked.NONE).all()
    again = models.item_item(parts.learnt, 0, {"exclude": False}).predict(x)
    assert (again[:, : task.LENGTH, None] == x[:, None, :]).any()
    rare = models.popular(parts.learnt, 0, {"support": 10**6}).predict(nobody)[0]
    assert rare[task.LENGTH] == ranked.LEAST  # nobody took an item as often as that


def test_few_items_still_give_lists() -> None:
    at = pl.datetime_range(pl.datetime(2026, 1, 1), pl.datetime(2026, 1, 6), "1d", eager=True)
    frame = pl.DataFrame({"user": list("aabbcc"), "at": at, "device": "a", "item": [1, 2] * 3})
    data = looked(frame)
    found = models.ease_popular(data, 0, {}).predict(data.x)
    assert (found[1, 0], found[0, :2].tolist()) == (2, [1, 2])
    assert (found[:, 2 : task.LENGTH] < 0).all()  # no item


def test_reasons_are_items_of_the_history(
    parts: SimpleNamespace, fitted: dict[str, object]
) -> None:
    raw = fitted["item_item"].predict(parts.later.x)  # type: ignore[attr-defined]
    because = raw[:, 2 * task.LENGTH : 3 * task.LENGTH]
    some = because != ranked.NONE
    assert some.any() and (because[:, :, None] == parts.later.x[:, None, :]).any(axis=2)[some].all()


def test_performance_is_estimated_by_how_far_the_first_item_leads(
    parts: SimpleNamespace, fitted: dict[str, object]
) -> None:
    scores = fitted["item_item"].predict(parts.later.x)[:, : 2 * task.LENGTH]  # type: ignore[attr-defined]
    known = performance.known(scores, parts.later.y)
    assert performance.estimate(scores, known)["ndcg"] == pytest.approx(known["estimated"]["ndcg"])
    said, spoilt = performance.broken(parts.later.y, np.random.default_rng(0))
    real = metrics.discounted(parts.later.y, task.listed(scores, 10)).mean()
    assert said and metrics.discounted(spoilt, task.listed(scores, 10)).mean() < real / 2


def test_for_whom_lists_work_is_told_by_hand() -> None:
    y = np.array([1.0, 2.0, 1.0, 3.0])
    lists, known = np.array([[1, 2], [1, 2], [2, 1], [1, 2]]), np.array([0, 0, 2, 20])
    gained = metrics.discounted(y, lists)
    assert gained == pytest.approx([1, 1 / np.log2(3), 1 / np.log2(3), 0])
    new, short, long = value.by_history(y, lists, known, gained)
    assert (new["known"], new["rows"], new["recall"]) == ("0", 2, 1.0)
    assert (short["known"], long["known"], long["ndcg"]) == ("1 to 2", "11+", 0.0)
    often, seldom = value.by_popularity(y, lists, gained)
    assert (often["rows"], often["recall"], seldom["rows"], seldom["recall"]) == (2, 1.0, 2, 0.5)
    assert value.most_shown(lists)[0] == [1, 1.0]


def test_an_item_is_a_whole_number_or_a_text() -> None:
    assert "integer or string" in next(target_fields.problems(ITEM, "number", ()))
    for kind in ("integer", "category"):
        assert not list(target_fields.problems(ITEM, kind, ()))
        assert "no validValues" in next(target_fields.problems(ITEM, kind, ("a",)))
    with pytest.raises(ProjectError, match="is no item, but number"):
        target_draft.propose(
            Candidate("item", "number", pl.Series([0.5])), pl.Series(["0.5"]), None
        )
    for values, kind in ((["x", "y", None], "category"), ([1, 2**24], "integer")):
        candidate = Candidate("item", kind, pl.Series("item", values))
        y, said = target_draft.propose(candidate, candidate.values.cast(pl.String), None)
        assert (candidate.kind, candidate.listed, candidate.options) == ("category", False, {})
        assert y[:2].to_list() == [0.0, 1.0] and said == "2 items"
    one = pl.DataFrame({"item": [3] * 60})
    assert "has one item" in target.fault(one, ITEM)
    assert "numbered from 0" in target.fault(pl.DataFrame({"item": [-1, 5]}), ITEM)


def test_the_sample_has_items_that_come_later() -> None:
    drawn = signal.interactions(6000)
    first = np.full(signal.ITEMS, drawn.minute.max())
    np.minimum.at(first, drawn.item, drawn.minute)
    assert (first > 0.3 * signal.MINUTES).sum() > 5


def test_a_request_needs_who_and_when_alone() -> None:
    served = {column.name: column for column in bundle.served_columns(AGREED, SPEC)}
    assert [name for name, column in served.items() if column.idle] == ["device"]
    assert served["at"].required and not served["device"].required


def test_items_that_no_list_can_hold_are_told() -> None:
    known = np.array([1, 2, 5])
    told = wanted.unknown(known, np.array([1.0, 9.0, 2.0, 5.0, np.nan]))
    assert told is not None and (told["unknown"], told["rows"], told["level"]) == (1, 4, "warn")
    assert "25 %" in told["said"].replace("\u00a0", " ")
    few = wanted.unknown(known, np.array([9.0, 9.0, 1.0]))
    assert few is not None and few["level"] == "act"
    assert wanted.unknown(known, np.array([np.nan])) is None
