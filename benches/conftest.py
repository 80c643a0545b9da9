"""What every benchmark shares."""

import importlib.metadata
import re
from pathlib import Path

import pytest

# kernel/shape/dtype/case; the engine stands apart.
ID = re.compile(r"[a-z-]+(/[\w.:-]+){3}")
PACKAGES = ("numpy", "torch", "transformers", "trl", "datasets", "pyarrow", "spanmask")


def pytest_collection_modifyitems(items):
    """The removed collator announces its own removal."""
    for item in items:
        item.add_marker(pytest.mark.filterwarnings("ignore:This class is deprecated:DeprecationWarning"))


def pytest_benchmark_update_machine_info(machine_info):
    """What the report must name beside the processor."""
    machine_info["versions"] = {package: importlib.metadata.version(package) for package in PACKAGES}
    caches = [
        folder for folder in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*") if read(folder / "type") != "Instruction"
    ]
    machine_info["caches"] = {f"L{read(folder / 'level')}": read(folder / "size") for folder in sorted(caches)}


def read(file):
    return file.read_text().strip()


@pytest.fixture(autouse=True, scope="session")
def one_torch_thread():
    """As in the workers of a loader."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def timed(request):
    """Whether benchmarks are timed. `make test` runs each once, untimed: then large inputs shrink."""
    return not request.config.getoption("benchmark_disable")


@pytest.fixture
def bench(benchmark):
    """Files a benchmark under its id and its engine, with what else the report must know; then it is called as `benchmark` is."""

    def file(group, engine, **about):
        assert ID.fullmatch(group), f"{group}: expected kernel/shape/dtype/case"
        benchmark.group = group
        benchmark.extra_info.update(engine=engine, **about)
        return benchmark

    return file
