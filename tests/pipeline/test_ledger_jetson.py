"""Texts as boards printed them, shortened only in the number of cores; where each was published stands beside it."""

from pathlib import Path

import pytest
from tests.pipeline.sysfs import planted

from edgewright.pipeline.ledger.jetson import (
    jetpack,
    jetson_linux,
    parse_jetson_clocks,
    parse_nvpmodel,
    parse_tegrastats,
    power_mode,
)
from edgewright.pipeline.ledger.power import module_rails, rail_gauges

# Orin Nano 8 GB, JetPack 6: tests of the monitor Beszel (henrygd/beszel, gpu_test.go), from its issue 286.
ORIN_NANO = (
    "11-15-2024 08:38:09 RAM 6185/7620MB (lfb 8x2MB) SWAP 851/3810MB (cached 1MB) "
    "CPU [15%@729,11%@729,14%@729,13%@729,11%@729,8%@729] EMC_FREQ 43%@2133 GR3D_FREQ 63%@[621] NVDEC off NVJPG off "
    "NVJPG1 off VIC off OFA off APE 200 cpu@53.968C soc2@52.437C soc0@50.75C gpu@53.343C tj@53.968C soc1@51.656C "
    "VDD_IN 12479mW/12479mW VDD_CPU_GPU_CV 4667mW/4667mW VDD_SOC 2817mW/2817mW"
)
# AGX Orin 32 GB, JetPack 6: user guide of a cluster with a Rudi (host rudi2), section on tegrastats.
AGX_ORIN = (
    "09-01-2025 10:55:25 RAM 1313/30697MB (lfb 37x4MB) SWAP 0/15348MB (cached 0MB) "
    "CPU [0%@729,0%@729,0%@729,0%@729,0%@729,0%@729,0%@729,0%@729,off,off,off,off] GR3D_FREQ 0% cpu@43.343C "
    "soc2@39.812C soc0@40.312C tj@43.343C soc1@38.843C VDD_GPU_SOC 1995mW/1995mW VDD_CPU_CV 0mW/0mW "
    "VIN_SYS_5V0 2524mW/2524mW"
)
# AGX Orin 64 GB, JetPack 5.1, as root: notes on setting up Orin boards by catid (host orin).
AGX_ORIN_JETPACK_5 = (
    "04-24-2023 00:01:24 RAM 1282/62795MB (lfb 15152x4MB) SWAP 0/31398MB (cached 0MB) CPU [0%@729,0%@729,0%@729] "
    "EMC_FREQ 0%@2133 GR3D_FREQ 0%@0 GR3D2_FREQ 0%@0 VIC_FREQ 729 APE 174 CV0@-256C CPU@42.593C Tboard@32C "
    "SOC2@39.343C Tdiode@33.25C SOC0@39.375C CV1@-256C GPU@-256C tj@42.593C SOC1@40.468C CV2@-256C "
    "VDD_GPU_SOC 2399mW/2399mW VDD_CPU_CV 400mW/400mW VIN_SYS_5V0 4032mW/4032mW NC 0mW/0mW "
    "VDDQ_VDD2_1V8AO 301mW/301mW NC 0mW/0mW"
)
# AGX Orin, JetPack 7: rbonghi/jetson_stats, pull request 894, and the rails of another board of that release.
AGX_ORIN_JETPACK_7 = (
    "07-25-2026 09:08:28 RAM 20642/62817MB (lfb 1x2MB) CPU [23%@2201,10%@2201] EMC_FREQ 3%@3199 GR3D_FREQ 0%@[1300,1300] "
    "NVENC0 off NVDEC0 off APE 174 cpu@52.968C/52.968C VDD_GPU_SOC 2792mW/2792mW/2792mW VDD_CPU_CV 0mW/0mW/0mW "
    "VIN_SYS_5V0 3918mW/3952mW/4019mW"
)
# AGX Xavier 16 GB, JetPack 4.2: martinkersner/gtop, pull request 7.
XAVIER = (
    "RAM 14700/15692MB (lfb 3x2MB) SWAP 898/8192MB (cached 23MB) "
    "CPU [0%@1190,0%@1190,0%@1190,0%@1190,0%@1190,0%@1190,0%@1190,0%@1190] EMC_FREQ 0% GR3D_FREQ 0% AO@30C GPU@30.5C "
    "Tboard@31C Tdiode@32C AUX@30.5C CPU@31.5C thermal@30.8C PMIC@100C GPU 463/463 CPU 618/618 SOC 2936/2936 CV 0/0 "
    "VDDRQ 309/309 SYS5V 3306/3306"
)
# AGX Xavier 32 GB in a mode with half of its cores: a record of commands on such a board.
XAVIER_15W = (
    "RAM 3153/31920MB (lfb 5888x4MB) SWAP 0/15960MB (cached 0MB) CPU [49%@2188,71%@2188,48%@2188,50%@2188,off,off,off,off] "
    "EMC_FREQ 0% GR3D_FREQ 42% AO@34.5C GPU@35C Tdiode@37.75C PMIC@50C AUX@34.5C CPU@37.5C thermal@35.55C Tboard@35C"
)


def test_a_line_of_an_orin_nano_is_read_with_its_clocks_sensors_and_rails() -> None:
    found = parse_tegrastats(ORIN_NANO)
    assert found is not None
    assert (found.memory_used_mb, found.memory_mb) == (6185, 7620)
    assert found.core_loads == (15, 11, 14, 13, 11, 8)
    assert set(found.core_mhz) == {729}
    assert (found.gpu_load, found.gpu_mhz) == (63, 621)
    assert found.celsius == {
        "cpu": 53.968, "soc2": 52.437, "soc0": 50.75, "gpu": 53.343, "tj": 53.968, "soc1": 51.656,
    }  # fmt: skip
    assert found.rails_mw == {"VDD_IN": 12479, "VDD_CPU_GPU_CV": 4667, "VDD_SOC": 2817}


def test_cores_that_a_power_mode_switched_off_have_no_load() -> None:
    found = parse_tegrastats(AGX_ORIN)
    assert found is not None
    assert found.core_loads == (0,) * 8 + (None,) * 4
    assert (found.gpu_load, found.gpu_mhz) == (0, None)
    xavier = parse_tegrastats(XAVIER_15W)
    assert xavier is not None
    assert (xavier.core_loads, xavier.gpu_load) == ((49, 71, 48, 50, None, None, None, None), 42)
    assert (xavier.rails_mw, xavier.celsius["Tboard"]) == ({}, 35)


def test_sensors_that_are_off_and_rails_that_are_not_connected_are_left_out() -> None:
    found = parse_tegrastats(AGX_ORIN_JETPACK_5)
    assert found is not None
    assert {"CPU", "Tboard", "SOC2", "Tdiode", "SOC0", "tj", "SOC1"} == found.celsius.keys()
    assert found.rails_mw == {"VDD_GPU_SOC": 2399, "VDD_CPU_CV": 400, "VIN_SYS_5V0": 4032, "VDDQ_VDD2_1V8AO": 301}


def test_lines_of_jetpack_7_have_a_third_number_for_the_peak() -> None:
    found = parse_tegrastats(AGX_ORIN_JETPACK_7)
    assert found is not None
    assert (found.gpu_load, found.gpu_mhz, found.celsius) == (0, 1300, {"cpu": 52.968})
    assert found.rails_mw == {"VDD_GPU_SOC": 2792, "VDD_CPU_CV": 0, "VIN_SYS_5V0": 3918}


def test_rails_of_a_xavier_have_no_unit() -> None:
    found = parse_tegrastats(XAVIER)
    assert found is not None
    assert found.rails_mw == {"GPU": 463, "CPU": 618, "SOC": 2936, "CV": 0, "VDDRQ": 309, "SYS5V": 3306}
    assert found.celsius["thermal"] == 30.8


def test_a_line_of_something_else_is_none() -> None:
    assert parse_tegrastats("Cannot open /sys/kernel/debug: Permission denied") is None


@pytest.mark.parametrize(
    ("line", "rails", "milliwatts"),
    [
        (ORIN_NANO, ("VDD_IN",), 12479),
        (AGX_ORIN, ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"), 4519),
        # VDDQ_VDD2_1V8AO is made of VIN_SYS_5V0, so it does not count again.
        (AGX_ORIN_JETPACK_5, ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"), 6831),
        (XAVIER, ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"), 7632),
        (XAVIER_15W, (), 0),
    ],
)
def test_the_power_of_a_module_is_that_of_the_rails_that_feed_it(
    line: str, rails: tuple[str, ...], milliwatts: int
) -> None:
    found = parse_tegrastats(line)
    assert found is not None
    assert module_rails({f"{name}_watts": 1.0 for name in found.rails_mw}) == rails
    assert sum(found.rails_mw[name] for name in rails) == milliwatts


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        # AGX Xavier: open-rdc/orne-box, issue 16.
        ("NV Fan Mode:quiet\nNV Power Mode: MAXN\n", "MAXN"),
        # AGX Xavier without root: the record that XAVIER_15W is from.
        (
            "NV Fan Mode:quiet\nNV Power Mode: MODE_15W_DESKTOP\n7\n"
            "NVPM ERROR: Error opening /sys/kernel/nvpmodel_emc_cap/emc_iso_cap: 13\n"
            "NVPM ERROR: failed to read PARAM EMC: ARG MAX_FREQ: PATH /sys/kernel/nvpmodel_emc_cap/emc_iso_cap\n",
            "MODE_15W_DESKTOP",
        ),
        # Xavier NX, JetPack 4.6: a guide to testing JetPack, `nvpmodel -q --verbose`.
        (
            "NVPM VERB: parsing done for /etc/nvpmodel.conf\nNV Fan Mode:quiet\n"
            "NVPM VERB: Current mode: NV Power Mode: MODE_15W_6CORE\n2\n",
            "MODE_15W_6CORE",
        ),
        # AGX Thor, JetPack 7: anduril/jetpack-nixos, pull request 460.
        ("NV Power Mode: MAXN\n0\n", "MAXN"),
        ("nvpmodel: command not found\n", None),
    ],
)
def test_the_power_mode_is_found_among_what_nvpmodel_warns_of(text: str, mode: str | None) -> None:
    assert parse_nvpmodel(text) == mode


# Orin NX 16 GB: open-rdc/orne-box, issue 121.
ORIN_NX_CLOCKS = """SOC family:tegra234  Machine:NVIDIA Jetson Orin NX Engineering Reference Developer Kit
Online CPUs: 0-7
cpu0:  Online=1 Governor=schedutil MinFreq=729600 MaxFreq=1984000 CurrentFreq=1728000 IdleStates: WFI=1 c7=1
cpu1:  Online=1 Governor=schedutil MinFreq=729600 MaxFreq=1984000 CurrentFreq=1881600 IdleStates: WFI=1 c7=1
"""
# Orin Nano: manual of the snap `nvpmodel`.
ORIN_NANO_CLOCKS = """SOC family:tegra234  Machine:NVIDIA Jetson Orin Nano Developer Kit
Online CPUs: 0-5
cpu0:  Online=1 Governor=ondemand MinFreq=729600 MaxFreq=1510400 CurrentFreq=960000 IdleStates: WFI=1 c7=1
GPU MinFreq=306000000 MaxFreq=624750000 CurrentFreq=306000000
Active GPU TPCs: 4
EMC MinFreq=204000000 MaxFreq=2133000000 CurrentFreq=665600000 FreqOverride=0
Failed to retrieve unit state: Access denied
FAN Dynamic Speed Control=kernel hwmon0_pwm1=88
"""
# Jetson Nano after `jetson_clocks`: notes on its power modes.
LOCKED_CLOCKS = """SOC family:tegra210  Machine:NVIDIA Jetson Nano Developer Kit
Online CPUs: 0-3
CPU Cluster Switching: Disabled
cpu0: Online=1 Governor=schedutil MinFreq=1479000 MaxFreq=1479000 CurrentFreq=1479000 IdleStates: WFI=0 c7=0
GPU MinFreq=921600000 MaxFreq=921600000 CurrentFreq=921600000
EMC MinFreq=204000000 MaxFreq=1600000000 CurrentFreq=1600000000 FreqOverride=1
Fan: speed=0
NV Power Mode: MAXN
"""
# Xavier: the form that rbonghi/jetson_stats documents for it (jtop, version 3).
XAVIER_CLOCKS = (
    "cpu0: Online=1 Governor=schedutil MinFreq=1190400 MaxFreq=2265600 CurrentFreq=1574400 IdleStates: C1=1 c6=1"
)


def test_clocks_are_read_in_megahertz() -> None:
    assert parse_jetson_clocks(ORIN_NX_CLOCKS).mhz["cpu1"] == (729.6, 1984, 1881.6)
    assert parse_jetson_clocks(ORIN_NANO_CLOCKS).mhz["GPU"] == (306, 624.75, 306)
    assert parse_jetson_clocks(ORIN_NANO_CLOCKS).mhz["EMC"] == (204, 2133, 665.6)
    assert parse_jetson_clocks(XAVIER_CLOCKS).mhz == {"cpu0": (1190.4, 2265.6, 1574.4)}


@pytest.mark.parametrize(
    ("text", "locked"), [(LOCKED_CLOCKS, True), (ORIN_NANO_CLOCKS, False), (ORIN_NX_CLOCKS, False), ("", False)]
)
def test_clocks_are_locked_when_none_may_move(text: str, locked: bool) -> None:
    assert parse_jetson_clocks(text).locked is locked


@pytest.mark.parametrize(
    ("text", "release", "version"),
    [
        # AGX Orin: record of an installation (host agx01).
        ("# R35 (release), REVISION: 4.1, GCID: 33958178, BOARD: t186ref, EABI: aarch64, DATE: Tue Aug  1", "35.4.1", "5.1.2"),
        # Orin Nano: the tree that the tests of the device's description use.
        ("# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64", "36.4.3", "6.2"),
        ("# R36 (release), REVISION: 9.0, GCID: 1, BOARD: generic, EABI: aarch64", "36.9.0", "6"),
    ],
)  # fmt: skip
def test_a_release_of_jetson_linux_has_its_jetpack(tmp_path: Path, text: str, release: str, version: str) -> None:
    root = planted(tmp_path, {"etc/nv_tegra_release": text})
    assert jetson_linux(root) == release
    assert jetpack(release) == version
    assert jetson_linux(tmp_path / "none") is None


def test_the_power_mode_is_read_from_the_files_of_nvpmodel(tmp_path: Path) -> None:
    status = {"var/lib/nvpmodel/status": "pmode:0002"}
    conf = {
        "etc/nvpmodel.conf": "< POWER_MODEL ID=0 NAME=15W >\n< POWER_MODEL ID=1 NAME=25W >\n< POWER_MODEL ID=2 NAME=MAXN_SUPER >\n"
    }
    assert power_mode(planted(tmp_path / "a", status | conf)) == "MAXN_SUPER"
    assert power_mode(planted(tmp_path / "b", status)) == "mode 2"
    assert power_mode(tmp_path / "none") is None


def test_rails_are_voltage_times_current_of_the_sensor(tmp_path: Path) -> None:
    # Channels and labels of the device tree tegra234-p3767.dtsi; 5016 mV and 6 A: ARK-Electronics/ark_jetson_kernel, power.md.
    hwmon = "sys/class/hwmon/hwmon1"
    root = planted(
        tmp_path,
        {
            f"{hwmon}/name": "ina3221\n",
            f"{hwmon}/in1_label": "VDD_IN\n",
            f"{hwmon}/in1_input": "5016\n",
            f"{hwmon}/curr1_input": "6000\n",
            f"{hwmon}/in2_label": "NC\n",
            f"{hwmon}/in2_input": "0\n",
            f"{hwmon}/curr2_input": "0\n",
            f"{hwmon}/in7_label": "sum of shunt voltages\n",
            f"{hwmon}/in7_input": "12\n",
            "sys/class/hwmon/hwmon0/name": "nct1008\n",
        },
    )
    assert rail_gauges(root) == {"VDD_IN_watts": pytest.approx(30.096)}
