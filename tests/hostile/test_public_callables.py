"""Hostile values in every argument of every public callable: a result, or an error of a known type that names the argument."""

import resource
import warnings
from functools import cache

import pytest
import spanmask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.denoising import WORDS, t5_tokenizer
from support.hostile_values import ARRAYS, ARROW, LISTS, NUMBERS, PLAIN, Unreadable, tensors
from support.public_callables import cases
from support.tiny_processors import processor_of
from support.vocabularies import trained
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

VALUES = [*NUMBERS, *PLAIN, *LISTS, *ARRAYS, *ARROW, *tensors(), Unreadable()]
NOT_CALLED = {"ChatFormatError", "DataError", "SentinelError", "SpanmaskWarning", "UntrainedRowsWarning"}  # exceptions
GIB = 1 << 30


@cache
def all_cases():
    tokenizer = Tokenizer.from_str(trained("byte_level"))
    chat = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>")
    chat.chat_template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}"
    return cases(t5_tokenizer(WORDS), chat, processor_of("llava"))


NAMES = sorted(all_cases())


@pytest.fixture(autouse=True, scope="module")
def little_memory():
    """Sizes beyond memory are refused by the system, not tried."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 4 * GIB, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, limits)


def call(case, replaced):
    """Call with some arguments replaced. Raises AssertionError for an error that is of another type, or names no argument."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            case.call(**{**case.good, **replaced})
        except MemoryError:
            pass
        except (ValueError, TypeError) as error:
            if not any(word in str(error) for word in case.words):
                raise AssertionError(f"{error!r} names no argument") from error


def test_every_public_name_is_called():
    assert {name.partition(".")[0] for name in NAMES} == set(spanmask.__all__) - NOT_CALLED


@pytest.mark.parametrize("name", NAMES)
def test_good_arguments_are_taken(name):
    case = all_cases()[name]
    if name != "train_on_answers":  # needs a trainer
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            case.call(**case.good)


@pytest.mark.parametrize("name", NAMES)
@settings(suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_errors_are_typed_and_name_an_argument(name, data):
    case = all_cases()[name]
    replaced = data.draw(st.lists(st.sampled_from(case.parameters), min_size=1, max_size=3, unique=True))
    call(case, {parameter: data.draw(st.sampled_from(VALUES), label=parameter) for parameter in replaced})
