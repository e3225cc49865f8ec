"""In which precision a network computes."""

from functools import cache
from pathlib import Path

from medwb.config import RunConfig

_CPUINFO = Path("/proc/cpuinfo")
_NATIVE = {"avx512_bf16", "amx_bf16", "bf16"}  # Intel and AMD; ARM


def precision_of(config: RunConfig) -> str:
    """Arithmetic of the hidden layers while training: "float32" or "bfloat16".

    "auto" is bfloat16 where the processor multiplies in it, and no GPU is at work.
    """
    if config.precision != "auto":
        return config.precision
    import tensorflow as tf

    return "bfloat16" if has_bfloat16() and not tf.config.list_physical_devices("GPU") else "float32"


@cache
def has_bfloat16() -> bool:
    """Whether this machine's processor multiplies in bfloat16, as far as Linux tells."""
    try:
        lines = _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    flags = next((line for line in lines if line.lower().startswith(("flags", "features"))), "")
    return bool(_NATIVE & set(flags.partition(":")[2].split()))
