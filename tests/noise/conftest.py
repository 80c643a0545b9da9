import pytest
from denoising import WORDS, bert_tokenizer, t5_tokenizer


@pytest.fixture(scope="package")
def bert():
    return bert_tokenizer()


@pytest.fixture(scope="package")
def t5():
    return t5_tokenizer(WORDS)
