"""Random ids are ids that a tokenizer has."""

import pytest
from spanmask import MaskedLM, TextInfilling, infill, mask_tokens
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast


@pytest.mark.parametrize("kind", [MaskedLM, TextInfilling])
def test_random_ids_are_ids_of_the_tokenizer(kind):
    """Ids are missing, in the middle and below the highest; special tokens are among those that were added."""
    words = {f"w{number}": 10 + 3 * number for number in range(20)}
    model = models.WordLevel({"[PAD]": 0, "[UNK]": 1, "[MASK]": 2, **words}, unk_token="[UNK]")
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(model), pad_token="[PAD]", unk_token="[UNK]", mask_token="[MASK]"
    )
    tokenizer.add_tokens(["word"])
    tokenizer.add_tokens(["<call>"], special_tokens=True)
    word, call = tokenizer.convert_tokens_to_ids(["word", "<call>"])
    assert max(words.values()) >= len(tokenizer)
    row = [max(words.values())] * 2000
    if kind is MaskedLM:
        spec = MaskedLM.from_tokenizer(tokenizer, mlm_probability=1.0, mask_replace_prob=0.0, random_replace_prob=1.0)
        inputs = mask_tokens([row], spec).input_ids
    else:
        spec = TextInfilling.from_tokenizer(tokenizer, mask_ratio=1.0, random_ratio=1.0, replace_length=-1)
        inputs = infill([row], spec).input_ids
    assert set(inputs.values.tolist()) == {*words.values(), word} - {call}


def test_a_vocabulary_without_holes_has_no_unused_ids(bert):
    spec = MaskedLM.from_tokenizer(bert)
    assert (spec.vocab_size, spec.unused_ids) == (len(bert), ())
    assert MaskedLM.from_tokenizer(bert, unused_ids=[7]).unused_ids == (7,)
