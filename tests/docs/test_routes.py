"""Every cell of the table of "Choose your route": the call that it names trains the answer, and a simpler one would not."""

import re
import warnings
from pathlib import Path

import datasets
import pytest
from spanmask import DataCollatorForChat, DataCollatorForVisionChat, encode_chat, train_on_answers
from support import tiny_processors as zoo
from support.tiny_models import causal_model, chat_tokenizer
from transformers import Trainer, TrainingArguments
from trl import SFTConfig, SFTTrainer

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "choose-your-route.md").read_text()
ROWS = re.findall(r"^\| (.+?) \| \[(.+?)\]\(.+?\) \| \[(.+?)\]\(.+?\) \| \[(.+?)\]\(.+?\) \|$", PAGE, re.MULTILINE)
SETTINGS = {"report_to": [], "use_cpu": True, "bf16": False}
TOKENIZER = chat_tokenizer()
CHAT = [{"role": "user", "content": "Who was that?"}, {"role": "assistant", "content": "a bird"}]
IDS = TOKENIZER.apply_chat_template(CHAT, return_dict=False)
ANSWER, SAID = "a bird<|im_end|>", {"human": "user", "gpt": "assistant"}
LAYOUTS = {
    "`messages`": {"messages": CHAT},
    "`prompt`, `completion`: messages": {"prompt": CHAT[:1], "completion": CHAT[1:]},
    "`prompt`, `completion`: texts": {"prompt": "Who was that?", "completion": " a bird"},
    "`conversations`": {"conversations": [{"from": name, "value": CHAT[at]["content"]} for at, name in enumerate(SAID)]},
    "`text`, rendered chats": {"text": TOKENIZER.apply_chat_template(CHAT, tokenize=False)},
    "`input_ids`": {"input_ids": IDS},
    "`input_ids`, `labels`": {"input_ids": IDS, "labels": encode_chat(TOKENIZER, [CHAT]).labels[0].tolist()},
    "messages and images": {"messages": CHAT},
}

pytestmark = [
    pytest.mark.filterwarnings("ignore:`gradient_checkpointing` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:'pin_memory' argument is set as true but no accelerator is found:UserWarning"),
]


def vision_rows(row):
    return [{**row, "images": [zoo.image(zoo.random.Random(0))]}] * 2


def trained(batch, tokenizer):
    labels = batch["labels"][0]
    return tokenizer.decode(labels[labels != -100]).strip()


def trainer_of(kind, row, folder, images, **options):
    """A trainer of a library, on two such rows."""
    if images:
        built = zoo.build("llava")
        model, processing, rows = built.make_model(), built.processor, vision_rows(row)
    else:
        model, processing, rows = causal_model(TOKENIZER), TOKENIZER, datasets.Dataset.from_list([row] * 2)
    if kind is SFTTrainer:
        if images:
            rows = datasets.Dataset.from_list(rows).cast_column("images", [datasets.Image()])
        args = SFTConfig(str(folder), **SETTINGS)
    else:
        args = TrainingArguments(str(folder), **SETTINGS, **options)
    return kind(model, args, train_dataset=rows, processing_class=processing), getattr(processing, "tokenizer", processing)


def label_first(row):
    out = encode_chat(TOKENIZER, {name: [value] for name, value in row.items()})
    return {"input_ids": out.input_ids[0].tolist(), "labels": out.labels[0].tolist()}


def answers_of(column, call, row, folder, images):
    """What trains on a row when a call of the table is made in a column of it."""
    if column == "loop":
        processor = zoo.build("llava").processor
        collator = DataCollatorForVisionChat(processor) if call == "vision collator" else DataCollatorForChat(TOKENIZER)
        return trained(collator(vision_rows(row) if images else [row]), processor.tokenizer if images else TOKENIZER)
    kind = SFTTrainer if column == "SFTTrainer" else Trainer
    if call == "labels first":
        row = label_first(row)
    trainer, tokenizer = trainer_of(kind, row, folder, images, remove_unused_columns=call != "collator")
    if call == "one line":
        train_on_answers(trainer)
    if call == "collator":
        trainer.data_collator = DataCollatorForChat(TOKENIZER)
    return trained(next(iter(trainer.get_train_dataloader())), tokenizer)


def test_the_table_has_all_layouts():
    assert [row[0] for row in ROWS] == [*LAYOUTS]


@pytest.mark.parametrize("column", ["SFTTrainer", "Trainer", "loop"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_call_trains_the_answer(layout, column, tmp_path):
    (cells,) = [row[1:] for row in ROWS if row[0] == layout]
    call = cells[("SFTTrainer", "Trainer", "loop").index(column)]
    images = layout == "messages and images"
    answer = answers_of(column, call, LAYOUTS[layout], tmp_path, images)
    assert answer == ("a bird</s>" if images else ANSWER)


@pytest.mark.parametrize(
    ("layout", "column"), [("`conversations`", "SFTTrainer"), ("`text`, rendered chats", "Trainer"), ("`messages`", "SFTTrainer")]
)
def test_a_simpler_call_would_not_do(layout, column, tmp_path):
    simpler = "nothing" if layout == "`messages`" else "one line"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            answer = answers_of(column, simpler, LAYOUTS[layout], tmp_path, images=False)
    except ValueError as error:
        answer = str(error)
    assert answer != ANSWER
