"""Memory that child processes share: none before there are any, wherever it comes from, and given back."""

import multiprocessing
import os
import resource
from pathlib import Path

import pytest
from spanmask import ChatFormat, DataCollatorForChat, DataCollatorForMaskedLM, MaskedLM, RoleBoundary, SpanmaskWarning
from spanmask._shared import PLACE, SIZE, SharedIntegers
from spanmask.noise.schedule import NoiseSchedule
from support.letters import Letters
from support.programs import output_of

pytestmark = [
    pytest.mark.filterwarnings("ignore:.* rows in a batch have no trained tokens"),
    pytest.mark.filterwarnings("ignore:labels. this batch has none"),
]
OPTIONS = {"tokenizer": Letters(), "return_tensors": "np"}
FORMAT = ChatFormat([RoleBoundary("assistant", [5, 6], [2])])
PROGRAM = """
import os, sys, warnings
sys.path.insert(0, TESTS)
from support.letters import Letters
from spanmask import *
warnings.simplefilter("error", SpanmaskWarning)
CHANGE
made = DataCollatorForMaskedLM(Letters(), seed=3, spec=MaskedLM(4, 60_000), return_tensors="np")
chat = DataCollatorForChat(Letters(), chat_format=ChatFormat([RoleBoundary("assistant", [5, 6], [2])]), return_tensors="np")
assert "multiprocessing.heap" not in sys.modules
made.set_epoch(2)
reader, writer = os.pipe()
back, done = os.pipe()
child = os.fork()
if not child:
    try:
        chat([{"input_ids": [5, 6, 9, 2]}])
        os.read(reader, 1)
        os.write(done, bytes([made.schedule.epoch]))
    finally:
        os._exit(0)
os.close(done)
try:
    made.set_epoch(5)
except SpanmaskWarning as warning:
    print(warning)
os.write(writer, b".")
print(os.read(back, 1)[0], chat.counts.rows, made.schedule.epoch)
"""


def shown(change=""):
    return output_of(PROGRAM.replace("CHANGE", change).replace("TESTS", repr(str(Path(__file__).parents[1])))).strip()


@pytest.mark.parametrize(
    "change",
    ["", "del os.memfd_create", "def refused(*args): raise PermissionError('seccomp')\nos.memfd_create = refused"],
    ids=["a file in memory", "a system without them", "a container that forbids them"],
)
def test_a_child_shares_epoch_and_counts(change):
    assert shown(change) == "5 1 5"


NO_FOLDER = """
import tempfile
def nowhere(*args, **options): raise FileNotFoundError("No usable temporary directory found")
tempfile.mkstemp = tempfile.mkdtemp = tempfile.gettempdir = nowhere
"""


def test_no_folder_is_needed():
    assert shown(NO_FOLDER) == "5 1 5"


def test_without_any_memory_the_process_goes_on_and_says_so():
    said, result = shown(NO_FOLDER + "del os.memfd_create").split("\n")
    assert "persistent workers keep the epoch of their start" in said
    assert result == "2 0 5"


def test_memory_that_is_not_there_is_no_bus_error():
    """The memory is reserved when it is made: a limit of the size of files stands for a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    program = (
        "import resource, signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))"
    )
    assert shown(program).endswith("2 0 5")
    assert resource.getrlimit(resource.RLIMIT_FSIZE) == limits


def open_files():
    return len(os.listdir("/proc/self/fd"))


def test_memory_is_given_back():
    before = open_files()
    for _ in range(4):
        made = [SharedIntegers(3, int, carry=True) for _ in range(3 * SIZE // PLACE)]
        for number, integers in enumerate(made):
            integers.share()
            integers[0] = number
        assert [integers[0] for integers in made] == [*range(len(made))]
    assert open_files() > before
    del made, integers
    assert open_files() <= before + 4  # what has free places left


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def named_memory():
    """Semaphores and shared memory in /dev/shm of this process."""
    return {name for name in os.listdir("/dev/shm") if f"-{os.getpid()}" in name or name.startswith("sem.mp")}


@pytest.mark.parametrize("count", [500, pytest.param(10_000, marks=pytest.mark.processes)])
def test_collators_that_are_dropped_leak_nothing(count):
    def make(number):
        for _ in range(number):
            made = DataCollatorForMaskedLM(**OPTIONS, seed=3, spec=MaskedLM(4, 60_000))
            chat = DataCollatorForChat(**OPTIONS, chat_format=FORMAT)
            made([{"input_ids": [5, 6, 9, 2]}])
            chat([{"input_ids": [5, 6, 9, 2]}])
            if _ % 100 == 0:  # as a loader does in each pass
                child = os.fork()
                if not child:
                    os._exit(0)
                os.waitpid(child, 0)

    make(200)
    files, memory, names = open_files(), resident(), named_memory()
    make(count)
    assert open_files() <= files + 2
    assert named_memory() <= names
    assert resident() - memory < (4 << 20) + 64 * count


def test_a_child_of_another_start_is_passed_the_memory():
    schedule, seen = NoiseSchedule(3, 1), multiprocessing.get_context("forkserver").SimpleQueue()
    child = os.fork()  # shares it already
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    process = multiprocessing.get_context("forkserver").Process(target=when_changed, args=(schedule, seen))
    process.start()
    schedule.epoch = 4
    assert seen.get() == 4
    process.join(60)
    assert schedule.step == 8


def when_changed(schedule, seen):
    while schedule.epoch == 1:
        pass
    schedule.step = 8
    seen.put(schedule.epoch)


def test_the_warning_is_given_once():
    schedule = NoiseSchedule(3)
    schedule._integers.lost = True
    with pytest.warns(SpanmaskWarning, match="^epoch: no memory could be shared"):
        schedule.epoch = 1
    schedule.epoch = 2
