"""Contents, places of media, variables and layouts of rows in `DataCollatorForVisionChat`."""

import copy
import json
import pickle
import random

import numpy as np
import pyarrow as pa
import pytest
import torch
from datasets import Dataset, Features, Image, Sequence, Value
from spanmask import DataCollatorForVisionChat, MaskPolicy
from support import tiny_processors as zoo
from support.trl_templates import TEMPLATES, without_marks

pytestmark = pytest.mark.needs("transformers>=5")  # the processors of the tests are built as that version builds them

TEXTS_ONLY = (
    "{% for m in messages %}{{ m['role'] | upper }}: {{ m['content'] | trim }}{{ '</s>' if m['role'] == 'assistant' else '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}ASSISTANT: {% endif %}"
)


def picture(seed=0):
    return zoo.image(random.Random(seed))


def with_template(name, template):
    processor = copy.copy(zoo.processor_of(name))
    processor.chat_template = template
    return processor


def text(content):
    return {"type": "text", "text": content}


def chat(question, answer="It is green."):
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def decoded(processor, ids):
    return processor.tokenizer.decode(ids).replace(" ", "")


def same(one, other):
    assert {*one} == {*other}
    assert all(torch.equal(one[name], other[name]) for name in one)


def trained(collator, batch, row=0):
    return decoded(collator.processor, batch["labels"][row][batch["labels"][row] != -100])


# --- Strings and parts --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", zoo.MODELS)
def test_strings_and_lists_of_text_are_the_same(name):
    collator = DataCollatorForVisionChat(zoo.processor_of(name))
    strings = [{"role": "system", "content": "Be brief."}, *chat("Which <one>?")]
    parts = [{**message, "content": [text(message["content"])]} for message in strings]
    batch = collator([{"messages": strings}])
    same(batch, collator([{"messages": parts}]))
    written = decoded(collator.processor, batch["input_ids"][0])
    assert "Bebrief." in written
    assert "Which<one>?" in written
    assert "'type'" not in written
    assert "Itisgreen." in trained(collator, batch)


def test_a_template_of_texts_gets_texts():
    processor = with_template("llava", TEXTS_ONLY)
    collator = DataCollatorForVisionChat(processor)
    batch = collator([{"messages": chat([text("What colour"), text(" is it?")], [text("It is "), text("green.")])}])
    assert decoded(processor, batch["input_ids"][0]).endswith("USER:Whatcolourisit?\nASSISTANT:Itisgreen.</s>")
    assert trained(collator, batch) == "Itisgreen.</s>"


@pytest.mark.parametrize(
    "question",
    [
        "What is it?",
        [text("What is it?")],
        [{"type": "image"}, text("What is it?")],
        [{"type": "image"}, text("\nWhat is it?")],
        [{"type": "image"}, text("What "), text("is it?")],
        "<image>\nWhat is it?",
    ],
)
def test_a_template_of_texts_gets_the_processors_placeholder(question):
    processor = with_template("llava", TEXTS_ONLY)
    collator = DataCollatorForVisionChat(processor)
    batch = collator([{"messages": chat(question), "images": [picture()]}])
    wanted = processor(text="USER: <image>\nWhat is it?\nASSISTANT: It is green.</s>", images=[picture()], return_tensors="pt")
    assert torch.equal(batch["input_ids"], wanted["input_ids"])
    assert torch.equal(batch["pixel_values"], wanted["pixel_values"])


@pytest.mark.parametrize("images", [[], [picture()]], ids=["without images", "with images"])
def test_other_parts_are_an_error_for_a_template_of_texts(images):
    collator = DataCollatorForVisionChat(with_template("llava", TEXTS_ONLY))
    question = [*[{"type": "image"}] * len(images), text("What is it?"), {"type": "document", "document": "a page"}]
    with pytest.raises(ValueError, match=r"row 0 \(id 7\), message 0, part .: is of type '(document|image)'"):
        collator([{"messages": chat(question), "images": images, "id": 7}])


def test_marks_of_llava_become_the_placeholder_of_a_template_of_texts():
    processor = with_template("qwen2_vl", TEXTS_ONLY.replace("</s>", "<|im_end|>"))
    collator = DataCollatorForVisionChat(processor)
    batch = collator([{"messages": chat("<image>\nWhat, <video>?"), "images": picture()}])
    own = collator([{"messages": chat("<|image_pad|>\nWhat, <video>?"), "images": picture()}])
    same(batch, own)
    assert "<video>?" in decoded(processor, batch["input_ids"][0])


# --- Places of media ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", zoo.MODELS)
def test_marks_of_llava_in_strings_are_places(name):
    collator = DataCollatorForVisionChat(zoo.processor_of(name))
    cases = [
        ("<image>\nWhat is it?", [{"type": "image"}, text("What is it?")]),
        ("What is it?\n<image>", [text("What is it?"), {"type": "image"}]),
        ("Is <image> or <image> a cat?", [text("Is "), {"type": "image"}, text(" or "), {"type": "image"}, text(" a cat?")]),
        ("<image>\nIs it an <audio>?", [{"type": "image"}, text("Is it an <audio>?")]),
    ]
    for marked, parts in cases:
        images = [picture(seed) for seed in range(marked.count("<image>"))]
        written = chat("Hello!") + chat(marked)
        same(
            collator([{"messages": written, "images": images}]),
            collator([{"messages": chat("Hello!") + chat(parts), "images": images}]),
        )


def test_marks_in_answers_are_text_if_questions_have_one_for_each_image():
    collator = DataCollatorForVisionChat(zoo.processor_of("qwen3_vl"))
    answer = "Write <image> there."
    marked = collator([{"messages": chat("<image>\nWhich tag?", answer), "images": [picture()]}])
    same(marked, collator([{"messages": chat([{"type": "image"}, text("Which tag?")], [text(answer)]), "images": [picture()]}]))
    assert "Write<image>there." in trained(collator, marked)
    for lone in (answer, "Write <|image_pad|> there."):
        with pytest.raises(ValueError, match="images: row 0 .*(only in answers, where it may be text|2 times)"):
            collator([{"messages": chat("Which tag?", lone), "images": [picture()]}])


def test_without_images_a_mark_is_text():
    collator = DataCollatorForVisionChat(zoo.processor_of("qwen3_vl"))
    batch = collator([{"messages": chat("What does <image> mean?"), "images": []}])
    assert "<image>mean?" in decoded(collator.processor, batch["input_ids"][0])


@pytest.mark.parametrize("name", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"])
def test_the_processors_own_placeholders_in_strings_are_places(name):
    collator = DataCollatorForVisionChat(zoo.processor_of(name))
    written = "What<|vision_start|><|image_pad|><|vision_end|> is it?"
    parts = [text("What"), {"type": "image"}, text(" is it?")]
    batches = [collator([{"messages": chat(content), "images": [picture()]}]) for content in (written, parts)]
    same(*batches)


def part_forms(folder):
    """An image in the forms in which parts have one."""
    path = folder / "picture.png"
    picture().save(path)
    pixels = np.array(picture())
    yield from ({"type": "image", "image": value} for value in (picture(), pixels, str(path), path, f"file://{path}"))
    yield from ({"type": "image", key: str(path)} for key in ("url", "path"))
    content = zoo.base64_of(path)
    yield {"type": "image", "base64": content}
    yield {"type": "image", "base64": f"data:image/png;base64,{content}"}
    yield {"type": "image", "image": {"bytes": path.read_bytes(), "path": None}, "text": None}
    yield {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{content}"}}
    yield {"type": "image_url", "image_url": {"url": str(path), "detail": "low"}}
    yield {"type": "image_url", "image_url": str(path)}
    yield {"type": "image", "image_url": str(path)}


@pytest.mark.parametrize("name", ["llava", "qwen2_5_vl", "smolvlm", "gemma3"])
def test_all_forms_of_a_part_are_the_same(name, tmp_path):
    collator = DataCollatorForVisionChat(zoo.processor_of(name))
    wanted = collator([{"messages": chat([{"type": "image"}, text("What is it?")]), "images": [picture()]}])
    for part in part_forms(tmp_path):
        same(collator([{"messages": chat([part, text("What is it?")])}]), wanted)


def test_sounds_in_the_forms_of_parts():
    processor = zoo.processor_of("qwen2_audio")
    collator = DataCollatorForVisionChat(processor)
    sound = zoo.sound(random.Random(0))
    wanted = collator([{"messages": chat([{"type": "audio"}, text("What is it?")]), "audio": [sound]}])
    rate = processor.feature_extractor.sampling_rate
    for part in (
        {"type": "audio", "audio": sound},
        {"type": "audio", "audio": {"array": sound, "sampling_rate": rate, "path": None}},
        {"type": "audio", "audio_url": sound},
        {"type": "audio_url", "audio_url": {"url": sound}},
    ):
        same(collator([{"messages": chat([part, text("What is it?")])}]), wanted)
    same(collator([{"messages": chat("<audio>\nWhat is it?"), "audios": sound.tolist()}]), wanted)


IMAGE, BARE = {"type": "image", "image": picture()}, {"type": "image"}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"messages": chat([BARE, text("What?")]), "images": [picture(), picture()]},
            "images: row 1 has 2 images but 1 image parts",
        ),
        ({"messages": chat([BARE, text("What?")]), "images": None}, "images: row 1 has 0 images but 1 image parts"),
        ({"messages": chat([IMAGE, BARE, text("What?")]), "images": None}, "images: row 1 has 1 images but 2 image parts"),
        (
            {"messages": chat([IMAGE, text("What?")]), "images": [picture()]},
            "images: row 1 has 1 images in this column and 1 in parts of its messages; keep one",
        ),
        (
            {"messages": chat("<image> What?"), "images": [picture()] * 2},
            "images: row 1 has 2 images but 1 times '<image>' in its texts",
        ),
        (
            {"messages": [{"role": "assistant", "content": "Hello!"}], "images": [picture()]},
            "images: row 1 has 1 images but no user message",
        ),
        (
            {"messages": chat([BARE, text("A<|image_pad|>?")]), "images": [picture()]},
            r"images: row 1 has 1 images, but its rendered text contains '<\|image_pad\|>' 2 times",
        ),
        ({"messages": chat("A<|image_pad|>?"), "images": []}, r"row 1 has 0 images, but its rendered text contains .* 1 times"),
        (
            {"messages": chat([{**IMAGE, "path": "a.png"}]), "images": None},
            "row 1, message 0: .* with 'image' and 'path'; keep one",
        ),
        (
            {"messages": chat([{"type": "image", "url": "https://a.b/c.png"}]), "images": None},
            "messages: row 1: .* download it first",
        ),
        ({"messages": chat("What?"), "images": ["https://a.b/c.png"]}, "images: row 1: .* download it first"),
    ],
)
def test_errors_name_the_row(row, message):
    collator = DataCollatorForVisionChat(zoo.processor_of("qwen3_vl"))
    with pytest.raises(ValueError, match=message):
        collator([{"messages": chat("Hello!"), "images": []}, row])


def test_a_row_with_media_in_two_columns_is_an_error():
    collator = DataCollatorForVisionChat(zoo.processor_of("qwen3_vl"))
    with pytest.raises(ValueError, match="image: row 0 also has media in 'images'; keep one of the columns"):
        collator([{"messages": chat("What?"), "images": [picture()], "image": picture()}])
    batch = collator([{"messages": chat("What?"), "images": [], "image": picture()}])
    same(batch, collator([{"messages": chat("What?"), "image": [None, picture()]}]))


# --- Variables ----------------------------------------------------------------------------------------------------------------------

TOOL = {
    "type": "function",
    "function": {
        "name": "zoom",
        "description": "Enlarge a part of the image.",
        "parameters": {
            "type": "object",
            "properties": {"corner": {"type": "string", "description": "Which."}},
            "required": ["corner"],
        },
    },
}


@pytest.mark.parametrize("tools", [[TOOL], json.dumps([TOOL]), [json.dumps(TOOL)]], ids=["list", "json", "list of json"])
def test_tools_are_written(tools):
    processor = zoo.processor_of("qwen3_vl")
    collator = DataCollatorForVisionChat(processor)
    messages = chat([{"type": "image"}, text("What is it?")])
    batch = collator([{"messages": messages, "images": [picture()], "tools": tools}])
    rendered = processor.apply_chat_template(messages, tools=[TOOL], tokenize=False)
    assert "Enlarge a part" in rendered
    wanted = processor(text=[rendered], images=[[picture()]], return_tensors="pt")
    assert torch.equal(batch["input_ids"], wanted["input_ids"])
    assert "zoom" not in trained(collator, batch)
    without = collator([{"messages": messages, "images": [picture()], "tools": None}])
    assert without["input_ids"].shape[1] < batch["input_ids"].shape[1]


def test_calls_and_their_results_are_written():
    processor = zoo.processor_of("qwen3_vl")
    collator = DataCollatorForVisionChat(processor)
    call = {"type": "function", "function": {"name": "zoom", "arguments": json.dumps({"corner": "upper left"})}}
    messages = [
        {"role": "user", "content": [{"type": "image"}, text("What is in the corner?")]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": [text("a result of 41 pixels")]},
        {"role": "assistant", "content": "A dog."},
    ]
    said = trained(collator, collator([{"messages": messages, "images": [picture()], "tools": [TOOL]}]))
    assert '"corner":"upperleft"' in said
    assert "41pixels" not in said
    assert said.count("Adog.") == 1


STYLED = without_marks(TEMPLATES["qwen2_5_vl"]) + "{{ '~' ~ style if style is defined else '' }}"


def test_variables_of_the_template():
    processor = with_template("qwen2_5_vl", STYLED)

    def ends(collator, rows):
        return [decoded(processor, ids).rsplit("~", 1)[-1].replace("<pad>", "") for ids in collator(rows)["input_ids"]]

    rows = [{"messages": chat("What?"), "images": [picture()], "chat_template_kwargs": own} for own in ({"style": "bold"}, None)]
    for side in ("left", "right"):
        collator = DataCollatorForVisionChat(processor, template_kwargs={"style": "plain"}, padding_side=side)
        assert ends(collator, rows) == ["bold", "plain"]
    rows[1]["chat_template_kwargs"] = json.dumps({"style": "wide"})
    assert ends(collator, rows) == ["bold", "wide"]


def test_a_row_that_the_template_refuses_is_named():
    refusing = "{% if messages[0]['content'] == 'no' %}{{ raise_exception('not this one') }}{% endif %}" + TEXTS_ONLY
    collator = DataCollatorForVisionChat(with_template("llava", refusing))
    with pytest.raises(ValueError, match=r"messages: row 1 \(id 'x7'\) cannot be rendered by the chat template .*not this one"):
        collator([{"messages": chat("yes"), "id": "x6"}, {"messages": chat("no"), "id": "x7"}])


# --- Layouts ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", zoo.MODELS)
def test_layouts(name):
    collator = DataCollatorForVisionChat(zoo.processor_of(name), weight_key="loss_weights")
    messages = chat([{"type": "image"}, text("What is it?")], "A dog.") + chat("And that?", "the weather")
    wanted = collator([{"messages": messages, "images": [picture()]}])
    names = {"user": "human", "assistant": "gpt"}
    speakers = [{"from": names[message["role"]], "value": message["content"]} for message in messages]
    speakers[0]["value"] = "<image>\nWhat is it?"
    same(collator([{"conversations": speakers, "image": picture()}]), wanted)
    split = collator([{"prompt": messages[:3], "completion": messages[3:], "images": [picture()]}])
    assert torch.equal(split["input_ids"], wanted["input_ids"])
    assert "Adog." in trained(collator, wanted)
    assert "theweather" in trained(collator, split)
    assert "Adog." not in trained(collator, split)
    messages[1]["weight"] = 0
    weighted = collator([{"messages": messages, "images": [picture()]}])
    same(weighted, split)
    messages[1]["weight"] = 0.25
    weighted = collator([{"messages": messages, "images": [picture()]}])
    assert torch.equal(weighted.pop("labels"), wanted["labels"])
    assert set(weighted.pop("loss_weights").unique().tolist()) == {0.0, 0.25, 1.0}
    assert {*weighted, "labels"} == {*wanted}


def test_weights_and_a_column_of_flags_are_multiplied():
    collator = DataCollatorForVisionChat(zoo.processor_of("llava"), on_untrained_batch="ignore")
    messages = [*chat("What?"), *chat("And now?")]
    messages[3]["weight"] = 0.5
    flags = [collator([{"messages": messages, "turn_mask": some}]) for some in ([1, 1], [0, 1], [1, 0])]
    weights = [sorted(set(batch["loss_weights"].unique().tolist())) for batch in flags[:2]]
    assert weights == [[0.0, 0.5, 1.0], [0.0, 0.5]]
    assert "loss_weights" not in flags[2]


def rows_for_arrow():
    return [
        {
            "messages": chat([{"type": "image", "text": None}, text("What is it?")], [text("A dog.")]),
            "images": [picture()],
        },
        {"messages": chat([text("Hello!")], [text("A cat.")]), "images": []},
        {"messages": chat([text("Hello!")], [text("A cat.")]), "images": None},
    ]


@pytest.mark.parametrize("name", ["llava", "qwen2_vl", "idefics3", "gemma3"])
def test_rows_of_datasets_and_arrow_tables(name):
    collator = DataCollatorForVisionChat(zoo.processor_of(name))
    wanted = collator(rows_for_arrow())
    part = {"type": Value("string"), "text": Value("string")}
    features = Features({"messages": [{"role": Value("string"), "content": [part]}], "images": Sequence(Image())})
    dataset = Dataset.from_list(rows_for_arrow(), features=features)
    same(collator(list(dataset)), wanted)
    undecoded = dataset.cast_column("images", Sequence(Image(decode=False)))
    assert isinstance(undecoded[0]["images"][0]["bytes"], bytes)
    same(collator(list(undecoded)), wanted)
    table = dataset.with_format("arrow")[:]
    assert isinstance(table, pa.Table)
    same(collator(table), wanted)
    dropping = DataCollatorForVisionChat(
        zoo.processor_of(name), policy=MaskPolicy(on_untrained_row="drop"), keep_columns=["number"]
    )
    flagged = table.append_column("turn_mask", pa.array([[1], [0], [1]])).append_column("number", pa.array([5, 6, 7]))
    with pytest.warns(UserWarning, match="1 of 3 rows"):
        batch = dropping(flagged)
    assert batch.pop("number").tolist() == [5, 7]
    same(batch, collator([rows_for_arrow()[0], rows_for_arrow()[2]]))


@pytest.mark.parametrize("name", ["llava", "qwen3_vl"])
def test_workers_get_the_same_collator(name):
    collator = DataCollatorForVisionChat(zoo.processor_of(name), template_kwargs={"style": "plain"})
    rows = [{"messages": chat("<image>\nWhat is it?"), "images": [picture()]}]
    same(pickle.loads(pickle.dumps(collator))(rows), collator(rows))
