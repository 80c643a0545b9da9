"""Conversations -> ids and labels: `encode_chat`, what it cannot be faster than (each text rendered and tokenized once), other programs."""

import datasets
import pytest
from conversations import conversations, tokenizer_of_real_size
from peers import TRANSFORMERS, TRL
from spanmask import encode_chat
from support.tiny_models import causal_model
from timing import alternate
from trl import SFTConfig, SFTTrainer


@pytest.fixture(scope="module")
def tokenizer(timed):
    return tokenizer_of_real_size(*(() if timed else (2000,)))


@pytest.fixture(scope="module")
def rows(timed):
    return conversations(1000 if timed else 8)


@pytest.fixture(scope="module")
def trainer(tokenizer, tmp_path_factory):
    settings = {"assistant_only_loss": True, "max_length": None, "bf16": False, "use_cpu": True, "report_to": []}
    args = SFTConfig(str(tmp_path_factory.mktemp("trl")), dataset_kwargs={"skip_prepare_dataset": False}, **settings)
    one = datasets.Dataset.from_dict({"messages": conversations(2)})
    return SFTTrainer(causal_model(tokenizer), args, train_dataset=one, processing_class=tokenizer)


@pytest.mark.filterwarnings("ignore:`gradient_checkpointing` is deprecated:FutureWarning")
def test_encode(bench, tokenizer, rows, trainer):
    texts = {"return_attention_mask": False, "return_token_type_ids": False}

    def render_and_tokenize():
        return tokenizer(tokenizer.apply_chat_template(rows, tokenize=False), add_special_tokens=False, **texts)["input_ids"]

    def by_transformers():
        return tokenizer.apply_chat_template(rows, return_assistant_tokens_mask=True, return_dict=True)

    def by_trl():
        dataset = datasets.Dataset.from_dict({"messages": rows})
        return trainer._prepare_dataset(dataset, tokenizer, trainer.args, False, None, "train")

    def in_a_map():
        def encode(batch):
            out = encode_chat(tokenizer, batch)
            return {"input_ids": out.input_ids.to_list(), "labels": out.labels.to_list()}

        return datasets.Dataset.from_dict({"messages": rows}).map(encode, batched=True, remove_columns=["messages"])

    out, masked = encode_chat(tokenizer, rows), by_transformers()
    ids = out.input_ids.to_list()
    assert ids == render_and_tokenize() == masked["input_ids"]
    datasets.disable_caching()
    prepared = by_trl()
    assert list(prepared["input_ids"]) == ids == list(in_a_map()["input_ids"])
    for labels, theirs, trls in zip(out.labels.to_list(), masked["assistant_masks"], prepared["labels"], strict=True):
        assert theirs == [int(label != -100) for label in trls]
        # Theirs has the line break after the stop token as well, and the empty block of reasoning that the template adds.
        assert all(mask or label == -100 for label, mask in zip(labels, theirs, strict=True))
    others = {
        "render-and-tokenize": render_and_tokenize,
        TRANSFORMERS: by_transformers,
        "spanmask:datasets-map": in_a_map,
        f"{TRL}:prepare": by_trl,
    }
    run = bench("encode/1000x200-2k/text/qwen3", "spanmask", tokens=sum(map(len, ids)))
    alternate(run, lambda: encode_chat(tokenizer, rows), others, rounds=5)
