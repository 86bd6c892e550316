"""How numbers are written for people: in the plan, in reports, on pages and at the command line.

- Three figures; with `digits`, so many decimals, or two figures where that is more, and up to four
  of them five figures at most. A number from 100 on has its unit. Zeros at the end go.
- Between 0 and 1 (0 % and 100 %) the figures are those of the distance to the nearer end: 0.9995 is
  99.95 %, never 100 %, and 0.00004 is not 0.
- Thousands are parted by a no-break space, which also stands before %: no line ends in a number.
- Below 0.000001 and from 1e15 on as 1.5e-7. What is missing or not finite is "unknown".

`questions/formats.jinja` of the template writes the plan by the same rules.
"""

import math

NBSP = "\u00a0"  # U+202F would be narrower; consoles with an old code page cannot print it
UNKNOWN = "unknown"


def number(value: float | None, digits: int | None = None) -> str:
    """Write a number: 12 346, 0.327, 0.00004."""
    return _written(value, digits, 1)


def numbers(value: float | list[float]) -> str:
    """Write a number, or several with commas between them."""
    return ", ".join(map(number, value)) if isinstance(value, list) else number(value)


def percent(share: float | None) -> str:
    """Write a share: 4 %, 12.5 %, 99.95 %."""
    return UNKNOWN if share is None else f"{_written(share * 100, None, 100)}{NBSP}%"


def signed(value: float | None, digits: int | None = None) -> str:
    """Write a difference: +0.02, -3, 0."""
    return f"{'+' * (value is not None and value > 0)}{number(value, digits)}"


def apart(one: float, other: float, digits: int) -> tuple[str, str]:
    """Write two numbers with `digits` decimals, or with as many more as tell them apart."""
    while one != other and number(one, digits) == number(other, digits) and digits < 15:
        digits += 1
    return number(one, digits), number(other, digits)


def count(value: float, unit: str, digits: int | None = None) -> str:
    """Write how many: 1 week, 2 weeks."""
    written = number(value, digits)
    return f"{written} {unit}{'' if written == '1' else 's'}"


def _written(value: float | None, digits: int | None, whole: int) -> str:
    if value is None or not math.isfinite(value):
        return UNKNOWN
    size = abs(value)
    if size >= 1e15 or 0 < size < 1e-6:
        mantissa, power = f"{value:.2e}".split("e")
        return f"{_short(mantissa)}e{int(power)}"
    near = min(size, whole - size) if 0 < size < whole else size
    first = int(f"{near:.2e}".split("e")[1]) if near else 2  # the power of ten of the first figure
    most = 4 - first if (digits or 0) < 5 else digits or 0
    decimals = 2 - first if digits is None else max(min(digits, most), 1 - first)
    return _short(f"{value:,.{max(0, decimals)}f}").replace(",", NBSP)


def _short(text: str) -> str:
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text
