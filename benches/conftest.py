"""Fixtures and hooks of all benchmarks."""

import re

import numpy as np
import pytest
from results import describe

# kernel/shape/dtype/case; the engine is not part of the id.
ID = re.compile(r"[a-z-]+(/[\w.:-]+){3}")


def pytest_collection_modifyitems(items):
    """TRL's removed collator warns about its removal."""
    for item in items:
        item.add_marker(pytest.mark.filterwarnings("ignore:This class is deprecated:DeprecationWarning"))


def pytest_benchmark_update_machine_info(machine_info):
    describe(machine_info)


@pytest.fixture(autouse=True, scope="session")
def one_torch_thread():
    """Use one torch thread, as the workers of a DataLoader do."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def kept_memory():
    """Allocate as in a training that has already freed large arrays: glibc then keeps freed memory, up to twice the size of the largest.

    In a fresh process the memory of each batch goes back to the system and is mapped again page by page; how much depends on what ran
    before.
    """
    np.zeros(31 << 20, np.uint8).fill(1)  # glibc's threshold follows freed arrays of up to 32 MiB


@pytest.fixture(scope="session")
def timed(request):
    """Whether benchmarks are timed. `make test` runs each once, untimed and with smaller inputs."""
    return not request.config.getoption("benchmark_disable")


@pytest.fixture
def bench(benchmark):
    """Registers a benchmark under its id and engine, with whatever else the report needs. Returns pytest-benchmark's fixture."""

    def file(group, engine, **about):
        assert ID.fullmatch(group), f"{group}: expected kernel/shape/dtype/case"
        benchmark.group = group
        benchmark.extra_info.update(engine=engine, **about)
        return benchmark

    return file
