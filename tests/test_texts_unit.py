"""A text column: read in any script, weighed in one way everywhere, never shown as it is."""

import datetime as dt
import re
import threading
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest
import yaml
from helpers import bundles

from package_name import features, models, splitting
from package_name.engine import explaining, monitoring, privacy, threads
from package_name.engine.data import contract, drafting, duplicates, validation
from package_name.engine.data import texts as columns
from package_name.engine.data.wording import TOPICS, written
from package_name.engine.errors import ProjectError
from package_name.engine.features import encode, with_words
from package_name.engine.model import bundle, fitting, graph, texts, words
from package_name.engine.model.derived import Recipe
from package_name.engine.model.head import Head
from package_name.engine.model.operators import Rows
from package_name.engine.model.scorer import FeatureSpec, Scorer
from package_name.engine.model.selection import Selection
from package_name.engine.model.values import ServedColumn, breach, read_value, row_type
from package_name.engine.serving import telemetry

ODD = {
    "Latin": "ﬁne ＡİßE e\u0301 don't",
    "Cyrillic": "Очень вкусно, спасибо",
    "Greek": "Πολύ καλό",
    "Arabic": "جيد جدا شكرا",
    "Hebrew": "טוב מאוד",
    "Indic": "हिंदी में अच्छा",
    "Korean": "아주 좋아요",
    "without spaces": "これは東京のテスト ที่นี่ดีมาก",
    "none": "😀👍🏽 !!! \x00 \ud800 \u200b",
}


def messages(rows: int, seed: int = 0) -> tuple[pl.Series, np.ndarray]:
    """Texts of two topics with their target."""
    rng = np.random.default_rng(seed)
    y = rng.random(rows) < 0.5
    return written("said", pl.Series(y), None, rng), y


def learnt(
    operator: words.OfText, said: pl.Series, y: np.ndarray
) -> tuple[dict, tuple, np.ndarray]:
    levels = tuple(said.drop_nulls().unique().sort())
    places = {text: float(n) for n, text in enumerate(levels)}
    codes = np.array([[places.get(text, len(levels))] for text in said])
    rows = Rows(y.astype(float)[:, None], None, 0, 0)
    return operator.learn(codes, levels, rows), levels, operator.training(codes, levels, rows)


@pytest.mark.parametrize("script", ODD)
def test_any_script_gives_words_and_its_name(script: str) -> None:
    found = texts.terms(ODD[script])
    assert texts.script(ODD[script]) == script
    assert found or script == "none"
    assert all("\x00" not in term and "\ud800" not in term for term in found)


def test_one_word_is_one_term_however_it_is_written() -> None:
    assert texts.terms("CAFÉ") == texts.terms("cafe\u0301") == ["café"]
    assert texts.terms("fr\u200bee \u00adＦＲＥＥ") == ["free", "free", "free free"]
    assert "हिंदी" in texts.terms("हिंदी में")  # vowel signs are part of the word
    assert texts.terms("東京 is big") == ["東京", "is", "big", "is big"]
    assert "👍" in texts.terms("ok 👍")
    assert not texts.terms("x" * 41)


@pytest.mark.parametrize("operator", [words.Words("w", of="said"), words.Topics("w", of="said")])
def test_bundle_repeats_training_on_any_text(operator: words.OfText) -> None:
    said, y = messages(300)
    said = pl.concat([said, pl.Series("said", [*list(ODD.values())[:-1] * 3, "x" * 5000])])
    found, levels, _ = learnt(operator, said, np.r_[y, np.zeros(len(said) - 300, bool)])
    stored = texts.content([operator.words(found)])
    assert stored == texts.content([operator.words(found)])
    names = tuple(str(n) for n in range(found["table"].shape[1]))
    (model,) = texts.read("v1", stored, [texts.TextFeature("w", "said", names)])
    sums = np.array([model.sums(text) for text in levels])
    assert np.abs(sums - found["table"][:-1]).max() < 1e-5
    for nothing in (None, "", " \n\u3000", "NA"):
        assert np.isnan(model.sums(nothing)).all()
    assert np.isfinite(model.sums("\x00\ud800" + "😀" * 10_000)).all()


def test_weights_of_words_add_up_to_the_number() -> None:
    said, y = messages(300)
    operator = words.Words("w", of="said")
    model = operator.words(learnt(operator, said, y)[0])
    told = model.told(said[0], 0)
    assert sum(share for _, share in told) + model.intercept[0] == pytest.approx(
        model.sums(said[0])[0]
    )
    assert abs(told[0][1]) >= abs(told[-1][1])


def test_training_rows_never_see_their_own_target() -> None:
    rng = np.random.default_rng(0)
    said = pl.Series("said", [" ".join(rng.choice(list("abcdefghij"), 6)) for _ in range(600)])
    y = rng.random(600) < 0.5
    found, levels, honest = learnt(words.Words("w", of="said"), said, y)
    naive = found["table"][[levels.index(text) for text in said], 0]

    def auc(values: np.ndarray) -> float:
        order = np.argsort(np.argsort(values))
        return (order[y].mean() - (y.sum() - 1) / 2) / (~y).sum()

    assert auc(naive) > 0.7 and abs(auc(honest[:, 0]) - 0.5) < 0.08


def test_equal_texts_are_in_one_part() -> None:
    said = pl.Series("said", [f"word{n % 20} more words" for n in range(200)])
    y = np.arange(200) % 20 < 10  # known by heart, but from nowhere else
    honest = learnt(words.Words("w", of="said"), said, y)[2][:, 0]
    assert np.corrcoef(honest, y)[0, 1] < 0.3


def test_a_number_is_a_goal_too() -> None:
    said, y = messages(300)
    goal = 1000.0 + 50.0 * y
    operator = words.Words("w", of="said")
    levels = tuple(said.unique().sort())
    codes = np.array([[float(levels.index(text))] for text in said])
    found = operator.learn(codes, levels, Rows(goal[:, None], None, 0, 0))
    assert np.corrcoef(found["table"][codes[:, 0].astype(int), 0], goal)[0, 1] > 0.8


@pytest.mark.parametrize(
    ("given", "forms"),
    [
        ({"stem": "english"}, ("connect", "connected", "connecting", "connections")),
        ({"stem": "german"}, ("Haus", "Hauses", "Hause")),
        ({"lemma": "en"}, ("go", "goes", "went")),
    ],
)
def test_forms_of_a_word_are_one_where_a_feature_says_so(given: dict, forms: tuple) -> None:
    rng = np.random.default_rng(0)
    y = rng.random(300) < 0.5
    other = [f"thing{n % 7} again" for n in range(300)]
    said = pl.Series(
        "said", [f"{forms[n % len(forms)]} {o}" if y[n] else o for n, o in enumerate(other)]
    )
    for operator in (words.Words("w", of="said", **given), words.Topics("t", of="said", **given)):
        assert operator.problem() == ""
        found, levels, _ = learnt(operator, said, y)
        stored = texts.content([operator.words(found)])
        names = tuple(str(n) for n in range(found["table"].shape[1]))
        (model,) = texts.read("v1", stored, [texts.TextFeature("w", "said", names)])
        places = {model.places[form.casefold()] for form in forms}
        assert len(places) == 1 and len(model.idf) < len(model.places)
        sums = np.array([model.sums(text) for text in levels])
        assert np.abs(sums - found["table"][:-1]).max() < 1e-5
        both = model.sums(f"{forms[0]} {forms[1]}")
        assert both == pytest.approx(model.sums(f"{forms[1]} {forms[0]}"), abs=0.05)
        assert {term for term, _ in model.told(forms[1], 0)} == {forms[1].casefold()}


def test_forms_need_one_library_and_a_language_that_it_knows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = {
        "give stem or lemma": {"stem": "english", "lemma": "en"},
        "knows no language 'klingon'": {"stem": "klingon"},
        "knows no language 'tlh'": {"lemma": "tlh"},
    }
    for message, given in said.items():
        assert message in words.Words("w", of="said", **given).problem()
    monkeypatch.setattr(words, "find_spec", lambda name: None)
    for word, library, language in (
        ("stem", "snowballstemmer", "english"),
        ("lemma", "simplemma", "en"),
    ):
        found = words.Words("w", of="said", **{word: language}).problem()
        assert found == f"{word} needs the library {library}: `uv add --group train {library}`"


def test_what_one_text_alone_says_is_in_no_bundle() -> None:
    said, y = messages(200)
    said = said.set(pl.Series(np.arange(200) == 0), "Zacharias wrote from z@example.org")
    operator = words.Words("w", of="said")
    stored = operator.words(learnt(operator, said, y)[0]).places
    assert "zacharias" not in stored and not any("example" in term for term in stored)


def test_a_damaged_file_is_refused() -> None:
    with pytest.raises(ProjectError, match=r"texts\.npz is not usable; restore it"):
        texts.read("v1", b"", [texts.TextFeature("w", "said", ("w",))])
    said, y = messages(100)
    operator = words.Words("w", of="said")
    stored = texts.content([operator.words(learnt(operator, said, y)[0])])
    with pytest.raises(ProjectError, match=r"texts\.npz"):
        texts.read("v1", stored, [texts.TextFeature("w", "said", ("w.1", "w.2"))])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Write to jane.doe@example.org!", "Write to (email)!"),
        ("Call +49 (171) 234-5678 now", "Call (number) now"),
        ("IBAN DE89 3704 0044 0532 0130 00.", "IBAN (iban)."),
        ("from 192.168.10.1", "from (ip)"),
        ("I bought 3 for 12.50 in 2024", "I bought 3 for 12.50 in 2024"),
    ],
)
def test_what_names_somebody_is_masked(text: str, shown: str) -> None:
    assert privacy.masked(text) == shown
    assert privacy.masked(shown) == shown
    assert texts.terms(text) == texts.terms(shown)  # the model never reads it


def test_hostile_texts_take_no_time() -> None:
    for text in (
        "a" * 50_000 + "@",
        "1 " * 50_000,
        "DE89 " * 20_000,
        "\u0301" * 50_000,
        "\ufdfa" * 9999,
    ):
        texts.terms(text)  # pytest's limit of time fails a quadratic pattern


COLUMN = ServedColumn(name="said", kind="text", maximum=20)


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        ("fine", ""),
        ("x" * 21, "length"),
        ("a\x00b", "NUL"),
        (" \n ", "required"),
        ("NA", "required"),
    ],
)
def test_service_and_table_have_the_same_rules(value: str, rule: str) -> None:
    for required in (False, True):
        column = msgspec.structs.replace(COLUMN, required=required)
        expected = rule if required or rule != "required" else ""
        assert breach(read_value(value, column), column) == expected
        found = validation.check(pl.Series("said", [value, "good"]), column, required=required)
        assert [name for name, _ in found.broken] == [expected] * bool(expected)
        try:
            msgspec.convert({"said": value}, row_type([column]))
            assert not expected
        except msgspec.ValidationError:
            assert expected


def table(rows: int = 400) -> pl.DataFrame:
    said, y = messages(rows)
    rng = np.random.default_rng(1)
    said = said.set(pl.Series(rng.random(rows) < 0.05), None)
    return pl.DataFrame(
        {
            "age": rng.normal(40, 9, rows).round(1),
            "shop": rng.choice(["a", "b"], rows),
            "said": said,
            "y": y,
        }
    )


@pytest.fixture(scope="module")
def agreed(tmp_path_factory: pytest.TempPathFactory) -> contract.Contract:
    folder = tmp_path_factory.mktemp("texts")
    table().write_csv(folder / "data.csv")
    (folder / "c.yaml").write_text(drafting.draft(folder / "data.csv", "y").text)
    assert contract.lint(folder / "c.yaml") == []
    return contract.read(folder / "c.yaml")


def test_long_free_texts_are_drafted_as_texts(agreed: contract.Contract) -> None:
    said = agreed.column("said")
    assert (said.kind, said.role, said.maximum) == ("text", "feature", 10_000)
    assert agreed.column("shop").kind == "category"


def test_a_draft_tells_of_personal_data_and_shows_none(tmp_path: Path) -> None:
    said = table()["said"].fill_null("nothing to say of it") + " jane@example.org"
    table().with_columns(said).write_csv(tmp_path / "data.csv")
    drafted = drafting.draft(tmp_path / "data.csv", "y")
    assert any("hold such: email" in found.reason for found in drafted.findings)
    assert "jane" not in drafted.text


def test_many_sentences_that_come_back_are_no_category(tmp_path: Path) -> None:
    lines = [f"sentence number {n % 1500} of many" for n in range(6000)]
    frame = pl.DataFrame(
        {"said": lines, "n": range(6000), "y": np.random.default_rng(0).random(6000) < 0.5}
    )
    frame.write_parquet(tmp_path / "data.parquet")
    assert "freeText" in drafting.draft(tmp_path / "data.parquet", "y").text


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"role": "entity"}, "freeText is for features, not for role entity"),
        ({"primaryKey": True, "required": True}, "freeText cannot be part of the primary key"),
        ({"logicalTypeOptions": {"maxLength": "many"}}, "maxLength"),
        ({"logicalTypeOptions": {"minLength": 3}}, "minLength is not checked here"),
    ],
)
def test_lint_refuses_what_a_text_cannot_be(
    agreed: contract.Contract, tmp_path: Path, change: dict, problem: str
) -> None:
    document = yaml.safe_load(agreed.text)
    column = next(c for c in document["schema"][0]["properties"] if c["name"] == "said")
    if "role" in change:
        next(c for c in column["customProperties"] if c["property"] == "role")["value"] = (
            change.pop("role")
        )
    column.update(change)
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(document))
    assert any(
        problem in line or problem in str(line) for line in contract.lint(tmp_path / "c.yaml")
    )


def test_misread_encodings_are_told(agreed: contract.Contract) -> None:
    frame = pl.DataFrame({"said": ["schÃ¶n", "good \ufffd", "schön", None]})
    assert columns.doubts(frame, agreed) == {"said: encoding": 2}


def test_drift_watches_length_script_and_unknown_words(agreed: contract.Contract) -> None:
    frame = validation.apply(agreed, table()).valid
    known = monitoring.reference(frame, agreed, np.full(400, 0.5), frame["y"].to_numpy())
    assert {f"said: {what}" for what in ("characters", "script", "unknown words")} <= known[
        "features"
    ].keys()
    other = frame.with_columns(pl.lit("Πολύ καλό φαγητό, ευχαριστώ").alias("said"))
    operator = words.Words("w", of="said")
    model = operator.words(
        learnt(operator, frame["said"].drop_nulls(), np.arange(frame["said"].count()) % 2)[0]
    )
    for now, level in ((frame, "ok"), (other, "act")):
        seen = columns.watched(now, agreed, {"said": model})
        counts = monitoring._counts(known["features"]["said: script"], seen["said: script"])
        assert (counts[1][0] == 0) == (level == "act")
        assert (seen["said: unknown words"].mean() > 0.9) == (level == "act")


def test_topics_of_the_sample_follow_the_target() -> None:
    said = written("said", pl.Series(list(TOPICS) * 50), 80, np.random.default_rng(0))
    assert said.str.len_chars().max() <= 80
    of = pl.Series(list(TOPICS) * 50)
    hits = said.filter(of == "kitchen").str.contains("(?i)pan|kettle|knife|Ofen|café").mean()
    assert hits > 0.2 > said.filter(of == "books").str.contains("(?i)kettle|knife|Ofen|café").mean()


def test_a_bundle_scores_texts_as_training_did(agreed: contract.Contract, tmp_path: Path) -> None:
    made = bundles.project(tmp_path)
    made.contract_path.write_text(agreed.text)
    frame = validation.apply(agreed, table()).valid
    spec = features.fit(frame, agreed)
    recipe = words.complete([], {"said": words.Words})
    assert [type(item) for item in recipe] == [words.Words]
    y = frame["y"].to_numpy().astype(np.int8)
    data = fitting.Data(
        encode(spec, frame), y, spec, 1, (), Recipe(recipe, Selection("none", keep=30), 0)
    )
    members = []
    for name, view in (("logistic_regression", "linear"), ("decision_tree", "trees")):
        rows, sees = data.learnt(view)
        assert [item.name for item in rows.spec.numeric] == ["age", "said.words"]
        fitted = models.FITTERS[name](rows, 0, {}).of_columns(sees)
        members.append(graph.Member(*fitted, share=0.5))
    predictor = graph.Predictor(tuple(members), Head(threshold=0.4))
    folder = tmp_path / "models/v1"
    bundle.save(
        folder,
        predictor,
        spec,
        agreed,
        frame,
        contract_text=agreed.text,
        rivals={"tree": predictor},
        facts={
            "version": "v1",
            "task": "binary",
            "champion": "blend",
            "primary_metric": "roc_auc",
            "target": "y",
            "outputs": bundles.task.outputs("true"),
            "data_sha256": "0" * 64,
            "run": "r",
        },
        reports={},
    )
    scorer = Scorer.load(folder)
    expected = predictor.answers(encode(spec, frame))["probability"]
    completed = with_words(frame, scorer.spec, scorer.words)
    assert scorer.predict(encode(scorer.spec, completed))["probability"] == pytest.approx(
        expected, abs=1e-5
    )
    names = [c.name for c in scorer.columns]
    rows = [scorer.row_of(values) for values in frame.select(names).rows()]
    assert scorer.score_rows(rows)["probability"] == pytest.approx(expected, abs=1e-5)
    known = frame["said"].drop_nulls()[0]
    said = frame.head(4).with_columns(said=pl.Series(["qqxz wvvk", known, None, "🦑 !!"]))
    odd = [scorer.row_of(values) for values in said.select(names).rows()]
    told = scorer.unseen(odd, scorer.encode_rows(odd))
    assert [text.startswith("said: no word of it") for text in told] == [True, False, False, True]
    golden = (folder / "golden.json").read_text()
    assert not any(text in golden for text in frame["said"].drop_nulls())
    assert not (folder / "golden.json").read_text().count("With ")
    (folder / "texts.npz").write_bytes(b"changed")
    with pytest.raises(ProjectError, match=r"texts\.npz is changed"):
        Scorer.load(folder)
    assert not re.search("said", str(scorer.spec.numeric[0]))


def test_nearly_equal_texts_are_on_one_side(agreed: contract.Contract) -> None:
    rng = np.random.default_rng(0)
    first = [" ".join(f"w{n}" for n in rng.choice(100, 14)) for _ in range(150)]
    again = [f"{text} and{n}" for n, text in enumerate(first)]
    frame = pl.DataFrame({"said": [*first, *again], "y": np.arange(300) % 150 % 2 == 0})
    frame = frame.with_columns(age=pl.lit(1.0), shop=pl.lit("a"))
    assert (duplicates.leaders(frame, agreed) == np.tile(np.arange(150), 2)).all()
    assert duplicates.leaders(frame[:150], agreed) is None
    parts = splitting.split(
        frame,
        frame["y"].to_numpy(),
        agreed,
        "stratified",
        test_share=0.2,
        folds=5,
        embargo_days=0,
        seed=0,
    )
    sides = [(parts.development, parts.test)]
    sides += [(parts.development[a], parts.development[b]) for a, b in parts.folds]
    for one, other in sides:
        assert not set(one % 150) & set(other % 150)
        assert len(one) + len(other) in (300, len(parts.development))
    assert any("on one side" in note for note in parts.notes)
    copies = frame.with_columns(said=pl.lit("ok"))
    assert duplicates.leaders(copies, agreed) is None  # too short to be a copy


def test_words_of_an_answer_and_misread_texts_are_told(agreed: contract.Contract) -> None:
    said, y = messages(200)
    operator = words.Words("w", of="said")
    model = operator.words(learnt(operator, said, y)[0])

    class Asked:
        words, score, outputs = (model,), "probability", ()
        spec = FeatureSpec((), (), words=(texts.TextFeature("w", "said", ("w",)),))

        def predict(self, x: np.ndarray) -> dict[str, np.ndarray]:
            return {"probability": x[:, 0]}

    frame = pl.DataFrame({"said": said.set(pl.Series(np.arange(200) == 7), "mail a@b.org"), "y": y})
    x = np.where(y, 0.9, 0.1).astype(np.float32)[:, None]
    x[7] = 1 - x[7]
    found = explaining.misread(Asked(), frame, x, y.astype(np.int8), frame["y"], set())
    assert found[0]["row"] == 7 and found[0]["target"] == str(bool(y[7])).lower()
    assert found[0]["texts"] == {"said": "mail (email)"}
    assert found[1]["words"]["w"].count(",") == 5
    hidden = explaining.misread(Asked(), frame, x, y.astype(np.int8), frame["y"], {"said"})
    assert hidden[0]["texts"] == {"said": "(personal)"} == {"said": hidden[0]["words"]["w"]}


def test_the_log_masks_texts() -> None:
    columns = (ServedColumn(name="said", kind="text"), ServedColumn(name="age", kind="number"))
    row = row_type(columns)(f0="call +49 171 2345678", f1=3.0)
    log = telemetry.Telemetry(0.1, None, ())
    found = telemetry.msgspec.json.decode(
        log._lines(
            telemetry.Done(dt.datetime(2026, 1, 1), 0.0, 200, "r", "v1", columns, [row], [row])
        )[0]
    )
    assert found["features"] == {"said": "call (number)", "age": 3.0}


@pytest.mark.parametrize("rows", [0, 7, 100, 151])
def test_texts_of_a_file_are_read_in_order_by_all_processors(
    rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "cores", lambda: 3)
    together = threading.Barrier(min(3, max(1, rows // 50)), timeout=20)
    begun = threading.local()

    class Slow:
        def sums(self, text: str | None, /) -> list[float]:
            if not hasattr(begun, "at"):
                begun.at = together.wait()  # breaks where fewer threads read than may
            return [float(text), -float(text)] if text else [np.nan, np.nan]

    frame = pl.DataFrame({"said": [None, *map(str, range(rows))][:rows]}, {"said": pl.String})
    spec = FeatureSpec((), (), words=(texts.TextFeature("w", "said", ("w.1", "w.2")),))
    found = with_words(frame, spec, [Slow()])
    expected = [None, *range(rows)][:rows]
    assert found["w.1"].fill_nan(None).to_list() == expected
    assert found["w.2"].fill_nan(None).to_list() == [v if v is None else -v for v in expected]
