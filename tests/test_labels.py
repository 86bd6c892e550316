"""Labels: agreement against libraries, planted errors found, and the way out to people and back."""

import csv
import json
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest
from helpers.package import load, sources
from helpers.rendering import publish, render
from helpers.running import Made
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import cohen_kappa_score
from sklearn.model_selection import cross_val_predict

load("labels_package", sources("multiclass"))
from labels_package.engine.data import contract  # noqa: E402
from labels_package.engine.errors import ProjectError  # noqa: E402
from labels_package.engine.labels import agreement, exchange, forms, intervals  # noqa: E402

load("values_package", sources("regression"))
from values_package.engine.data import contract as number_contract  # noqa: E402
from values_package.engine.errors import ProjectError as ValueProjectError  # noqa: E402
from values_package.engine.labels import agreement as reliability  # noqa: E402
from values_package.engine.labels import forms as numbers  # noqa: E402

load("sets_package", sources("multilabel"))
from sets_package.engine.data import contract as set_contract  # noqa: E402
from sets_package.engine.labels import forms as sets  # noqa: E402

NAMES = ["good", "dent", "crack"]
# Fleiss as printed at https://en.wikipedia.org/wiki/Fleiss%27_kappa: 10 items, 14 people, 0.210.
TABLE = [
    [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
]  # fmt: skip


@pytest.mark.parametrize("seed", range(5))
def test_kappa_of_two_is_that_of_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first = rng.choice(3, 200, p=[0.7, 0.2, 0.1])
    second = np.where(rng.random(200) < 0.7, first, rng.integers(0, 3, 200))
    assert agreement.cohen(first, second, 3) == pytest.approx(cohen_kappa_score(first, second))
    table = np.zeros((200, 3))
    for codes in (first, second):
        table[np.arange(200), codes] += 1
    assert abs(agreement.fleiss(table) - agreement.cohen(first, second, 3)) < 0.02


def test_kappa_of_many_is_as_printed() -> None:
    assert agreement.fleiss(np.array(TABLE, float)) == pytest.approx(0.210, abs=0.0005)
    assert np.isnan(agreement.cohen(np.zeros(9, int), np.zeros(9, int), 3))


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(60):
        truth = rng.choice(3, 120, p=[0.5, 0.3, 0.2])
        labels = [
            np.where(rng.random(120) < 0.8, truth, rng.choice(3, 120, p=[0.5, 0.3, 0.2]))
            for _ in range(2)
        ]
        given = {
            f"{n:03d}": {"a": NAMES[a], "b": NAMES[b]}
            for n, (a, b) in enumerate(zip(*labels, strict=True))
        }
        found = agreement.compared(given, NAMES, 7)
        held += found["low"] <= 0.64 <= found["high"]  # .8 x .8 of what is beyond chance
    assert 50 <= held <= 60


def test_who_is_compared() -> None:
    assert agreement.compared({"1": {"a": "good"}, "2": {"b": "dent"}}, NAMES, 7) is None
    some = {str(n): {"a": NAMES[n % 3], "b": NAMES[n % 3], "c": NAMES[0]} for n in range(9)}
    found = agreement.compared(some, NAMES, 7)
    assert found["kappa"] == "Fleiss" and found["items"] == 9 and len(found["pairs"]) == 3
    assert found["pairs"][0] | {"value": 1.0, "share": 1.0} == found["pairs"][0]
    two = {item: {p: by[p] for p in "ab"} for item, by in some.items()}
    assert agreement.compared(two, NAMES, 7)["kappa"] == "Cohen"
    low, high = intervals.wilson(45, 50)
    assert (low, high) == pytest.approx((0.7864, 0.9565), abs=0.0005)  # as statsmodels has it


def test_planted_errors_are_found_and_counted() -> None:
    x, y = make_classification(
        3000, 10, n_informative=8, n_redundant=0, n_classes=3, class_sep=3.0,
        n_clusters_per_class=1, flip_y=0, random_state=0,
    )  # fmt: skip
    rng = np.random.default_rng(1)
    wrong = rng.random(3000) < 0.08
    given = np.where(wrong, (y + rng.integers(1, 3, 3000)) % 3, y)
    p = cross_val_predict(LogisticRegression(max_iter=500), x, given, cv=5, method="predict_proba")
    found = forms.doubts(given, p)
    doubted = found.better >= 0
    assert (doubted & wrong).sum() / wrong.sum() > 0.85
    assert (doubted & wrong).sum() / doubted.sum() > 0.6
    assert abs(found.noise - wrong.mean()) < 0.05
    assert (found.better[doubted & wrong] == y[doubted & wrong]).mean() > 0.9
    assert not (found.better == given).any()
    clean = forms.doubts(y, np.eye(3)[y] * 0.9 + 0.1 / 3)
    assert clean.noise == 0 and (clean.better == -1).all()


def agreed(*key: str, personal: str = "") -> contract.Contract:
    columns = (
        contract.Column(name="n", kind="integer", role="feature"),
        contract.Column(name="name", kind="category", role="feature"),
        contract.Column(name="y", kind="boolean", role="target"),
    )
    return contract.Contract(
        name="t",
        version="1",
        columns=tuple(msgspec.structs.replace(c, personal=c.name == personal) for c in columns),
        primary_key=key,
    )


def test_an_item_has_its_name_in_every_form_of_the_data() -> None:
    raw = pl.DataFrame({"n": ["1", "2", ""], "name": ["a", "b", "b"], "y": ["yes", "no", None]})
    typed = pl.DataFrame({"y": [None, True, False], "name": ["a", "b", "b"], "n": [1, 2, None]})
    for key, personal in (((), ""), (("n",), ""), (("n",), "name"), (("name",), "name")):
        names = exchange.items(raw, agreed(*key, personal=personal))
        assert names.equals(exchange.items(typed, agreed(*key, personal=personal)))
        assert names.n_unique() == 3 and names.str.contains(r"^[0-9a-f]{16}$").all()
    assert exchange.items(raw.drop("n"), agreed()).n_unique() == 2
    with pytest.raises(ProjectError, match="no column but personal"):
        alone = msgspec.structs.replace(
            agreed(personal="name"), columns=agreed(personal="n").columns[::2]
        )
        exchange.items(raw, alone)


def test_labels_are_written_as_the_data_write_them() -> None:
    before, said = pl.Series(["true", "false", None]), pl.Series(["false", None, "true"])
    for raw in (
        pl.Series(["yes", "no", None]),
        pl.Series([1, 0, None]),
        pl.Series([True, False, None]),
    ):
        found = forms.written(said, before, raw, agreed().target)
        assert found.to_list() == [raw[1], None, raw[0]] and found.dtype == raw.dtype
    with pytest.raises(ProjectError, match="no row of the data has 'new' yet"):
        forms.written(
            pl.Series(["new", None, None]), before, pl.Series([1, 0, None]), agreed().target
        )


# Krippendorff 2011, Computing Krippendorff's alpha-reliability: four observers, units with two
# values or more; interval data 0.849. Its example of two observers with 0 and 1: 0.095.
OBSERVED = [
    [1, 1, 1], [2, 2, 3, 2], [3, 3, 3, 3], [3, 3, 3, 3], [2, 2, 2, 2], [1, 2, 3, 4],
    [4, 4, 4, 4], [1, 1, 2, 1], [2, 2, 2, 2], [5, 5, 5], [1, 1],
]  # fmt: skip
YES = [[0, 1], [1, 1], [0, 1], [0, 0], [0, 0], [0, 1], [0, 0], [0, 0], [1, 0], [0, 0]]


def test_alpha_is_as_printed_however_large_the_numbers_are() -> None:
    for offset, factor in ((0.0, 1.0), (1e9, 1.0), (0.0, 1e-6)):
        moved = [[offset + factor * value for value in own] for own in OBSERVED]
        assert reliability.alpha(reliability.sums(moved)) == pytest.approx(0.849, abs=0.0005)
    assert reliability.alpha(reliability.sums(YES)) == pytest.approx(0.095, abs=0.0005)
    assert np.isnan(reliability.alpha(reliability.sums([[1, 1], [1, 1]])))
    assert reliability.compared([[[1, 1], [1, 1]]], 0)["enough"]


def of_number(kind: str = "number", **other: object) -> number_contract.Column:
    return number_contract.Column(name="y", kind=kind, role="target", **other)


def test_numbers_are_read_agreed_on_and_written_as_the_data_have_them() -> None:
    target = of_number(minimum=0.0, maximum=100.0)
    said = {text: numbers.read(text, [], target) for text in ("3.50", "1e1", "x", "-1", "101", "")}
    assert said == {"3.50": "3.5", "1e1": "10.0", "x": None, "-1": None, "101": None, "": None}
    assert numbers.read("3,5", [], of_number(decimal_comma=True)) == "3.5"
    assert numbers.decide(["1.0", "4.0", "2.5"], target) == "2.5"
    assert numbers.decide(["1.0", "4.0"], target) == "2.5"
    assert numbers.decide(["1", "4"], of_number("integer")) == "1"
    before = pl.Series(["1.5", None])
    for raw, wanted in (
        (pl.Series([1.5, None]), [2.5, None]),
        (pl.Series(["1.5", None]), ["2.5", None]),
    ):
        assert numbers.written(pl.Series(["2.5", None]), before, raw, target).to_list() == wanted
    raw = pl.Series(["1,5", None])
    comma = numbers.written(pl.Series(["2.5", None]), before, raw, of_number(decimal_comma=True))
    assert comma.to_list() == ["2,5", None]
    with pytest.raises(ValueProjectError, match="whole numbers"):
        numbers.written(pl.Series(["2.5"]), before[:1], pl.Series([1]), target)
    given = {str(n): {"a": str(float(n)), "b": str(n + 0.1)} for n in range(20)}
    found = numbers.compared(given, [], target, 7)
    assert found["items"] == 20 and found["value"] > 0.99 and found["apart"] == pytest.approx(0.1)
    assert numbers.compared({"1": {"a": "1"}, "2": {"b": "1"}}, [], target, 7) is None


def test_planted_wrong_numbers_stand_first_whatever_their_size() -> None:
    rng = np.random.default_rng(0)
    p = np.exp(rng.normal(3, 1.5, 3000))  # errors grow with the size, as of prices
    y = p * np.exp(rng.normal(0, 0.1, 3000))
    wrong = rng.choice(3000, 40, replace=False)
    y[wrong] *= np.where(rng.random(40) < 0.5, 10, 0.1)  # a digit too many or too few
    off = numbers.distances(y, p)
    first = np.argsort(-off)[:40]
    assert len({*first.tolist()} & {*wrong.tolist()}) >= 36
    assert (np.delete(off, wrong) > numbers.LIMIT).mean() < 0.002
    assert (numbers.distances(p, p) == 0).all()
    one = p.copy()
    one[7] += 1.0
    assert np.flatnonzero(numbers.distances(one, p) > numbers.LIMIT).tolist() == [7]


TOPICS = set_contract.Column(
    name="y", kind="category", role="target", labels=("price", "service", "bug")
)


def test_sets_are_read_in_any_order_and_each_label_counts_its_own_people() -> None:
    known = sets.names(pl.Series([], dtype=pl.String), TOPICS)
    for text, wanted in (
        ("bug; PRICE", "price, bug"),
        ('["service"]', "service"),
        ("none", "none"),
        ("price, colour", None),
    ):
        assert sets.read(text, known, TOPICS) == wanted
    assert sets.decide(["price, bug", "price", "price, service"], TOPICS) == "price"
    assert sets.decide(["price", "bug"], TOPICS) is None
    given = {
        str(n): {"a": "price" if n % 2 else "none", "b": "price, bug" if n % 2 else "none"}
        for n in range(20)
    }
    found = sets.compared(given, known, TOPICS, 7)
    assert found["labels"]["price"] == 1 and found["labels"]["bug"] < 0 and found["share"] == 0.5
    assert np.isnan(found["labels"]["service"]) and "least for bug" in sets.agreed(found)


def test_planted_wrong_labels_of_sets_are_found() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random((4000, 3)) < [0.5, 0.2, 0.1]
    p = 1 / (1 + np.exp(-np.where(truth, 4, -4) + rng.normal(0, 1, truth.shape)))
    wrong = rng.random(truth.shape) < 0.03
    found, _ = sets.doubts(truth ^ wrong, p)
    # A limit is a mean: some of those that are wrong, and sure, do not reach it.
    assert (found & wrong).sum() / wrong.sum() > 0.6 and (found & wrong).sum() / found.sum() > 0.99
    text = [", ".join(np.array(TOPICS.labels)[own]) or "none" for own in truth ^ wrong]
    order, each, about = sets.doubted(pl.DataFrame({"y": text}), p, TOPICS)
    assert wrong[order[:50]].any(axis=1).all() and all(
        abs(n - 0.03) < 0.01 for n in about["suspect_share"].values()
    )
    for n, one in zip(order[:50].tolist(), each, strict=False):
        assert one["given"] == text[n].replace(",", ",") != one["better"]


SMALL = {
    "ML_TRAINING__TRACK": "false",
    "ML_TRAINING__FOLDS": "3",
    "ML_TRAINING__MEMBERS": "1",
    "ML_TRAINING__THREADS": "1",
    "ML_DATA__SAMPLE_ROWS": "1500",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = render(tmp_path_factory.mktemp("labels") / "p", preset="defect_type")
    publish(folder)
    made = Made(folder, "defect_types", SMALL)
    for step in ("ingest", "validate", "train"):
        made.ml(step)
    made.suspects = made.ml("label", "suspects")
    return made


def test_labels_go_out_and_come_back_as_a_new_table(project: Made, tmp_path: Path) -> None:
    report = project.report("suspects")
    assert (
        "labels are suspect" in project.suspects and report["suspects"] == len(report["listed"]) > 0
    )
    assert 0 < report["noise"] < 0.5
    handed = tmp_path / "out.csv"
    project.ml("label", "export", str(handed), "--choose", "suspects", "--rows", "30")
    rows = list(csv.DictReader(handed.open()))
    assert [row["item"] for row in rows] == list(
        dict.fromkeys(one["item"] for one in report["listed"])
    )[:30]
    contract = (project.folder / "contracts/dataset.odcs.yaml").read_text()
    assert "given" not in rows[0] and "defect" not in rows[0] and "label" in rows[0]
    assert contract
    better = {one["item"]: one for one in report["listed"]}
    with handed.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["item", "label", "annotator"])
        writer.writeheader()
        for n, row in enumerate(rows):
            one = better[row["item"]]
            for person, label in (
                ("ann", one["better"]),
                ("bo", one["given" if n < 4 else "better"]),
            ):
                writer.writerow({"item": row["item"], "label": label.upper(), "annotator": person})
    raw = {p: p.read_bytes() for p in (project.folder / "data/raw").iterdir() if p.is_file()}
    said = project.ml("label", "import", str(handed))
    taken = project.report("labels")
    assert taken["items"] == 30 and taken["labels"] == 60 and taken["undecided"] == 4
    assert taken["changed"] == 26 and taken["new"] == 0
    assert taken["agreement"]["kappa"] == "Cohen" and taken["agreement"]["items"] == 30
    assert taken["right"]["items"] == 26 and taken["right"]["value"] == 0
    assert "Cohen's kappa" in said and taken["table"] in said
    assert raw == {
        p: p.read_bytes() for p in (project.folder / "data/raw").iterdir() if p.is_file()
    }
    table = pl.read_parquet(project.folder / taken["table"])
    before = pl.read_parquet(project.folder / taken["snapshot"])
    assert table.schema == before.schema and table.drop("defect").equals(before.drop("defect"))
    assert (table["defect"] != before["defect"]).sum() >= 26
    config = project.folder / "config.yaml"
    text = config.read_text()
    config.write_text(text.replace("data:\n", f"data:\n  source: {taken['table']}\n", 1)
                      if "source:" not in text else
                      "\n".join(f"  source: {taken['table']}" if line.strip().startswith("source:")
                                else line for line in text.split("\n")))  # fmt: skip
    project.ml("ingest")
    manifest = json.loads((project.folder / "data/raw/manifest.json").read_text())
    assert manifest["made_up"] and manifest["rows"] == before.height
    again = project.ml("label", "import", str(handed))
    assert "0 changed, 0 new" in again
    config.write_text(text)


BAD = [
    (["item,label", "0000000000000000,dent"], "row 1 has item '0000000000000000'"),
    (["item,label", "ITEM,nonsense"], "has the label 'nonsense', which is none of"),
    (["item,label", "ITEM,"], "no row has a label yet"),
    (["item,name", "ITEM,x"], "it lacks column 'label'"),
    (["item,label,annotator", "ITEM,FIRST,a", "ITEM,SECOND,a"], "two labels"),
    (["item,label", "ITEM,FIRST", "ITEM,SECOND"], "nobody named gave item"),
]


def test_a_bad_file_changes_nothing(project: Made, tmp_path: Path) -> None:
    out, bad = tmp_path / "some.jsonl", tmp_path / "bad.csv"
    project.ml("label", "export", str(out), "--rows", "1", "--given")
    (row,) = map(json.loads, out.read_text().splitlines())
    assert row["given"] and row["label"] == ""
    first, second = sorted(project.report("suspects")["limits"])[:2]
    before = sorted((project.folder / "data").rglob("*"))
    for lines, why in BAD:
        text = "\n".join(lines).replace("ITEM", row["item"])
        bad.write_text(text.replace("FIRST", first).replace("SECOND", second) + "\n")
        assert why in project.ml("label", "import", str(bad), code=2)
    assert sorted((project.folder / "data").rglob("*")) == before
    assert "is there already" in project.ml("label", "export", str(out), code=2)
    nowhere = tmp_path / "none" / "x.csv"
    assert "no such folder" in project.ml("label", "export", str(nowhere), code=2)
    assert not nowhere.parent.exists()
    assert "must end in" in project.ml("label", "export", str(tmp_path / "x.txt"), code=2)
    command = ["label", "export", str(tmp_path / "y.csv"), "--choose", "best"]
    assert "one of random" in project.ml(*command, code=2)


@pytest.mark.parametrize(
    ("preset", "package"), [("house_price", "house_prices"), ("machine_faults", "machine_faults")]
)
def test_numbers_and_sets_go_out_and_come_back(preset: str, package: str, tmp_path: Path) -> None:
    folder = render(tmp_path / "p", preset=preset)
    publish(folder)
    made = Made(folder, package, SMALL)
    for step in ("ingest", "validate", "train"):
        made.ml(step)
    assert "suspect" in made.ml("label", "suspects")
    report = made.report("suspects")
    assert report["suspects"] == len(report["listed"]) > 0
    handed = tmp_path / "out.csv"
    made.ml("label", "export", str(handed), "--rows", "20")
    rows = list(csv.DictReader(handed.open()))
    known = [*report.get("limits", "")]
    lines = ["item;label;annotator"]
    for n, row in enumerate(rows):
        label = f"{known[1]}, {known[n % 2 * 2]}" if known else 900_001 + n
        lines += [f"{row['item']};{label};{who}" for who in ("ann", "bo")]
    handed.write_text("\n".join(lines) + "\n")
    said = made.ml("label", "import", str(handed))
    taken = made.report("labels")
    assert taken["changed"] > 14 and taken["undecided"] == 0 and taken["table"] in said
    assert taken["agreement"]["items"] == len(rows) and taken["agreement"]["value"] == 1
    table = pl.read_parquet(folder / taken["table"])
    before = pl.read_parquet(folder / taken["snapshot"])
    assert table.schema == before.schema
    handed.write_text(f"item,label\n{rows[0]['item']},nonsense\n")
    assert "has the label 'nonsense', which" in made.ml("label", "import", str(handed), code=2)
