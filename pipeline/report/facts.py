"""What identifies a report, in words."""

from collections.abc import Mapping

from pydantic import JsonValue

from edgewright.pipeline.report.schema import Report


def device_words(device: Mapping[str, JsonValue]) -> str:
    """The board, processor and accelerator that a report names, "unknown device" when it names none."""
    named = [str(device[key]) for key in ("board", "cpu_model", "accelerator") if device.get(key)]
    return ", ".join(named) or "unknown device"


def backend_of(report: Report) -> str:
    """What ran the network, "unknown" when the report does not say."""
    named = {str(settings["backend"]) for settings in report.settings.values() if "backend" in settings}
    return "+".join(sorted(named)) or "unknown"
