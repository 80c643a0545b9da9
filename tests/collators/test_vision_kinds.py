"""`DataCollatorForVisionChat` with images, videos and sounds: eleven real processors, compared with their own calls."""

import random
from unittest import mock

import pytest
import torch
from spanmask import DataCollatorForVisionChat, MaskPolicy, SpanmaskWarning
from support import tiny_processors as zoo

pytestmark = pytest.mark.needs("transformers>=5")  # the processors of the tests are built as that version builds them

COLUMN = {"image": "images", "video": "videos", "audio": "audio"}
CASES = [(name, kind) for name, kinds in zoo.KINDS.items() for kind in kinds]


def say(role, text, *kinds):
    return {"role": role, "content": [*({"type": kind} for kind in kinds), {"type": "text", "text": text}]}


def row(rng, kind, count, answer="A lazy dog."):
    """A conversation with media in its first and its second question, and the media."""
    first = (count + 1) // 2
    messages = [
        say("user", "What is it?", *[kind] * first),
        say("assistant", answer),
        say("user", "And this?", *[kind] * (count - first)),
        say("assistant", "the weather"),
    ]
    return messages, [zoo.MEDIUM[kind](rng) for _ in range(count)]


def medium_of(rng, kind):
    return zoo.video(rng, frames=4) if kind == "video" else zoo.MEDIUM[kind](rng)


def with_media(messages, kind, media):
    """The messages as users write them at inference: each medium in its part."""
    own = iter(media)
    return [
        {**message, "content": [{**part, kind: next(own)} if part["type"] == kind else part for part in message["content"]]}
        for message in messages
    ]


def rows(rng, name, kind, counts):
    made = [row(rng, kind, count) for count in counts]
    if kind == "video" and name in ONE_LENGTH:
        return [(messages, [zoo.video(rng, frames=4) for _ in media]) for messages, media in made]
    return made


# Transformers cannot batch videos of different lengths for these, or repeats the frames of the shorter ones in their texts (SmolVLM).
ONE_LENGTH = ("llava_next_video", "llava_onevision", "smolvlm")


def same(batch, expected):
    assert {*batch} == {*expected}
    for name, value in expected.items():
        assert batch[name].dtype == value.dtype, name
        assert torch.equal(batch[name], value), name


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_the_batch_is_what_the_processor_makes_at_inference(name, kind):
    processor = zoo.processor_of(name)
    made = rows(random.Random(5), name, kind, (2, 0, 1))
    expected = processor.apply_chat_template(
        [with_media(messages, kind, media) for messages, media in made],
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs={"padding": True, "padding_side": "right"},
    )
    collator = DataCollatorForVisionChat(processor, padding_side="right")
    batch = collator([{"messages": messages, COLUMN[kind]: media} for messages, media in made])
    labels = batch.pop("labels")
    same(batch, expected)
    for ids, row_labels in zip(batch["input_ids"], labels, strict=True):
        said = processor.tokenizer.decode(ids[row_labels != -100], skip_special_tokens=True).split()
        assert said in (["A", "lazy", "dog.", "the", "weather"], ["A", "lazy", "dog.the", "weather"])
        assert not torch.isin(row_labels, torch.tensor(collator.media_ids)).any()


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_media_in_parts_and_in_a_column_are_the_same(name, kind):
    made = rows(random.Random(6), name, kind, (1, 3))
    collator = DataCollatorForVisionChat(zoo.processor_of(name))
    batch = collator([{"messages": messages, COLUMN[kind]: media} for messages, media in made])
    same(collator([{"messages": with_media(messages, kind, media)} for messages, media in made]), batch)
    empty = collator([{"messages": with_media(messages, kind, media), COLUMN[kind]: None} for messages, media in made])
    same(empty, batch)
    single = [(messages, media[0]) for messages, media in made[:1]]
    alone = collator([{"messages": messages, COLUMN[kind].rstrip("s"): medium} for messages, medium in single])
    same(alone, collator([{"messages": messages, COLUMN[kind]: [medium]} for messages, medium in single]))


@pytest.mark.parametrize(("name", "kind"), CASES)
@pytest.mark.parametrize("counts", [(1, 2, 1), (2, 0, 2), (1, 1, 1), (2, 1, 0), (0, 2, 1)], ids=str)
def test_dropped_rows_take_their_media_with_them(name, kind, counts):
    made = rows(random.Random(7), name, kind, counts)
    examples = [
        {"messages": messages, COLUMN[kind]: media, "turn_mask": [number != 1] * 2}
        for number, (messages, media) in enumerate(made)
    ]
    processor = zoo.processor_of(name)
    collator = DataCollatorForVisionChat(processor, policy=MaskPolicy(on_untrained_row="drop"))
    original = type(processor).__call__
    with (
        mock.patch.object(type(processor), "__call__", autospec=True, side_effect=original) as calls,
        pytest.warns(SpanmaskWarning, match="1 of 3 rows"),
    ):
        batch = collator(examples)
    alone = collator([examples[0], examples[2]])
    for padded in (
        "pixel_values",
        "pixel_attention_mask",
    ):  # padded to the most tiles or frames of all rows, one of which is gone
        if padded in batch and batch[padded].shape != alone[padded].shape:
            size = alone[padded].shape[1]
            assert not batch[padded][:, size:].any()
            batch[padded] = batch[padded][:, :size]
    same(batch, alone)
    ambiguous = sum(counts) == len(counts) and counts != (1, 1, 1)  # an entry for each row, or for each medium?
    if not ambiguous or (name in ("qwen2_vl", "qwen3_vl") and kind == "image"):  # Qwen's arrays say it
        assert calls.call_count == 1 or name == "llava_onevision"


@pytest.mark.parametrize("name", [name for name, kinds in zoo.KINDS.items() if len(kinds) > 1 and name != "smolvlm"])
def test_kinds_next_to_each_other_in_one_row_and_in_one_batch(name):
    rng = random.Random(8)
    kinds = zoo.KINDS[name]
    mixed = [say("user", "Which?", *kinds, *kinds), say("assistant", "Both.")]
    other = [say("user", "What is it?", kinds[1]), say("assistant", "A dog.")]
    examples = [
        {"messages": mixed, **{COLUMN[kind]: [medium_of(rng, kind), medium_of(rng, kind)] for kind in kinds}},
        {"messages": other, **{COLUMN[kind]: [medium_of(rng, kind)] if kind == kinds[1] else [] for kind in kinds}},
    ]
    collator = DataCollatorForVisionChat(zoo.processor_of(name))
    batch = collator(examples)
    dropping = DataCollatorForVisionChat(zoo.processor_of(name), policy=MaskPolicy(on_untrained_row="drop"))
    flags = [{**example, "turn_mask": [number]} for number, example in enumerate(examples)]
    with pytest.warns(SpanmaskWarning):
        same(dropping(flags), collator(examples[1:]))
    assert batch["input_ids"].shape[0] == 2


def test_images_and_videos_that_would_overwrite_each_other_are_an_error():
    rng = random.Random(9)
    examples = [
        {"messages": [say("user", "What?", kind), say("assistant", "A dog.")], "images": [], "videos": []}
        | {COLUMN[kind]: [zoo.MEDIUM[kind](rng)]}
        for kind in ("image", "video")
    ]
    collator = DataCollatorForVisionChat(zoo.processor_of("smolvlm"))
    with pytest.raises(ValueError, match="SmolVLMProcessor returns both images and videos as .*'pixel_values'"):
        collator(examples)


@pytest.mark.parametrize("name", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl", "smolvlm"])
def test_models_take_the_batches_of_videos(name):
    built = zoo.build(name)
    made = rows(random.Random(10), name, "video", (1, 2))
    batch = DataCollatorForVisionChat(built.processor)([{"messages": messages, "videos": media} for messages, media in made])
    assert torch.isfinite(built.make_model()(**batch).loss)


def test_arrays_by_token_and_medium_are_laid_out_with_the_tokens():
    """Mllama says for each token which tiles it sees."""
    processor = zoo.processor_of("mllama")
    made = [
        row(random.Random(12), "image", 1),
        row(random.Random(13), "image", 2, answer="A dog that is lazier than the weather."),
    ]
    examples = [{"messages": messages, "images": media} for messages, media in made]
    whole = DataCollatorForVisionChat(processor)(examples)
    mask, seen = whole["attention_mask"].bool(), whole["cross_attention_mask"]
    assert seen.any()
    for side in ("left", "right"):
        cut = int(mask.sum(1).max()) - 1
        wide = DataCollatorForVisionChat(processor, padding_side=side, pad_to_multiple_of=64, max_length=cut)(examples)
        assert wide["cross_attention_mask"].shape == (2, 64 * -(-cut // 64), *seen.shape[2:])
        for at in range(2):
            kept = wide["cross_attention_mask"][at][wide["attention_mask"][at].bool()]
            assert torch.equal(kept, seen[at][mask[at]][:cut])
        assert not wide["cross_attention_mask"][wide["attention_mask"] == 0].any()
    dropping = DataCollatorForVisionChat(processor, policy=MaskPolicy(on_untrained_row="drop"), padding_side="left")
    with pytest.warns(SpanmaskWarning):
        batch = dropping([{**example, "turn_mask": [at] * 2} for at, example in enumerate(examples)])
    assert torch.equal(batch["cross_attention_mask"][0], seen[1][mask[1]])


@pytest.mark.parametrize("name", zoo.KINDS)
@pytest.mark.parametrize("kind", COLUMN)
def test_a_kind_that_the_processor_does_not_take_is_an_error(name, kind):
    if kind in zoo.KINDS[name]:
        return
    processor = zoo.processor_of(name)
    messages, media = row(random.Random(11), kind, 1)
    collator = DataCollatorForVisionChat(processor)
    text = [say("user", "Hello!"), say("assistant", "A dog.")]
    for example in ({"messages": messages, COLUMN[kind]: media}, {"messages": with_media(messages, kind, media)}):
        others = {"messages": text} | ({COLUMN[kind]: None} if COLUMN[kind] in example else {})
        with pytest.raises(ValueError, match=f"row 1 has {kind}s, but {type(processor).__name__} takes none"):
            collator([others, example])
    assert collator([{"messages": text, COLUMN[kind]: []}])["input_ids"].shape[0] == 1
