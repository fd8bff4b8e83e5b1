"""Where results go, and what they were measured on."""

import json
import os
import pathlib
import platform
from importlib.metadata import distributions
from typing import Any

import jax
import numpy as np

RESULTS = pathlib.Path(__file__).parent / "results"


def machine() -> dict[str, Any]:
    """Describe the hardware and the versions that decide a figure."""
    processor = platform.processor() or platform.machine()
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    if cpuinfo.exists():
        models = [x for x in cpuinfo.read_text().splitlines() if x.startswith("model name")]
        processor = models[0].split(":")[1].strip() if models else processor
    packages = ("jax", "jaxlib", "numpy", "ase", "rdkit", "optax", "tblite", "nequix", "mlip")
    packages += ("torch", "torch-sim-atomistic", "h5py")
    return {
        "processor": processor,
        "cores": len(os.sched_getaffinity(0)),
        "load average": os.getloadavg(),
        "devices": [f"{d.platform}: {d.device_kind}" for d in jax.devices()],
        "python": platform.python_version(),
        **{d.name: d.version for d in distributions() if d.name in packages},
    }


def save(name: str, figures: dict[str, Any]) -> None:
    """Print a benchmark's figures and write them with the machine's description."""
    for key, value in figures.items():
        print(f"   {key}: {value}", flush=True)
    RESULTS.mkdir(exist_ok=True)
    record = {"benchmark": name, "figures": figures, "machine": machine()}
    text = json.dumps(record, indent=1, default=_plain)
    (RESULTS / f"{name}.json").write_text(text + "\n")


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value.tolist()
