"""One cluster of each engine for all tests: they take seconds to start. They are there after `make test-engines`."""

import os
import sys

import pytest

TESTS = os.path.dirname(os.path.dirname(__file__))


def search_path():
    """Where workers find the modules that the tests import."""
    return os.pathsep.join([*sys.path, TESTS])


@pytest.fixture(scope="session")
def ray():
    import ray
    import ray.data

    ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": {"PYTHONPATH": search_path()}})
    ray.data.DataContext.get_current().enable_progress_bars = False
    yield ray
    ray.shutdown()


@pytest.fixture(scope="session")
def spark():
    from pyspark.errors import PySparkException
    from pyspark.sql import SparkSession

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        patch.setenv("PYTHONPATH", search_path())
        try:
            session = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false").getOrCreate()
        except (PySparkException, RuntimeError, FileNotFoundError) as error:
            pytest.skip(f"no Java that Spark can use: {error}")
        yield session
        session.stop()
