"""Texts as the kernels of real boards print them, shortened to the lines that are read."""

from pathlib import Path

import pytest
from tests.pipeline.sysfs import planted

from edgewright.pipeline.device import describe_device
from edgewright.runtime.control_groups import cpu_quota, memory_limit_bytes

Tree = dict[str, str]

_XAVIER_CORE = """processor\t: {core}
model name\t: ARMv8 Processor rev 0 (v8l)
BogoMIPS\t: 62.50
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp
CPU implementer\t: 0x4e
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: 0x004
CPU revision\t: 0
MTS version\t: 50168445
"""
_ORIN_CORE = """processor\t: {core}
BogoMIPS\t: 62.50
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc asimddp uscat flagm
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: 0xd42
CPU revision\t: 1
"""
_ROCKCHIP_CORE = """processor\t: {core}
BogoMIPS\t: 48.00
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x2
CPU part\t: {part}
CPU revision\t: 0
"""
_XEON_CORE = """processor\t: {core}
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 143
model name\t: Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz
cpu MHz\t\t: 2699.998
physical id\t: 0
core id\t\t: {core_id}
flags\t\t: fpu f16c hypervisor avx2 fma avx512f avx512_bf16 avx_vnni avx512_vnni amx_bf16 amx_tile amx_int8
"""

ORIN_NANO: Tree = {
    "proc/cpuinfo": "\n".join(_ORIN_CORE.format(core=core) for core in range(6)),
    "proc/meminfo": "MemTotal:        7650336 kB\nMemFree:          312456 kB\nMemAvailable:    5123456 kB\n",
    "proc/loadavg": "0.52 0.58 0.59 1/467 3001\n",
    "proc/self/status": "Name:\tpython3\nCpus_allowed:\t3f\nCpus_allowed_list:\t0-5\n",
    "proc/self/cgroup": "0::/user.slice/user-1000.slice/session-4.scope\n",
    "proc/sys/kernel/osrelease": "5.15.148-tegra\n",
    "proc/device-tree/model": "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super\0",
    "proc/device-tree/compatible": "nvidia,p3768-0000+p3767-0005-super\0nvidia,p3767-0005\0nvidia,tegra234\0",
    "etc/os-release": 'PRETTY_NAME="Ubuntu 22.04.5 LTS"\nNAME="Ubuntu"\n',
    "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64\n",
    **{f"sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list": f"{core}\n" for core in range(6)},
    **{f"sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor": "schedutil\n" for core in range(6)},
    **{f"sys/devices/system/cpu/cpu{core}/cpufreq/scaling_cur_freq": "729600\n" for core in range(6)},
    **{f"sys/devices/system/cpu/cpu{core}/cpufreq/scaling_max_freq": "1510400\n" for core in range(6)},
    **{f"sys/devices/system/cpu/cpu{core}/cpufreq/cpuinfo_max_freq": "1728000\n" for core in range(6)},
}  # fmt: skip

XEON_CONTAINER: Tree = {
    "proc/cpuinfo": "\n".join(_XEON_CORE.format(core=core, core_id=core // 2) for core in range(4)),
    "proc/meminfo": "MemTotal:       16374584 kB\nMemAvailable:   14001234 kB\n",
    "proc/self/status": "Cpus_allowed_list:\t0,2-3\n",
    "proc/self/cgroup": "0::/\n",
    "sys/fs/cgroup/cpu.max": "150000 100000\n",
    "sys/fs/cgroup/memory.max": "2147483648\n",
    ".dockerenv": "\n",
    "proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build\n",
    "proc/driver/nvidia/gpus/0000:01:00.0/information": "Model: \t\t NVIDIA L4\nIRQ:   \t\t 133\nGPU UUID: \t GPU-0\n",
}


def test_an_orin_nano_is_described_by_its_board_chip_cores_and_instruction_sets(tmp_path: Path) -> None:
    identity = describe_device(planted(tmp_path, ORIN_NANO)).identity
    assert identity["board"] == "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super"
    assert identity["accelerator"] == "tegra234"
    assert identity["cpu_model"] == "Cortex-A78AE"
    assert (identity["physical_cores"], identity["logical_cores"], identity["usable_cores"]) == (6, 6, 6)
    assert identity["isa"] == ["dotprod", "fp16", "neon"]
    assert identity["memory_gib"] == 7.0
    assert identity["virtual_machine"] is False


def test_the_power_mode_of_a_jetson_identifies_it_and_other_machines_have_none(tmp_path: Path) -> None:
    mode = {
        "var/lib/nvpmodel/status": "pmode:0002",
        "etc/nvpmodel.conf": "< POWER_MODEL ID=2 NAME=MAXN_SUPER >\n",
    }
    assert describe_device(planted(tmp_path / "a", ORIN_NANO | mode)).identity["power_mode"] == "MAXN_SUPER"
    assert "power_mode" not in describe_device(planted(tmp_path / "b", XEON_CONTAINER)).identity


def test_clocks_and_load_are_state_and_do_not_identify_the_device(tmp_path: Path) -> None:
    calm = describe_device(planted(tmp_path / "calm", ORIN_NANO))
    busy = describe_device(
        planted(
            tmp_path / "busy",
            ORIN_NANO
            | {
                "proc/loadavg": "5.00 4.00 3.00 9/467 3001\n",
                "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "performance\n",
            },
        )
    )
    assert calm.identity == busy.identity
    assert calm.state == {
        "governor": "schedutil",
        "frequency_mhz": 730,
        "frequency_limit_mhz": 1510,
        "frequency_maximum_mhz": 1728,
        "load_1min": 0.52,
        "memory_available_gib": 4.89,
        "container": None,
    }
    assert (busy.state["governor"], busy.state["load_1min"]) == ("performance, schedutil", 5.0)


def test_software_versions_name_the_kernel_the_distribution_and_the_jetson_release(tmp_path: Path) -> None:
    software = describe_device(planted(tmp_path, ORIN_NANO)).software
    assert software["kernel"] == "5.15.148-tegra"
    assert software["distribution"] == "Ubuntu 22.04.5 LTS"
    assert software["l4t"] == "R36 (release), REVISION: 4.3"
    assert software["jetpack"] == "6.2"  # NVIDIA's Jetson Linux Archive
    assert {"python", "numpy", "opencv", "onnxruntime"} <= software.keys()


def test_a_container_on_a_virtual_xeon_shows_its_limits_and_its_accelerators(tmp_path: Path) -> None:
    device = describe_device(planted(tmp_path, XEON_CONTAINER))
    identity = device.identity
    assert identity["cpu_model"] == "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz"
    assert (identity["physical_cores"], identity["logical_cores"], identity["usable_cores"]) == (2, 4, 3)
    assert (identity["cpu_quota"], identity["memory_limit_gib"]) == (1.5, 2.0)
    assert identity["accelerator"] == "NVIDIA L4"
    assert identity["virtual_machine"] is True
    assert isinstance(identity["isa"], list)
    assert {"avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16"} <= set(map(str, identity["isa"]))
    assert (device.state["container"], device.state["frequency_mhz"]) == ("docker", 2700)
    assert device.software["nvidia_driver"] == "580.95.05"


@pytest.mark.parametrize(
    ("cpuinfo", "model"),
    [
        ("\n".join(_XAVIER_CORE.format(core=core) for core in range(6)), "Carmel"),
        (
            "\n".join(_ROCKCHIP_CORE.format(core=core, part="0xd05" if core < 4 else "0xd0b") for core in range(8)),
            "4x Cortex-A55 + 4x Cortex-A76",
        ),
        (_ROCKCHIP_CORE.format(core=0, part="0xfff"), "ARM implementer 0x41 part 0xfff"),
    ],
)
def test_arm_cores_are_named_by_their_part_numbers(tmp_path: Path, cpuinfo: str, model: str) -> None:
    assert describe_device(planted(tmp_path, {"proc/cpuinfo": cpuinfo})).identity["cpu_model"] == model


def test_only_instruction_sets_that_every_core_has_are_listed(tmp_path: Path) -> None:
    mixed = _XEON_CORE.format(core=0, core_id=0) + "\n" + _XEON_CORE.format(core=1, core_id=1).replace("avx512f ", "")
    isa = describe_device(planted(tmp_path, {"proc/cpuinfo": mixed})).identity["isa"]
    assert isinstance(isa, list)
    assert "avx2" in isa
    assert "avx512f" not in isa


def test_an_empty_system_is_described_without_an_error(tmp_path: Path) -> None:
    device = describe_device(tmp_path)
    assert device.identity["cpu_model"] is None
    assert device.identity["isa"] == []
    assert set(device.state.values()) == {None}


def test_this_machine_is_described_with_a_core_and_memory() -> None:
    identity = describe_device().identity
    assert isinstance(identity["usable_cores"], int)
    assert isinstance(identity["memory_gib"], float)
    assert identity["usable_cores"] >= 1
    assert identity["memory_gib"] > 0


@pytest.mark.parametrize(
    ("tree", "quota", "memory"),
    [
        (
            {
                "proc/self/cgroup": "0::/\n",
                "sys/fs/cgroup/cpu.max": "max 100000\n",
                "sys/fs/cgroup/memory.max": "max\n",
            },
            None,
            None,
        ),
        # A parent's limit holds for its children.
        (
            {
                "proc/self/cgroup": "0::/a.slice/b.service\n",
                "sys/fs/cgroup/a.slice/cpu.max": "100000 100000\n",
                "sys/fs/cgroup/a.slice/b.service/cpu.max": "400000 100000\n",
                "sys/fs/cgroup/a.slice/b.service/memory.max": "536870912\n",
            },
            1.0,
            536870912,
        ),
        # Docker on version 1: the file names the host's path, the mounted root is the container's own group.
        (
            {
                "proc/self/cgroup": "4:memory:/docker/3f\n2:cpu,cpuacct:/docker/3f\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "50000\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "1073741824\n",
            },
            0.5,
            1073741824,
        ),
        # "No limit" on version 1.
        (
            {
                "proc/self/cgroup": "4:memory:/\n1:cpu:/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            },
            None,
            None,
        ),
    ],
)
def test_limits_of_control_groups_are_read(tmp_path: Path, tree: Tree, quota: float | None, memory: int | None) -> None:
    root = planted(tmp_path, tree)
    assert (cpu_quota(root), memory_limit_bytes(root)) == (quota, memory)
