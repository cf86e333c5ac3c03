"""Numbers as people read them."""

# What a reader looks for first, in this order.
HEADLINES = (
    "AP",
    "AP50",
    "mask-AP",
    "mIoU",
    "Dice",
    "PQ",
    "latency.end_to_end.p50",
    "latency.end_to_end.p99",
    "peak_rss",
    "model_size",
)


def shown(value: float, unit: str, *, apart_from: float | None = None) -> str:
    """The value with its unit: three decimals for a fraction, else four digits; more where it would read like
    `apart_from`."""
    for digits in range(3, 9):
        text = _digits(value, unit, digits)
        if apart_from is None or value == apart_from or text != _digits(apart_from, unit, digits):
            break
    return text if unit in ("fraction", "count", "") else f"{text} {unit}"


def signed(difference: float, unit: str) -> str:
    """A difference with its sign and unit; 0 where there is none."""
    if difference == 0:
        return "0"
    return ("+" if difference > 0 else "−") + shown(abs(difference), unit, apart_from=0.0)


def _digits(value: float, unit: str, digits: int) -> str:
    if unit == "fraction":
        return f"{value:.{digits}f}"
    whole = len(f"{abs(value):.0f}")
    return f"{value:,.0f}" if whole > digits else f"{value:.{digits + 1}g}"
