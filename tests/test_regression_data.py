"""A number to predict, from file to profile: draft, contract, validation, leakage, sample."""

import re
from pathlib import Path

import jinja2
import numpy as np
import polars as pl
import pytest
import yaml
from helpers import package
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression

package.regression()
from regression_package.engine import storage  # noqa: E402
from regression_package.engine.data import (  # noqa: E402
    contract,
    drafting,
    ingest,
    leakage,
    profiling,
    sample,
    target,
    target_draft,
    validation,
)
from regression_package.engine.errors import CheckFailed, ProjectError  # noqa: E402
from regression_package.engine.settings import Project  # noqa: E402

ROWS = 1500
PRESETS = {"house_price": ("price", "", "sold_on"), "delivery_time": ("minutes", "courier", "at")}


def sales(rows: int = ROWS) -> pl.DataFrame:
    """Return honest columns of sales, of which no one gives the price away."""
    rng = np.random.default_rng(5)
    area, town = rng.lognormal(4.6, 0.4, rows), rng.integers(0, 12, rows)
    noise = rng.normal(0, 0.25, rows)
    price = 1500 * area**0.8 * np.exp(0.1 * town - 0.5 + noise)
    return pl.DataFrame(
        {
            "sold_on": np.datetime64("2024-01-01") + np.arange(rows) // 4,
            "area": area.round(1),
            "town": [f"town {n}" for n in town],
            "grade": rng.integers(1, 6, rows),
            "fee": rng.normal(900, 200, rows).round(2),
            "price_eur": price.round(),
        }
    )


def draft(tmp_path: Path, frame: pl.DataFrame, name: str = "price_eur", **told: str):
    """Return the findings of a draft by column, and its contract."""
    file = tmp_path / "in.parquet"
    frame.write_parquet(file)
    made = drafting.draft(file, name, **told)
    path = tmp_path / "contract.yaml"
    path.write_text(made.text, encoding="utf-8")
    assert contract.lint(path) == []
    found = {}
    for finding in made.findings:
        found.setdefault(finding.column, []).append(f"{finding.what}: {finding.reason}")
    return {column: "; ".join(reasons) for column, reasons in found.items()}, contract.read(path)


def test_a_draft_takes_unit_and_limits_of_the_target(tmp_path):
    found, agreed = draft(tmp_path, sales())
    assert (agreed.target.kind, agreed.target.unit, agreed.target.minimum) == ("number", "eur", 0)
    assert agreed.target.mean == pytest.approx(sales()["price_eur"].mean(), rel=1e-4)
    assert "leakage" not in str(found) and "price_eur" not in found
    named, agreed = draft(tmp_path, sales().rename({"price_eur": "price"}), "price")
    assert "what is its unit" in named["price"] and agreed.target.unit == ""
    other = draft(tmp_path, sales(), told="USD")[1]
    assert other.target.unit == "USD" and other.fingerprint != agreed.fingerprint


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([f"${n},250.00" for n in range(1, 301)], "text that looks like numbers.+1200.5"),
        ([f"{n} EUR" for n in range(300)], "text that looks like numbers"),
        (["cheap", "dear", "fair"] * 100, "is text, such as '(cheap|dear|fair)': a regression"),
        ([True, False] * 150, "has true and false in 300 rows"),
        ([3.5] * 300, "has only 3.5 in 300 rows"),
        ([0, 1] * 150, "has only 0 and 1 in 300 rows"),
        ([None] * 299 + [1], "has only 1"),
    ],
)
def test_what_is_no_number_to_predict_is_refused_with_the_reason(tmp_path, values, reason):
    frame = sales(300).with_columns(pl.Series("y", values))
    with pytest.raises(ProjectError, match=f"target 'y' .*{reason}"):
        draft(tmp_path, frame, "y")


@pytest.mark.parametrize(
    ("values", "doubt"),
    [
        (np.r_[np.full(40, 9999.0), np.linspace(5, 60, 960)], "9 999 in 40 rows, far from all"),
        (np.r_[np.full(9, -1.0), np.linspace(5, 60, 991)], "-1 in 9 rows, far from all others"),
        (np.r_[5e7, np.linspace(5, 60, 999)], "1 row absurdly far from the others"),
        (np.arange(1000) % 5 + 1, "only 5 different values"),
        (np.r_[np.linspace(5, 60, 900), np.full(100, np.nan)], "missing in 100 rows"),
        (np.random.default_rng(0).lognormal(3, 1, 1000), None),
        (np.r_[np.zeros(400), np.random.default_rng(0).exponential(5, 600)], None),
    ],
)
def test_doubtful_values_of_a_target_are_told(tmp_path, values, doubt):
    frame = pl.DataFrame({"minutes": pl.Series(values).fill_nan(None)})
    frame = frame.with_columns(x=pl.Series(np.random.default_rng(1).normal(size=1000)))
    found, _ = draft(tmp_path, frame, "minutes")
    said = found.get("minutes", "").replace("\xa0", " ")
    assert said == "" if doubt is None else doubt in said


def planted() -> dict[str, pl.Expr]:
    """Return columns that know the price, none of them by its name."""
    rng, price = np.random.default_rng(8), pl.col("price_eur")
    noise = pl.Series(rng.normal(size=ROWS))
    others = (price.sum().over("town") - price) / (pl.len().over("town") - 1)
    cell = (pl.int_range(pl.len()) // 3).alias("cell")
    return {
        "a copy with noise": price + 0.05 * price.std() * noise,
        "rounded": (price / 20_000).round() * 20_000,
        "its logarithm": price.log(),
        "a mean of three rows": price.mean().over(cell),
        "a mean of its town": price.mean().over("town"),
        "a mean of the others": others,
        "paid later": pl.col("sold_on") + pl.duration(days=30),
    }


@pytest.mark.parametrize("name", planted())
def test_a_planted_leak_is_found(tmp_path, name):
    frame = sales().with_columns(planted()[name].alias("x"))
    time = {"time_column": "sold_on"} if name == "paid later" else {}
    found, agreed = draft(tmp_path, frame, **time)
    assert "leakage" in found["x"], found
    assert agreed.column("x").role == "excluded"
    assert {column.name for column in agreed.features} >= {"area", "town", "grade", "fee"}


@pytest.mark.parametrize(
    ("sign", "one"),
    [
        ("+", pl.col("price_eur") - pl.col("fee") * 400),
        ("-", pl.col("price_eur") + pl.col("fee") * 400),
        ("*", pl.col("price_eur") / pl.col("area")),
        ("/", pl.col("price_eur") * pl.col("area")),
    ],
)
def test_two_columns_that_give_the_target_together_are_found(tmp_path, sign, one):
    other = pl.col("area") if sign in "*/" else pl.col("fee") * 400
    frame = sales().with_columns(one.alias("x"), other.alias("z"))
    found, _ = draft(tmp_path, frame.drop("fee", "area"))
    assert f" {sign} " in found["x"] and "gives price_eur" in found["x"], found
    assert "leakage" in found["z"]


def test_an_honest_forecast_of_the_target_stays(tmp_path):
    rng, frame = np.random.default_rng(2), sales()
    known = 1500 * frame["area"] ** 0.8 * 1.05  # what an appraiser says, in steps of 5,000
    frame = frame.with_columns(appraised=(known / 5000).round() * 5000, x=rng.normal(size=ROWS))
    found, _ = draft(tmp_path, frame)
    assert "leakage" not in str(found)


def test_association_is_the_share_explained():
    rng = np.random.default_rng(3)
    y = pl.Series(rng.normal(size=4000))
    assert target.association(pl.Series(rng.normal(size=4000)), y) < 0.01
    assert target.association(y + pl.Series(rng.normal(size=4000)), y) == pytest.approx(
        0.5, abs=0.04
    )
    assert target.association(y.exp(), y) > 0.99
    assert target.association((y * 2).round().cast(pl.String), y) > 0.85
    assert target.association(pl.Series([str(n) for n in range(4000)]), y) == 0
    assert target.association(pl.Series([None] * 4000, dtype=pl.Float64), y) == 0
    assert target.association(y, pl.Series([1.0] * 4000)) == 0


def project(root: Path, frame: pl.DataFrame) -> Project:
    """Write a project with its data and a drafted contract; return it."""
    answers = {"target": "price_eur", "entity": "", "time_column": "sold_on"}
    plan = {"format": 1, "project": {"name": "S", "slug": "s", "package": "s"}, "answers": answers}
    plan |= {"decisions": {}, "computed": {}, "blocks": {}}
    storage.write_text(root / "plan/plan.yaml", yaml.safe_dump(plan))
    storage.write_text(root / "config.yaml", "data: {source: data/in.csv}\n")
    for folder in ("data", "contracts"):
        (root / folder).mkdir()
    frame.write_csv(root / "data/in.csv")
    made = Project(root)
    drafting.run(made, root / "data/in.csv")
    return made


def test_from_a_file_to_the_page(tmp_path):
    far = pl.when(pl.int_range(pl.len()) == 7).then(9e9).otherwise("price_eur").alias("price_eur")
    gaps = pl.when(pl.int_range(pl.len()) % 50 == 0).then(None).otherwise(far).alias("price_eur")
    made = project(tmp_path, sales().with_columns(gaps))
    ingest.run(made)
    quality = validation.run(made)
    assert (quality["unlabelled"], quality["rejected"]) == (30, 0)
    assert quality["warnings"] == {"price_eur: absurdly far": 1}
    report = profiling.run(made)
    facts = report["target"]
    known = sales().with_columns(gaps)["price_eur"].drop_nulls()
    assert (facts["mean"], facts["median"]) == (known.mean(), known.median())
    assert (facts["zeros"], facts["absurd"]) == (0, 1)
    assert all(low <= median <= high for _, _, _, median, low, high in facts["trend"])
    assert report["columns"]["area"]["relation"] > 0.2 > report["columns"]["fee"]["relation"]
    page = tmp_path.joinpath("reports/profile.html").read_text(encoding="utf-8")
    for text in ("Mean of price_eur", "price_eur over time", "explains alone", "Absurdly far"):
        assert text in page
    assert "ositive" not in page and "ROC" not in page
    (tmp_path / "data/in.csv").write_text(sales().with_columns(price_eur=1.0).write_csv())
    ingest.run(made)
    with pytest.raises(CheckFailed, match=r"'price_eur' has only 1 in .* needs a number"):
        validation.run(made)


def agreed_of(tmp_path: Path, preset: str, **answers: str) -> contract.Contract:
    """Return the contract that a new project of this preset begins with."""
    known = PRESETS.get(preset, ("value", "", ""))
    answers = {"target": known[0], "entity": known[1], "time_column": known[2]} | answers
    env = jinja2.Environment(
        loader=jinja2.FileSystemLoader(package.TEMPLATE.parent),
        extensions=["jinja2_ansible_filters.AnsibleCoreFiltersExtension"],
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    text = env.get_template("template/contracts/dataset.odcs.yaml.jinja").render(
        task_type="regression",
        preset=preset,
        project_slug="a",
        project_name="A",
        currency="EUR",
        owner="sales",
        label_delay_days=0,
        entity_repeats=True,
        image_column="",
        **answers,
    )
    path = tmp_path / "contract.yaml"
    path.write_text(text, encoding="utf-8")
    assert contract.lint(path) == [] and drafting.is_untouched(path)
    return contract.read(path)


@pytest.mark.parametrize("preset", [*PRESETS, "none"])
def test_a_sample_is_skewed_noisy_and_can_be_learnt(tmp_path, preset):
    agreed = agreed_of(tmp_path, preset)
    frame = sample.generate(agreed, 6000, 3)
    assert validation.apply(agreed, frame).valid.equals(frame)
    assert frame.equals(sample.generate(agreed, 6000, 3))
    assert agreed.target.unit == {"house_price": "EUR", "delivery_time": "minutes"}.get(preset, "")
    y = frame[agreed.target.name]
    assert y.min() > 0 and 0.8 < y.skew() < 4
    assert y.mean() == pytest.approx(agreed.target.mean, rel=0.1)
    assert y.std() == pytest.approx(agreed.target.std, rel=0.25)
    features = frame.select(column.name for column in agreed.features)
    codes = features.with_columns(pl.col(pl.String).rank("dense")).select(
        pl.all().to_physical().cast(pl.Float64)
    )
    x, truth = codes.to_numpy(), y.to_numpy()
    trees = HistGradientBoostingRegressor(random_state=0).fit(x[:4000], truth[:4000])
    line = LinearRegression().fit(np.nan_to_num(x[:4000]), truth[:4000])
    best, linear = (
        trees.score(x[4000:], truth[4000:]),
        line.score(np.nan_to_num(x[4000:]), truth[4000:]),
    )
    assert 0.52 < best < 0.8 and linear < best - 0.08
    guess = trees.predict(x[4000:])
    errors = np.abs(truth[4000:] - guess)[np.argsort(guess)]
    assert errors[-400:].mean() > 1.8 * errors[:400].mean()  # noise grows with size
    suspected = leakage.suspects(
        frame, target.outcome(frame, agreed.target), features.columns, None, (), agreed.target.name
    )
    assert suspected == []


def test_a_target_that_is_computed_follows_the_signal(tmp_path):
    file = tmp_path / "in.parquet"
    sales().with_columns(cost=pl.col("price_eur") * 0.7).write_parquet(file)
    made = drafting.draft(file, "gain", target_definition="price_eur - cost", told="EUR")
    path = tmp_path / "contract.yaml"
    path.write_text(made.text, encoding="utf-8")
    agreed = contract.read(path)
    assert {c.name for c in agreed.features}.isdisjoint({"price_eur", "cost"})
    frame = sample.generate(agreed, 2000, 1)
    assert frame["gain"].equals((frame["price_eur"] - frame["cost"]).alias("gain"))
    y = target.outcome(frame, agreed.target)
    assert max(target.association(frame[c.name], y) for c in agreed.features) > 0.1
    with pytest.raises(ProjectError, match="gives no number for each row"):
        drafting.draft(file, "gain", target_definition="price_eur > 5")


def test_the_contract_says_what_a_target_may_be(tmp_path):
    draft(tmp_path, sales())
    path = tmp_path / "contract.yaml"
    text = path.read_text(encoding="utf-8")
    before, name, after = text.partition("- name: price_eur")
    after = re.sub(r" *logicalTypeOptions.*\n", "", after)
    for old, new, problem in (
        ("logicalType: number", "logicalType: boolean", "is number or integer, not boolean"),
        ("value: eur", "value: " + "e" * 31, "unit is one short word"),
    ):
        assert old in after
        path.write_text(before + name + after.replace(old, new), encoding="utf-8")
        assert any(problem in line for line in contract.lint(path)), contract.lint(path)
    column = contract.Column(name="y", kind="number", role="target", unit="EUR")
    assert "target_unit is USD" in column.contradiction({"target_unit": "USD"})
    assert column.contradiction({"target_unit": "eur"}) == column.contradiction({}) == ""


@pytest.mark.parametrize(
    ("planned", "said"),
    [
        (100.0, ""),
        (140.0, ""),  # an estimate
        (3.0, "mean of the contract is 101.7"),
        (90000.0, "`ml update --data target_mean=102 --data target_sd=57.8`"),
        (-100.0, "so are today_error and what errors cost"),
    ],
)
def test_a_number_of_another_size_than_planned_is_told_by_the_draft(
    tmp_path: Path, planned: float, said: str
) -> None:
    path = tmp_path / "d.csv"
    pl.DataFrame(
        {
            "size": [n * 7 % 11 + 0.5 for n in range(300)],
            "price": [n * 2 / 3 + 1.37 for n in range(1, 301)],
        }
    ).write_csv(path)
    (tmp_path / "c.yaml").write_text(drafting.draft(path, "price").text, encoding="utf-8")
    target = contract.read(tmp_path / "c.yaml").target
    found = target.contradiction({"target_unit": "units", "target_mean": planned})
    assert said in found and bool(found) == bool(said)


@pytest.mark.parametrize(
    ("shape", "kind", "minimum"), [("any", "number", None), ("counts", "integer", 0)]
)
def test_the_first_contract_follows_the_answers(tmp_path, shape, kind, minimum):
    told = {"target_unit": "kWh", "target_mean": 4.5, "target_sd": 2.5, "target_shape": shape}
    agreed = agreed_of(tmp_path, "none", **told)
    y = agreed.target
    assert (y.kind, y.minimum, y.unit, y.mean, y.std) == (kind, minimum, "kWh", 4.5, 2.5)
    frame = sample.generate(agreed, 2000, 3)
    assert frame["value"].mean() == pytest.approx(4.5, abs=0.4)
    assert (frame["value"].min() < 0) == (shape == "any")


def test_the_unit_is_spelt_as_in_the_plan_and_another_of_the_name_goes_first() -> None:
    for unit, told in ("EUR", "EUR"), ("minutes", None), ("units", None):
        answers = {"target": "price_eur", "target_unit": unit}
        assert target_draft.answered("price_eur", answers, []) == told
