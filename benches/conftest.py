"""What every benchmark shares."""

import re

import numpy as np
import pytest
from results import describe

# kernel/shape/dtype/case; the engine stands apart.
ID = re.compile(r"[a-z-]+(/[\w.:-]+){3}")


def pytest_collection_modifyitems(items):
    """The removed collator announces its own removal."""
    for item in items:
        item.add_marker(pytest.mark.filterwarnings("ignore:This class is deprecated:DeprecationWarning"))


def pytest_benchmark_update_machine_info(machine_info):
    describe(machine_info)


@pytest.fixture(autouse=True, scope="session")
def one_torch_thread():
    """As in the workers of a loader."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def kept_memory():
    """As in a training, which has freed large arrays before: glibc then keeps what it is given back, up to twice the largest of them.

    In a fresh process each batch's memory goes back to the system and is taken anew, page by page, more of it or less by what ran before.
    """
    np.zeros(31 << 20, np.uint8).fill(1)  # the threshold follows freed arrays up to 32 MiB


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
