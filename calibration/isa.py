"""What the processor's integer instructions allow: without VNNI, sums of 8-bit products overflow and results are wrong."""

import os
from pathlib import Path

# Intel's multiply-add of four 8-bit products with a 32-bit sum; before it, pairs were added in 16 bits and saturated.
_EXACT = ("avx512_vnni", "avx_vnni", "avx_vnni_int8", "amx_int8", "asimddp", "i8mm")
# What oneDNN is told to use at most; these names include the instruction.
_CAPPED_WITH = ("VNNI", "AMX", "AVX10", "ALL", "DEFAULT")


def sums_exactly(root: Path = Path("/")) -> bool:
    """Whether this processor, as OpenVINO is allowed to use it, adds products of 8-bit integers exactly."""
    cap = os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper()
    if cap and not any(name in cap for name in _CAPPED_WITH) and cap not in ("AVX512_CORE_BF16", "AVX512_CORE_FP16"):
        return False
    try:
        text = (root / "proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    flags = {
        flag for line in text.splitlines() if line.lower().startswith(("flags", "features")) for flag in line.split()
    }
    return any(flag in flags for flag in _EXACT)
