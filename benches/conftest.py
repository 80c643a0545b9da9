"""What every benchmark shares."""

import pytest


def pytest_collection_modifyitems(items):
    """The removed collator announces its own removal."""
    for item in items:
        item.add_marker(pytest.mark.filterwarnings("ignore:This class is deprecated:DeprecationWarning"))


@pytest.fixture(autouse=True, scope="session")
def one_torch_thread():
    """As in the workers of a loader."""
    import torch

    torch.set_num_threads(1)
