"""What the device did while something ran, on trees of files as Linux has them."""

import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from tests.pipeline.sysfs import planted

from edgewright.pipeline.ledger.disturbance import disturbances, may_be_baseline
from edgewright.pipeline.ledger.heat import heat_gauges
from edgewright.pipeline.ledger.load import own_seconds
from edgewright.pipeline.ledger.nvml import Nvml
from edgewright.pipeline.ledger.sampling import Gauge, Ledger, Record
from edgewright.pipeline.ledger.tegrastats import TegrastatsReader
from edgewright.pipeline.report.schema import BundleIdentity, Report

CPU = "sys/devices/system/cpu"
# proc(5): user nice system idle iowait irq softirq steal guest guest_nice, in hundredths of a second.
CALM = {
    "proc/stat": "cpu  1000 0 500 90000 0 0 0 0 0 0\ncpu0 1000 0 500 90000 0 0 0 0 0 0\n",
    "proc/pressure/memory": "some avg10=0.00 avg60=0.00 avg300=0.00 total=1000000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
    "proc/self/cgroup": "0::/\n",
    "sys/fs/cgroup/cpu.stat": "usage_usec 1\nnr_periods 0\nnr_throttled 0\nthrottled_usec 0\n",
    f"{CPU}/cpu0/thermal_throttle/core_throttle_count": "3\n",
    f"{CPU}/cpu0/thermal_throttle/package_throttle_count": "7\n",
    f"{CPU}/cpu1/thermal_throttle/core_throttle_count": "0\n",
    f"{CPU}/cpu1/thermal_throttle/package_throttle_count": "7\n",
    f"{CPU}/cpu0/cpufreq/scaling_cur_freq": "2900000\n",
    f"{CPU}/cpu0/cpufreq/scaling_max_freq": "3000000\n",
    "sys/class/thermal/thermal_zone0/type": "x86_pkg_temp\n",
    "sys/class/thermal/thermal_zone0/temp": "45000\n",
    "sys/class/powercap/intel-rapl:0/name": "package-0\n",
    "sys/class/powercap/intel-rapl:0/energy_uj": "262143300000\n",
    "sys/class/powercap/intel-rapl:0/max_energy_range_uj": "262143328850\n",
    "sys/class/powercap/intel-rapl:0:0/name": "core\n",
    "sys/class/powercap/intel-rapl:0:0/energy_uj": "1\n",
    "sys/class/powercap/intel-rapl:1/name": "psys\n",
    "sys/class/powercap/intel-rapl:1/energy_uj": "1\n",
}


def recorded(root: Path, changes: dict[str, str], *, seconds: float = 0.05) -> Record:
    """What is recorded while the files of `changes` are written over those of a calm machine."""
    planted(root, CALM)
    with Ledger(root, interval_s=0.005) as ledger:
        time.sleep(seconds / 2)
        planted(root, changes)
        time.sleep(seconds / 2)
    return ledger.record()


def test_a_calm_machine_is_recorded_without_a_complaint(tmp_path: Path) -> None:
    record = recorded(tmp_path, {})
    assert record.samples >= 2
    assert record.gauges["cpu0_mhz"] == Gauge(2900, 2900, 2900, 2900)
    assert record.gauges["x86_pkg_temp_celsius"].most == 45
    assert disturbances(record) == ()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {f"{CPU}/cpu{n}/thermal_throttle/package_throttle_count": "9\n" for n in (0, 1)}
            | {f"{CPU}/cpu0/thermal_throttle/core_throttle_count": "4\n"},
            "the processor was throttled by heat 3 times",
        ),
        ({f"{CPU}/cpu0/cpufreq/scaling_max_freq": "1800000\n"}, "the clock limit of the processor moved between 1800 and 3000"),
        ({"proc/stat": "cpu  9000 0 500 90000 0 0 0 0 0 0\n"}, "other programs kept"),
        ({"proc/stat": "cpu  1000 0 500 90000 0 0 0 900 0 0\n"}, "the hypervisor gave"),
        ({"sys/fs/cgroup/cpu.stat": "throttled_usec 900000\n"}, "the container's CPU quota was used up"),
        ({"proc/pressure/memory": "some avg10=0.00 avg60=0.00 avg300=0.00 total=1900000\n"}, "programs waited for memory"),
        ({"sys/devices/platform/soc/soc:firmware/get_throttled": "50005\n"}, "the hardware reports: under-voltage"),
        ({"sys/class/hwmon/hwmon3/oc1_event_cnt": "2\n"}, "the module was throttled by over-current 2 times"),
    ],
)  # fmt: skip
def test_a_disturbed_machine_is_recorded_with_the_reason(tmp_path: Path, changes: dict[str, str], reason: str) -> None:
    reasons = disturbances(recorded(tmp_path, changes))
    assert any(found.startswith(reason) for found in reasons), reasons


def test_the_counter_of_energy_may_start_again_from_zero(tmp_path: Path) -> None:
    record = recorded(tmp_path, {"sys/class/powercap/intel-rapl:0/energy_uj": "971150\n"})
    assert record.power is not None
    watts, source = record.power
    # 28850 uJ to the end of the range, and 971150 uJ after it: 1 J. Neither parts of the package nor psys count again.
    assert watts * record.seconds == pytest.approx(1.0)
    assert source == "package-0"


def test_sensors_that_are_off_have_no_temperature(tmp_path: Path) -> None:
    zone = "sys/class/thermal/thermal_zone4"
    assert heat_gauges(planted(tmp_path, {f"{zone}/type": "cv0-thermal", f"{zone}/temp": "-256000"})) == {}


def test_a_machine_that_tells_nothing_is_recorded_too(tmp_path: Path) -> None:
    with Ledger(tmp_path, interval_s=0.001) as ledger:
        time.sleep(0.01)
    record = ledger.record()
    assert (record.gauges, record.power, disturbances(record)) == ({}, None, ())


def test_the_costlier_a_sample_the_longer_the_pause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def costly(self: Ledger) -> None:
        self._readings.append({})
        end_s = time.thread_time() + 0.02
        while time.thread_time() < end_s:
            pass

    monkeypatch.setattr(Ledger, "_sample", costly)
    with Ledger(tmp_path, interval_s=0) as ledger:
        time.sleep(0.1)
    # One at once, one at the end: after 20 ms of work there are 2 s of rest.
    assert ledger.record().samples == 2


def test_the_work_of_this_process_is_its_own() -> None:
    before = own_seconds()
    deadline = time.process_time() + 0.1
    while time.process_time() < deadline:
        pass
    assert own_seconds() - before >= 0.09


def fake_nvml(monkeypatch: pytest.MonkeyPatch, reasons: int) -> None:
    class NVMLError(Exception):
        pass

    def unsupported(*_: object) -> None:
        raise NVMLError

    module = ModuleType("pynvml")
    module.__dict__.update(
        NVMLError=NVMLError,
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetCount=lambda: 1,
        nvmlDeviceGetHandleByIndex=lambda number: number,
        nvmlDeviceGetPowerUsage=lambda gpu: 71_234,
        nvmlDeviceGetClockInfo=lambda gpu, kind: 1980,
        nvmlDeviceGetTemperature=unsupported,
        nvmlDeviceGetUtilizationRates=lambda gpu: SimpleNamespace(gpu=42, memory=3),
        nvmlDeviceGetCurrentClocksThrottleReasons=lambda gpu: reasons,
    )
    monkeypatch.setitem(sys.modules, "pynvml", module)


def test_gpus_are_read_through_nvml_and_what_they_lack_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_nvml(monkeypatch, reasons=0x20 | 0x04)
    with Nvml() as nvml:
        assert nvml.gauges() == {"gpu0_watts": 71.234, "gpu0_mhz": 1980, "gpu0_load": 42}
        # 0x04 is a power limit that was set: how the machine is, no disturbance.
        assert nvml.slowdowns() == ("software thermal slowdown",)


def test_without_the_package_there_are_no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with Nvml() as nvml:
        assert (nvml.gauges(), nvml.slowdowns()) == ({}, ())


def test_tegrastats_is_read_as_it_prints(tmp_path: Path) -> None:
    program = tmp_path / "tegrastats"
    program.write_text(
        '#!/bin/sh\necho "RAM 1/2MB CPU [1%@729,off] GR3D_FREQ 63%@[621] tj@53.9C VDD_IN 12479mW/12479mW"\nsleep 60\n'
    )
    program.chmod(0o755)
    reader = TegrastatsReader(str(program))
    deadline = time.monotonic() + 10
    while not reader.gauges() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert reader.gauges() == {"gpu_load": 63, "gpu_mhz": 621, "tj_celsius": 53.9, "VDD_IN_watts": 12.479}
    reader.close()


def test_without_tegrastats_there_are_no_gauges() -> None:
    reader = TegrastatsReader("no-such-program-as-this")
    assert reader.gauges() == {}
    reader.close()


def test_a_disturbed_report_may_not_become_a_baseline() -> None:
    report = Report(
        bundle=BundleIdentity(name="nano", digest="a" * 64, task="detect", precision="fp32"),
        data=None,
        settings={},
        measurements=(),
        created="2026-01-01T00:00:00+00:00",
    )
    assert may_be_baseline(report) == ()
    disturbed = report.model_copy(update={"state": {"disturbed": ["the processor was throttled by heat 3 times"]}})
    assert may_be_baseline(disturbed) == ("the processor was throttled by heat 3 times",)
