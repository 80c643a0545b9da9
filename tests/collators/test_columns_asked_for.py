"""A column that an option names is in every batch, or the error says why it is not."""

import datasets
import numpy as np
import pyarrow as pa
import pytest
from spanmask import ChatFormat, DataCollatorForChat, DataCollatorForMaskedLM, RoleBoundary
from support.tiny_models import causal_model, chat_tokenizer
from transformers import ByT5Tokenizer, Trainer, TrainingArguments

FORMAT = ChatFormat([RoleBoundary("assistant", start=[41, 42], end=[9]), RoleBoundary("user", start=[41, 43], end=[9])])
ROW = [41, 43, 70, 9, 41, 42, 71, 9, 41, 43, 72, 9, 41, 42, 73, 74, 9]


def collator(turn_column):
    return DataCollatorForChat(ByT5Tokenizer(), chat_format=FORMAT, return_tensors="np", turn_column=turn_column)


def trained(batch):
    return [[int(label) for label in row if label != -100] for row in batch["labels"]]


@pytest.mark.parametrize("name", ["turn_mask", "kept"])
@pytest.mark.parametrize("flags", [[False, True], [0, 1], np.array([0, 1], np.uint8)])
def test_flags_by_any_name(name, flags):
    batch = collator(name)([{"input_ids": ROW, name: flags}])
    assert trained(batch) == [[73, 74, 9]]
    assert "loss_weights" not in batch


@pytest.mark.parametrize("name", ["turn_weights", "score"])
def test_weights_by_any_name(name):
    batch = collator(name)(pa.table({"input_ids": [ROW, ROW], name: [[0.0, 0.5], [2.0, 1.0]]}))
    assert trained(batch) == [[73, 74, 9], [71, 9, 73, 74, 9]]
    assert sorted(set(batch["loss_weights"][1].tolist())) == [0, 1, 2]


def test_a_column_of_a_users_name_replaces_the_usual_ones():
    batch = collator("kept")([{"input_ids": ROW, "kept": [1, 0], "turn_mask": [0, 1]}])
    assert trained(batch) == [[71, 9]]


def test_wrong_entries_name_the_column():
    with pytest.raises(ValueError, match=r"^kept: row 1 is \[1, 3\]; expected a list of True and False"):
        collator("kept")([{"input_ids": ROW, "kept": [1, 1]}, {"input_ids": ROW, "kept": [1, 3]}])
    with pytest.raises(TypeError, match="^kept: expected a list for each row, got str"):
        collator("kept")({"input_ids": [ROW], "kept": "1"})
    with pytest.raises(TypeError, match="^turn_column: expected the name of a column, got 3"):
        collator(3)


@pytest.mark.parametrize("name", ["turn_mask", "turn_weights", "kept"])
def test_an_absent_turn_column_is_an_error(name):
    with pytest.raises(ValueError, match=f"^turn_column: no column '{name}'; .*'input_ids'.* remove_unused_columns=False"):
        collator(name)([{"input_ids": ROW}])


def test_a_trainer_that_drops_the_column_is_stopped(tmp_path):
    tokenizer = chat_tokenizer()
    row = tokenizer.apply_chat_template([{"role": "assistant", "content": text} for text in ("a line", "red")], return_dict=False)
    dataset = datasets.Dataset.from_dict({"input_ids": [row], "turn_mask": [[0, 1]]})
    options = {"report_to": [], "use_cpu": True, "max_steps": 1, "dataloader_pin_memory": False}
    for kept in (False, True):
        trainer = Trainer(
            causal_model(tokenizer),
            TrainingArguments(str(tmp_path), remove_unused_columns=not kept, **options),
            train_dataset=dataset,
            data_collator=DataCollatorForChat(tokenizer, turn_column="turn_mask"),
        )
        loader = trainer.get_train_dataloader()
        if kept:
            (batch,) = loader
            assert tokenizer.decode(batch["labels"][batch["labels"] != -100]) == "red<|im_end|>"
        else:
            with pytest.raises(ValueError, match="turn_column: no column 'turn_mask'.*remove_unused_columns=False"):
                next(iter(loader))


@pytest.mark.parametrize("option", ["key_column", "keep_columns"])
def test_absent_columns_of_noise_collators(option, bert):
    noisy = DataCollatorForMaskedLM(bert, seed=5, **{option: "document"})
    with pytest.raises(ValueError, match=f"^{option}: no column 'document'; .* remove_unused_columns=False"):
        noisy([{"input_ids": [5, 6, 7, 8]}])
