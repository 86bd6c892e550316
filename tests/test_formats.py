"""One number format: what it writes at the edges, and the same in Python and in Jinja."""

import math
import random
import re

import pytest
from helpers.jinja import environment
from helpers.plan import render_plan

from package_name.engine import formats
from package_name.engine.formats import apart, count, number, percent, signed
from package_name.engine.settings import Number
from package_name.planner.measured import amount

EDGES = [
    *(0, -0.0, 1, -1, 0.5, 0.9995, 0.99995, 0.999, 0.995, 0.00004, 0.0005, 0.00045, 1e-6, 9.99e-7),
    *(1 - 1e-16, 1 - 1e-9, 1 + 1e-9, 0.1 + 0.2, 0.29, 0.58, 1 / 3, 2 / 3, 9.995, 9.9949, 99.95),
    *(
        999.5,
        999.4999,
        1000,
        4526,
        9999.5,
        902551,
        902551.49,
        1e9,
        1e12,
        1e15,
        1e15 - 1,
        1e21,
        5e-9,
    ),
    *(-221.9, -0.00004, -902551, 123456.789, 100, 1e-300, 5e-324, 1e300, 3, 12345.5),
    *(math.nan, math.inf, -math.inf),
]


def numbers() -> list[float | None]:
    rng = random.Random(7)
    drawn = [rng.choice([-1, 1]) * 10 ** rng.uniform(-9, 17) for _ in range(1500)]
    shares = [rng.random() for _ in range(500)] + [
        1 - 10 ** rng.uniform(-12, 0) for _ in range(500)
    ]
    whole = [rng.randint(-(10**7), 10**7) for _ in range(500)]
    return [None, *EDGES, *(-edge for edge in EDGES), *drawn, *shares, *whole]


def test_jinja_and_python_write_every_number_alike() -> None:
    source = """
{%- from "questions/formats.jinja" import count, num, pct -%}
{%- for value in values -%}
{{ num(value) }}|{{ num(value, 2) }}|{{ num(value, 4) }}|{{ pct(value) }}|{{ count(value, "week") }}
{% endfor -%}"""
    values = numbers()
    lines = environment().from_string(source).render(values=values).splitlines()
    assert len(lines) == len(values) > 3000
    for value, line in zip(values, lines, strict=True):
        twin = (number(value), number(value, 2), number(value, 4), percent(value))
        assert line == "|".join([*twin, count(value, "week")]), value


@pytest.mark.parametrize(
    ("value", "digits", "written"),
    [
        (0, 0, "0"),
        (-0.0, 2, "0"),
        (902551, 0, "902 551"),
        (4526, 0, "4 526"),
        (999.5, 0, "1 000"),  # half to even, as Python rounds
        (1e9, 0, "1 000 000 000"),
        (-87654.3, 0, "-87 654"),
        (0.00004, 4, "0.00004"),
        (0.0005, 4, "0.0005"),
        (0.00045, 4, "0.00045"),
        (0.9995, 2, "0.9995"),
        (0.99996, 4, "0.99996"),
        (0.3274561, 4, "0.3275"),
        (0.3274561, None, "0.327"),
        (12.345, 0, "12"),
        (7.0, 1, "7"),
        (1.25e-7, 4, "1.25e-7"),
        (3e15, 0, "3e15"),
        (0.8331, 1, "0.83"),
        (20.333, 1, "20.3"),
        (24935.3132, 4, "24 935"),
        (-539.27231, 4, "-539.27"),
        (28800.34, 5, "28 800.34"),  # as told apart from another
        (12.345, None, "12.3"),
        (None, 0, "unknown"),
        (math.nan, 2, "unknown"),
        (-math.inf, 2, "unknown"),
    ],
)
def test_numbers_at_the_edges(value: float, digits: int | None, written: str) -> None:
    assert number(value, digits).replace("\u00a0", " ") == written
    assert " " not in number(value, digits), "a line of text could end inside a number"


@pytest.mark.parametrize(
    ("share", "written"),
    [
        (0, "0 %"),
        (0.5, "50 %"),
        (0.0998, "9.98 %"),
        (0.9995, "99.95 %"),
        (0.99999, "99.999 %"),
        (1, "100 %"),
        (0.0000004, "0.00004 %"),
        (-221.9, "-22 190 %"),
        (5.01, "501 %"),
        (None, "unknown"),
    ],
)
def test_shares_at_the_edges(share: float, written: str) -> None:
    assert percent(share).replace("\u00a0", " ") == written
    assert " " not in percent(share)


def test_what_is_written_is_near_and_on_the_right_side() -> None:
    """No share short of all is 100 %, nothing but zero is 0, and no figure is off by a percent."""
    for value in numbers():
        if value is None or not math.isfinite(value):
            continue
        back = float(number(value).replace("\u00a0", ""))
        assert (back == 0) == (value == 0)
        assert math.isclose(back, value, rel_tol=0.0051)
        if 0 < value < 1:
            assert back < 1
            assert math.isclose(1 - back, 1 - value, rel_tol=0.0051)
            assert float(percent(value).removesuffix("\u00a0%")) < 100


def test_several_numbers_stand_with_commas_between_them() -> None:
    assert formats.numbers(0.5) == "0.5"
    assert formats.numbers([0.25, 3, 0.00004]) == "0.25, 3, 0.00004"


def test_one_is_singular_and_a_gain_has_its_sign() -> None:
    assert [count(n, "week") for n in (0, 1, 1.0, 2, 0.5)] == [
        *("0 weeks", "1 week", "1 week", "2 weeks", "0.5 weeks")
    ]
    assert [signed(x, 3) for x in (0.0214, -0.5, 0, None)] == ["+0.021", "-0.5", "0", "unknown"]


PLURAL = re.compile(
    r"(?<![\d\u00a0.,-])1 (?:test |new )?"
    r"(?:months|weeks|days|hours|minutes|instances|requests|rows|bytes|points|positives)\b"
)


def plain(**changed: object) -> str:
    """Return the plan without what says where each figure comes from."""
    text = render_plan(plan_depth="regulated", **changed)[0].replace("\u00a0", " ")
    return re.sub(r" \((answer|preset|default|computed)\)", "", text)


def test_one_of_each_is_singular() -> None:
    ones = {"hours_saved": 1, "hourly_rate": 9.0, "ramp_months": 1, "build_months": 1}
    ones |= {"horizon_months": 61, "retention_months": 1, "window_days": 1, "row_bytes": 1}
    text = plain(**ones, build_months_best=1, build_months_worst=1, peak_qps=1, label_delay_days=1)
    assert not PLURAL.search(text), PLURAL.search(text)
    assert "for 1 hour of work saved" in text and "after a ramp of 1 month," in text
    assert "kept for 1 month" in text and "succeed over 1 day," in text


def test_a_limit_and_what_misses_it_never_read_the_same() -> None:
    assert apart(0.649996, 0.65, 4) == ("0.649996", "0.65")
    assert apart(0.31, 0.4, 4) == ("0.31", "0.4")
    assert apart(0.65, 0.65, 4) == ("0.65", "0.65")


def test_sentences_at_the_edges() -> None:
    text = plain(availability=0.9995, kpi_now=0.0005, kpi_target=0.00045)
    assert "99.95 % of requests succeed" in text
    assert "0.05 % today, 0.045 % wanted: 10 % less" in text
    assert "10 % today, 11 % wanted: 10 % more" in plain(kpi_now=0.1, kpi_target=0.11)
    named = plain(kpi="Minutes a call", kpi_now=0.5, kpi_target=0.4)
    assert "0.5 today, 0.4 wanted: 20 % less" in named
    assert "each month late costs 33 750 EUR" in text
    assert "each month late saves 6 250 EUR" in plain(run_cost=43_000)
    assert "which loses " in plain(today_caught=0.3, today_precision=0.05)
    assert "Warnings: keep a control group, is real time needed?\n" in plain(latency_ms=1000)
    assert ", acting on everybody (VAL-02)" in text
    assert "everybody (VAL-02)" not in plain(daily_capacity=5)
    assert "which gains " in plain(today_caught=0.3, today_precision=0.15)
    text = plain(cost_fp=0.01, cost_fn=250.0, kpi_now=1, kpi_target=5000, ramp_months=0)
    assert "at least 0.00004;" in text and "at least 0;" not in text
    assert "1 today, 5 000 wanted: 5 000 times as much" in text
    assert "from the first day of use" in text and "ramp of 0" not in text
    text = plain(monthly_benefit=100, build_cost=10**5)
    assert "times what is planned" in text or "pays the costs back" in text
    assert "safety -" not in text


def test_the_plan_names_no_threshold_as_the_one_in_use() -> None:
    """People's capacity or a policy of the team moves it: only a run knows it."""
    text = plain(daily_capacity=5)
    assert "at the threshold in use or more" in text and not re.search(r"p ≥ [\d.]", text)


@pytest.mark.parametrize(
    ("value", "unit", "written"),
    [
        (7, "month", "month 7"),
        (7, "months", "7 months"),
        (1, "weeks", "1 week"),
        (1, "cases a day", "1 case a day"),
        (1, "times the budget rate", "1 times the budget rate"),
        (0.5, "share of cost", "50\u00a0% of cost"),
        (None, "month", "none"),
    ],
)
def test_a_computed_number_is_written_with_its_unit(
    value: float | None, unit: str, written: str
) -> None:
    assert amount(Number(value=value, unit=unit, formula="x", source="UPL")) == written
