"""The board: JetPack, power mode, clocks, heat."""

from collections.abc import Iterator

from edgewright.pipeline.doctor import Finding, known_problem
from edgewright.pipeline.doctor.machine import Machine
from edgewright.pipeline.ledger.heat import heat_gauges, throttle_counters
from edgewright.pipeline.ledger.jetson import jetpack

_HOT_CELSIUS = 85.0


def check(machine: Machine) -> Iterator[Finding]:
    """The release of a Jetson, and on every machine the clocks that measurements depend on."""
    release = machine.jetson
    if release is not None:
        yield _release(release)
        yield _power_mode(machine)
    yield from _clocks(machine)
    yield from _heat(machine)


def _release(release: str) -> Finding:
    known = jetpack(release)
    if known is None:
        return Finding(
            "board", "unknown", f"Jetson Linux {release}, of a JetPack that is not known", "update edgewright"
        )
    found = f"Jetson Linux {release}, JetPack {known}"
    if known.startswith("4"):
        fix = "update to JetPack 5.1 or later; else export ONNX and build it with the board's own trtexec"
        return Finding("board", "problem", f"{found}: its TensorRT is 8.2 at most, and 8.5 is needed", fix)
    return Finding("board", "ok", found)


def _power_mode(machine: Machine) -> Finding:
    mode = machine.device.identity.get("power_mode")
    if mode is None:
        return Finding("power-mode", "unknown", "nvpmodel does not say", "run `sudo nvpmodel -q`")
    if str(mode).startswith("MAXN"):
        return Finding("power-mode", "ok", str(mode))
    fix = "sudo nvpmodel -p --verbose lists them; 0 is MAXN on most boards: sudo nvpmodel -m 0"
    return Finding("power-mode", "note", f"{mode}: engines and timings hold for this mode alone", fix)


def _clocks(machine: Machine) -> Iterator[Finding]:
    locked, governor = machine.device.state.get("jetson_clocks"), machine.device.state.get("governor")
    if machine.jetson is not None and locked != "locked":
        state = "free" if locked == "free" else "not readable without root"
        yield Finding(
            "clocks", "note", f"clocks are {state}; timings jump with them", "sudo jetson_clocks before measuring"
        )
    elif governor and governor != "performance":
        fix = "before measuring: sudo cpupower frequency-set -g performance"
        yield Finding("clocks", "note", f"the processor's clocks follow the load (governor {governor})", fix)
    elif governor or locked:
        yield Finding("clocks", "ok", "fixed")


def _heat(machine: Machine) -> Iterator[Finding]:
    celsius = heat_gauges(machine.root)
    throttled = throttle_counters(machine.root)
    if over := throttled["over_current_throttles"]:
        yield known_problem(
            "power", "over-current", f"throttled by over-current {over:.0f} times since the start", status="note"
        )
    hot = {name: value for name, value in celsius.items() if value >= _HOT_CELSIUS}
    if hot:
        text = ", ".join(f"{name.removesuffix('_celsius')} {value:.0f} °C" for name, value in hot.items())
        yield Finding("heat", "note", f"hot: {text}", "let it cool, mount the fan, and see that air moves")
    elif celsius:
        yield Finding("heat", "ok", f"{max(celsius.values()):.0f} °C at most")
