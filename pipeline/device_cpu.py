"""What a network's speed depends on in a processor: its model, its cores and its instruction sets."""

from pathlib import Path

from edgewright.runtime.system_files import pairs, read_pairs, read_text

Block = dict[str, str]

# The words of /proc/cpuinfo that change how a network is computed -> how they are reported.
_ISA = {
    **{flag: flag for flag in ("avx2", "fma", "f16c", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16")},
    **{flag: flag for flag in ("avx_vnni", "avx_vnni_int8", "amx_tile", "amx_int8", "amx_bf16", "amx_fp16")},
    **{flag: flag for flag in ("neon", "i8mm", "bf16", "sve", "sve2")},
    "asimd": "neon",
    "asimdhp": "fp16",
    "asimddp": "dotprod",
}

# (CPU implementer, CPU part) of MIDR_EL1, from the cores' reference manuals; the table of lscpu holds the same.
_ARM_PARTS = {
    (0x41, 0xC07): "Cortex-A7",
    (0x41, 0xD03): "Cortex-A53",
    (0x41, 0xD04): "Cortex-A35",
    (0x41, 0xD05): "Cortex-A55",
    (0x41, 0xD07): "Cortex-A57",
    (0x41, 0xD08): "Cortex-A72",
    (0x41, 0xD09): "Cortex-A73",
    (0x41, 0xD0A): "Cortex-A75",
    (0x41, 0xD0B): "Cortex-A76",
    (0x41, 0xD0C): "Neoverse-N1",
    (0x41, 0xD40): "Neoverse-V1",
    (0x41, 0xD41): "Cortex-A78",
    (0x41, 0xD42): "Cortex-A78AE",
    (0x41, 0xD49): "Neoverse-N2",
    (0x41, 0xD4F): "Neoverse-V2",
    (0x4E, 0x003): "Denver 2",
    (0x4E, 0x004): "Carmel",
}


def cpu_blocks(root: Path) -> list[Block]:
    """/proc/cpuinfo as one dictionary per core; a trailing block without 'processor' describes the board."""
    text = read_text(root / "proc/cpuinfo") or ""
    return [block for part in text.split("\n\n") if (block := pairs(part))]


def cpu_model(blocks: list[Block]) -> str | None:
    """The core's name; several kinds of cores are joined in the order in which they are numbered."""
    parts = [part for block in blocks if (part := _arm_part(block))]
    models = parts or [block["model name"] for block in blocks if "model name" in block]
    counts = {name: models.count(name) for name in dict.fromkeys(models)}
    if len(counts) > 1:
        return " + ".join(f"{count}x {name}" for name, count in counts.items())
    return next(iter(counts), None)


def isa(blocks: list[Block]) -> list[str]:
    """The instruction sets that every core has: on mixed cores a thread may land on any of them."""
    per_core = [set(words.split()) for block in blocks if (words := block.get("flags") or block.get("Features"))]
    common = set.intersection(*per_core) if per_core else set()
    return sorted({_ISA[word] for word in common if word in _ISA})


def logical_cores(blocks: list[Block]) -> int | None:
    """The hardware threads that are online."""
    return sum("processor" in block for block in blocks) or None


def physical_cores(root: Path, blocks: list[Block]) -> int | None:
    """Groups of hardware threads by /sys, since /proc/cpuinfo of ARM knows no cores; else by /proc/cpuinfo."""
    folders = (root / "sys/devices/system/cpu").glob("cpu[0-9]*/topology/thread_siblings_list")
    siblings = {text for path in folders if (text := read_text(path))}
    return len(siblings) or len({(b.get("physical id"), b["core id"]) for b in blocks if "core id" in b}) or None


def usable_cores(root: Path) -> list[int]:
    """The numbers of the cores that this process may run on."""
    allowed = read_pairs(root / "proc/self/status").get("Cpus_allowed_list", "")
    ranges = [part.split("-") for part in allowed.split(",") if part]
    return [core for ends in ranges for core in range(int(ends[0]), int(ends[-1]) + 1)]


def _arm_part(block: Block) -> str | None:
    try:
        key = (int(block["CPU implementer"], 16), int(block["CPU part"], 16))
    except (KeyError, ValueError):
        return None
    return _ARM_PARTS.get(key, f"ARM implementer {key[0]:#x} part {key[1]:#x}")
