"""The formulas in plain Python, written apart from the Jinja macros they are held against."""

import math
from statistics import NormalDist

Flow = list[tuple[float, float]]
Z95 = NormalDist().inv_cdf(0.975)


def monthly_rate(yearly):
    return (1 + yearly) ** (1 / 12) - 1


def cash_flow(
    build_cost, build_months, benefit, run_cost, ramp, horizon, success, growth=0, most=None
) -> Flow:
    """Cost (<= 0) and benefit of month 0 to `horizon`."""
    flows = [(0.0 if build_months else -build_cost, 0.0)]
    for month in range(1, horizon + 1):
        if month <= build_months:
            flows.append((-build_cost / build_months, 0.0))
        else:
            in_use = month - build_months
            share = min(1.0, in_use / ramp) if ramp else 1.0
            full = benefit * (1 + growth) ** ((in_use - 1) / 12)
            full = full if most is None else min(full, most[month])
            flows.append((-run_cost, full * share * success))
    return flows


def ceilings(gap, growth, horizon, cases=None):
    """What the problem costs in month 0 to `horizon`, or less when cases allow only that."""
    costs = [gap / 12 * (1 + growth) ** (max(0, month - 1) / 12) for month in range(horizon + 1)]
    return costs if cases is None else [min(cost, cases) for cost in costs]


def caught_cost(fp, fn, tp, tn, works):
    """The mean over what happens: it works, or the case is lost and the effort with it."""
    effort = fp - tn
    return works * tp + (1 - works) * (fn + effort)


def value_today(positives, caught, precision, saved, alarm):
    """Cases that are acted on today: the positive ones save, the others cost."""
    if not caught:
        return 0.0
    acted_on = positives * caught / precision
    return acted_on * (precision * saved - (1 - precision) * alarm)


def value_of_cases(positives, capacity, saved, today):
    cases = min(positives, capacity) if capacity else positives
    return max(0.0, cases * saved - max(0.0, today))


def acted_on(per_day, prevalence, base, capacity):
    return min(per_day, per_day * prevalence / base, capacity or math.inf)


def likelihood(probability):
    return max(1, math.ceil(round(probability * 5, 9)))


def npv(flows: Flow, yearly):
    rate = monthly_rate(yearly)
    return math.fsum(
        (cost + gain) / (1 + rate) ** month for month, (cost, gain) in enumerate(flows)
    )


def roi(flows: Flow):
    cost = -math.fsum(cost for cost, _ in flows)
    return (math.fsum(gain for _, gain in flows) - cost) / cost if cost else None


def payback_month(flows: Flow, yearly=0.0):
    rate = monthly_rate(yearly)
    balance, spent = 0.0, False
    for month, (cost, gain) in enumerate(flows):
        balance += (cost + gain) / (1 + rate) ** month
        spent = spent or balance < 0
        if spent and balance >= 0:
            return month
    return None if spent else 0


def break_even_benefit(
    build_cost, build_months, run_cost, ramp, horizon, success, yearly, growth=0, most=None
):
    """The benefit with NPV = 0, by bisection (the macro takes Newton's steps)."""

    def worth(benefit):
        flows = cash_flow(
            build_cost, build_months, benefit, run_cost, ramp, horizon, success, growth, most
        )
        return npv(flows, yearly)

    if worth(0.0) >= 0:
        return 0.0
    low, high = 0.0, 1.0
    if worth(1e18) < 0 or worth(1e18) <= worth(0.0):
        return None
    while worth(high) < 0:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (low, middle) if worth(middle) >= 0 else (middle, high)
    return high


def margin_of_safety(break_even, benefit):
    return None if break_even is None or not benefit else 1 - break_even / benefit


def cost_of_delay(benefit, success, run_cost):
    return benefit * success - run_cost


def decision_threshold(fp, fn, tp, tn):
    """Elkan 2001: act when p >= p*; defined when a wrong decision costs more than the right one."""
    return (fp - tn) / ((fp - tn) + (fn - tp)) if fp > tn and fn > tp else None


def rows_for_share(p, half_width):
    return math.ceil(Z95 * Z95 * p * (1 - p) / (half_width * half_width))


def rows_for_class_share(p, half_width, prevalence):
    return math.ceil(rows_for_share(p, half_width) / prevalence)


def half_width(p, items):
    return Z95 * math.sqrt(p * (1 - p) / items) if items else None


def rows_for_events(parameters, prevalence, events):
    return math.ceil(events * parameters / min(prevalence, 1 - prevalence))


def parameters_for_rows(rows, prevalence, events):
    return math.floor(rows * min(prevalence, 1 - prevalence) / events)


def error_budget_minutes(availability, days):
    return (1 - availability) * days * 24 * 60


def burn_rate(share, hours, days):
    return share * days * 24 / hours


def alert_error_ratio(rate, availability):
    return rate * (1 - availability)


def instances(qps, seconds, concurrency=1, utilisation=0.6, minimum=2):
    return max(minimum, math.ceil(qps * seconds / (concurrency * utilisation)))


def cost_of_inaction(gap, growth, months):
    return sum(gap / 12 * (1 + monthly_rate(growth)) ** month for month in range(months))


def auc_half_width(auc, positives, negatives):
    """Hanley and McNeil 1982, equation 1."""
    if positives < 1 or negatives < 1:
        return None
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    spread = (positives - 1) * (q1 - auc**2) + (negatives - 1) * (q2 - auc**2)
    return Z95 * math.sqrt((auc * (1 - auc) + spread) / (positives * negatives))


def ab_rows(p1, p2):
    if p1 == p2:
        return None
    z80, mean = NormalDist().inv_cdf(0.8), (p1 + p2) / 2
    pooled = Z95 * math.sqrt(2 * mean * (1 - mean))
    apart = z80 * math.sqrt(p1 * (1 - p1) + p2 * (1 - p2))
    return math.ceil((pooled + apart) ** 2 / (p1 - p2) ** 2)


def weeks_until(rows, per_day, share):
    return math.ceil(rows / (per_day * share) / 7) if per_day else None


def ab_weeks(rows, per_day):
    return None if rows is None or not per_day else math.ceil(2 * rows / per_day / 7)


def cost_per_1000(machines, hourly, per_month, fixed):
    return (machines * hourly * 730 + fixed) / per_month * 1000


def storage_gb(history, per_day, bytes, months, growth, retention, copies, span=0):
    added = [per_day * 365.25 / 12 * (1 + growth) ** month for month in range(months)]
    if retention:
        added = added[-retention:]
        young = retention - months  # the oldest age, today, of rows that are still kept
        history *= min(1, max(0, young / span)) if span else young > 0
    return (history + sum(added)) * bytes * copies / 1e9


def bandwidth_mbit(qps, bytes):
    return qps * bytes * 8 / 1e6


def pert_mean(best, likely, worst):
    return (best + 4 * likely + worst) / 6


def pert_p80(best, likely, worst):
    return pert_mean(best, likely, worst) + NormalDist().inv_cdf(0.8) * (worst - best) / 6


ln = math.log


def parameters_for_shrinkage(rows, r2, shrinkage):
    """The other way round in Riley et al. 2020: n = p / ((S - 1) ln(1 - R2 / S))."""
    rows_for_one = 1 / ((shrinkage - 1) * math.log1p(-r2 / shrinkage))
    return math.floor(rows / rows_for_one)


def largest_r2(prevalence):
    entropy = prevalence * math.log(prevalence) + (1 - prevalence) * math.log1p(-prevalence)
    return -math.expm1(2 * entropy)


def zero_failure_run(rate):
    return math.ceil(math.log(0.05) / math.log1p(-rate))


def close_gap(weeks, left, lasts):
    if weeks <= left:
        return "train"
    return "hire" if lasts else "buy"


def build_machines(cost, price, months):
    hours = 730 * months
    return cost if price * hours > cost else price * hours


def utilisation(need, capacity):
    if not capacity:
        return None
    return 1.0 if need > capacity else need / capacity


def even_price(own, per_month, months):
    predictions = per_month * months
    return own / (predictions / 1000) if predictions > 0 else None
