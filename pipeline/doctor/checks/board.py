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
        known = jetpack(release)
        name = f"JetPack {known}" if known else "a JetPack that this version does not know"
        status = "ok" if known and not known.startswith("4") else "problem"
        fix = (
            ""
            if status == "ok"
            else "JetPack 4 has TensorRT 8.2 at most, 8.5 is needed: export ONNX and use its trtexec"
        )
        yield Finding("board", status, f"Jetson Linux {release}, {name}", fix if known else "update edgewright")
        yield _power_mode(machine)
    yield from _clocks(machine)
    yield from _heat(machine)


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
