"""`DataCollatorForMaskedDiffusion`: rows of ids and conversations, its batches, and the losses that are computed from them."""

import copy
import dataclasses
import pickle
import sys

import numpy as np
import pyarrow as pa
import pytest
import torch
from spanmask import (
    ChatFormat,
    DataCollatorForChat,
    DataCollatorForMaskedDiffusion,
    LinearRate,
    MaskedDiffusion,
    MaskPolicy,
    SpanmaskWarning,
    diffuse,
    encode_chat,
    preview,
)
from spanmask.collators.base import READER
from spanmask.integrations.weighted_loss import WeightedLossTrainer, weighted_loss
from support.denoising import bert_tokenizer
from support.tiny_models import CONVERSATIONS, chat_tokenizer
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader
from transformers import BertConfig, BertForMaskedLM, TrainingArguments

BERT = bert_tokenizer()
MASK = BERT.mask_token_id
ROWS = [[2, *range(10, 60), 3], [2, 7, 3], [2, *range(600, 620), 3]]


def with_mask(eos=None):
    tokenizer = chat_tokenizer()
    tokenizer.add_special_tokens({"mask_token": "<|mask|>"} | ({} if eos is None else {"eos_token": eos}))
    return tokenizer


CHAT = with_mask()


def collator(tokenizer=BERT, **options):
    return DataCollatorForMaskedDiffusion(
        tokenizer, **{"seed": 42, "on_repeat": "ignore", "weight_key": "loss_weights", **options}
    )


def features(rows=ROWS, **columns):
    return [{"input_ids": row, **{name: column[number] for name, column in columns.items()}} for number, row in enumerate(rows)]


def conversations(count=12):
    return [{"messages": messages} for messages in CONVERSATIONS[:count]]


def restored(batch, ignore_index=-100):
    return torch.where(batch["labels"] != ignore_index, batch["labels"], batch["input_ids"])


@pytest.mark.parametrize("side", ["right", "left"])
def test_batch_is_padded_diffuse(side):
    batch = collator(padding_side=side, eps=0.25)(features())
    out = diffuse(ROWS, MaskedDiffusion(MASK, eps=0.25), seed=42)
    assert torch.equal(batch["input_ids"], torch.from_numpy(out.input_ids.to_padded(0, side)))
    assert torch.equal(batch["labels"], torch.from_numpy(out.labels.to_padded(-100, side)))
    assert torch.equal(batch["loss_weights"], torch.from_numpy(out.loss_weights.to_padded(0, side)))
    assert batch["attention_mask"].sum(dim=1).tolist() == [52, 3, 22]
    assert batch["loss_weights"].dtype == torch.float32


def test_forms_of_rows_give_the_same_batch():
    labels = [[-100, *row[1:]] for row in ROWS]
    expected = collator()(features(labels=labels))
    forms = [
        features(list(map(np.array, ROWS)), labels=list(map(np.array, labels))),
        features(list(map(torch.tensor, ROWS)), labels=list(map(torch.tensor, labels))),
        features([np.array(row, np.uint16) for row in ROWS], labels=labels),
        pa.table({"input_ids": ROWS, "labels": labels}),
        {"input_ids": ROWS, "labels": labels},
    ]
    for form in forms:
        made = collator()(form)
        assert all(torch.equal(made[name], expected[name]) for name in expected)


def test_labels_decide_what_is_masked():
    labels = [([-100] * 5 + row[5:])[: len(row)] for row in ROWS]
    batch = collator()(features(labels=labels, mask_ratio=[1.0, 1.0, 1.0]))
    for number, row in enumerate(ROWS):
        assert batch["input_ids"][number, : len(row)].tolist() == (row[:5] + [MASK] * (len(row) - 5))[: len(row)]
        assert batch["labels"][number, : len(row)].tolist() == labels[number]
    # What is not trained changes nothing for the others.
    some, whole = collator()(features(labels=labels)), collator()(features())
    trained = torch.zeros_like(whole["labels"], dtype=torch.bool)
    trained[:, 5:] = True
    assert torch.equal(some["labels"][trained], whole["labels"][trained])


def test_padding_and_protected_tokens_are_never_masked():
    rows = [[*row, 0, 0] for row in ROWS]
    mask = [[1] * len(row) + [0, 0] for row in ROWS]
    special = [[int(token in (2, 3)) for token in row] for row in rows]
    batch = collator()(features(rows, attention_mask=mask, special_tokens_mask=special, mask_ratio=[1.0] * 3))
    for number, row in enumerate(ROWS):
        assert batch["input_ids"][number, : len(row)].tolist() == [token if token in (2, 3) else MASK for token in row]
        assert batch["input_ids"][number, len(row) :].eq(0).all()
    assert collator(special_ids=[2, 3])(features(mask_ratio=[1.0] * 3))["input_ids"].tolist() == batch["input_ids"].tolist()


class TestConversations:
    def test_only_answers_are_masked_and_everything_else_is_the_chat_collator_s(self):
        batch = collator(CHAT)(conversations())
        chat = DataCollatorForChat(CHAT)(conversations())
        assert torch.equal(restored(batch), chat["input_ids"])
        assert torch.equal(batch["attention_mask"], chat["attention_mask"])
        masked = batch["labels"] != -100
        assert torch.equal(batch["labels"][masked], chat["labels"][masked])
        assert batch["input_ids"][masked].eq(CHAT.mask_token_id).all()
        assert 0 < masked.sum() < (chat["labels"] != -100).sum()
        everything = collator(CHAT)([{**row, "mask_ratio": 1.0} for row in conversations()])
        assert torch.equal(everything["labels"], chat["labels"])

    def test_the_four_ways_to_pass_a_conversation_are_one(self):
        chat = DataCollatorForChat(CHAT, return_tensors="np")(conversations(3))
        lengths = chat["attention_mask"].sum(axis=1)
        ids = [row[:length].tolist() for row, length in zip(chat["input_ids"], lengths, strict=True)]
        labels = [row[:length].tolist() for row, length in zip(chat["labels"], lengths, strict=True)]
        expected = collator(CHAT)(conversations(3))
        policy = MaskPolicy()
        for made in (
            collator(CHAT)(features(ids, labels=labels)),
            collator(CHAT, policy=policy)(features(ids)),
            collator(CHAT, chat_format=ChatFormat.from_tokenizer(CHAT))(features(ids)),
            collator(CHAT)(features(ids, messages=CONVERSATIONS)),
        ):
            assert all(torch.equal(made[name], expected[name]) for name in expected)

    def test_prompts_and_completions(self):
        messages = CONVERSATIONS[0]
        as_messages = collator(CHAT)([{"prompt": messages[:1], "completion": messages[1:], "mask_ratio": 1.0}])
        assert torch.equal(as_messages["labels"], collator(CHAT)([{"messages": messages, "mask_ratio": 1.0}])["labels"])
        as_text = collator(CHAT)([{"prompt": "What is", "completion": " a line", "mask_ratio": 1.0}])
        assert CHAT.decode(as_text["labels"][as_text["labels"] != -100]).startswith(" a line")

    def test_the_policy_decides_and_its_weights_multiply(self):
        policy = MaskPolicy(roles=("assistant", "user"), role_weights={"assistant": 2.0, "user": 0.5})
        rows = [{**row, "mask_ratio": 0.5} for row in conversations(6)]
        batch = collator(CHAT, policy=policy)(rows)
        chat = DataCollatorForChat(CHAT, policy=policy, weight_key="loss_weights")(conversations(6))
        masked = batch["labels"] != -100
        assert torch.equal(batch["loss_weights"], torch.where(masked, 2 * chat["loss_weights"], 0))
        assert {4.0, 1.0} <= set(batch["loss_weights"].unique().tolist())

    def test_weights_of_rows_of_ids(self):
        factors = [[0, 0.5] + [2.0] * (len(row) - 2) for row in ROWS]
        batch = collator()(features(loss_weights=factors, mask_ratio=[1.0] * 3))
        for made in (np.array, torch.tensor, lambda row: torch.tensor(row, dtype=torch.bfloat16)):
            other = collator()(features(loss_weights=list(map(made, factors)), mask_ratio=[1.0] * 3))
            assert torch.equal(other["loss_weights"], batch["loss_weights"])
        for number, row in enumerate(ROWS):
            assert batch["loss_weights"][number, : len(row)].tolist() == factors[number]
            assert batch["labels"][number, : len(row)].tolist() == [-100, *row[1:]]

    def test_rows_are_dropped_with_their_keys_and_columns(self):
        rows = [
            {"messages": messages, "name": f"row {number}", "number": number, "mask_ratio": 0.25 * (1 + number)}
            for number, messages in enumerate([CONVERSATIONS[0], CONVERSATIONS[0][:1], CONVERSATIONS[1]])
        ]
        options = {"key_column": "name", "keep_columns": ["number"]}
        with pytest.warns(SpanmaskWarning, match="1 of 3 rows in a batch have no trained tokens"):
            batch = collator(CHAT, policy=MaskPolicy(on_untrained_row="drop"), **options)(rows)
        assert batch["number"].tolist() == [0, 2]
        without = collator(CHAT, **options)([rows[0], rows[2]])
        assert all(torch.equal(batch[name], without[name]) for name in without)

    def test_reports_count_conversations(self):
        made = collator(CHAT)
        made(conversations(4))
        made(features(ROWS))
        assert made.report.rows == 4
        assert made.report.trained_tokens > 0
        made.reset_report()
        assert made.report.rows == 0
        with pytest.raises(ValueError, match="no row in this batch has any trained tokens"):
            made([{"messages": CONVERSATIONS[0][:1]}])

    def test_a_preview_counts_nowhere_and_shows_batches_without_an_answer(self):
        made = collator(CHAT)
        made.preview(conversations(5))
        assert made.report.rows == 0
        with pytest.warns(SpanmaskWarning, match="no trained tokens|labels: this batch has none"):
            shown = made.preview([{"messages": [{"role": "user", "content": "Who?"}]}])
        assert len(shown.rows) == 1
        with pytest.raises(ValueError, match="no row in this batch has any trained tokens"):
            made([{"messages": [{"role": "user", "content": "Who?"}]}])

    @pytest.mark.parametrize("name", ["completion_mask", "assistant_masks", "loss_mask"])
    def test_flags_of_other_programs_say_what_may_be_masked(self, name):
        rows, flags = [[11, 12, 13, 14, 15], [21, 22, 23]], [[0, 0, 1, 1, 0], [0, 1, 1]]
        ones = {"mask_ratio": [1.0, 1.0]}
        batch = collator()(features(rows, **{name: flags}, **ones))
        assert batch["labels"].tolist() == [[-100, -100, 13, 14, -100], [-100, 22, 23, -100, -100]]
        assert batch["input_ids"].tolist() == [[11, 12, MASK, MASK, 15], [21, MASK, MASK, 0, 0]]
        protected = features(rows, **{name: flags}, protected_mask=[[0, 0, 1, 0, 0], [0, 0, 0]], **ones)
        assert collator()(protected)["labels"][0].tolist() == [-100, -100, -100, 14, -100]
        padded = {"input_ids": np.array([[0, 0, 31, 32], [41, 42, 43, 44]]), "attention_mask": np.array([[0, 0, 1, 1], [1] * 4])}
        left = collator(padding_side="left")({**padded, name: np.array([[1, 1, 0, 1], [1, 0, 0, 1]]), **ones})
        assert left["labels"].tolist() == [[-100, -100, -100, 32], [41, -100, -100, 44]]
        with pytest.raises(ValueError, match=name):
            collator()(features(rows, **{name: [[0, 0, 1], [0, 1, 1]]}))

    def test_flags_are_read_beside_labels_and_turns_and_not_beside_texts(self):
        ones = {"mask_ratio": 1.0}
        ids, labels = [5, 6, 7, 8], [-100, 6, 7, 8]
        row = {"input_ids": ids, "labels": labels, "completion_mask": [1, 1, 0, 1], **ones}
        assert collator()([row])["labels"].tolist() == [[-100, 6, -100, 8]]
        encoded = encode_chat(CHAT, CONVERSATIONS[2:3])
        ids, labels = encoded.input_ids.to_list()[0], encoded.labels.to_list()[0]
        at = labels.index(next(label for label in labels if label != -100))
        flags = [place != at for place in range(len(ids))]
        for kind in ({"messages": CONVERSATIONS[2]}, {"conversations": CONVERSATIONS[2]}):
            found = collator(CHAT)([{"input_ids": ids, "assistant_masks": flags, **kind, **ones}])
            assert found["labels"].tolist() == [[label if place != at else -100 for place, label in enumerate(labels)]]
        rendered = collator(CHAT)([{"messages": CONVERSATIONS[2], "completion_mask": [0, 1], **ones}])
        assert rendered["labels"].tolist() == [labels]

    def test_ids_of_a_prompt_and_a_completion_need_their_border(self):
        row = {"input_ids": [5, 6, 7], "prompt": "a", "completion": "b", "mask_ratio": 1.0}
        with pytest.raises(ValueError, match="completion: given beside input_ids"):
            collator()([row])
        assert collator()([{**row, "labels": [-100, 6, 7]}])["labels"].tolist() == [[-100, 6, 7]]
        assert collator()([{**row, "completion_mask": [0, 0, 1]}])["labels"].tolist() == [[-100, -100, 7]]
        encoded = encode_chat(CHAT, CONVERSATIONS[:1])
        (ids,), (labels,) = encoded.input_ids.to_list(), encoded.labels.to_list()
        messages = {"prompt": CONVERSATIONS[0][:1], "completion": CONVERSATIONS[0][1:]}
        assert collator(CHAT)([{"input_ids": ids, **messages, "mask_ratio": 1.0}])["labels"].tolist() == [labels]

    def test_the_ignored_label_can_be_changed(self):
        made = collator(CHAT)
        made.label_pad_token_id = -7
        changed, usual = made(conversations(4)), collator(CHAT)(conversations(4))
        assert torch.equal(changed["labels"], usual["labels"].masked_fill(usual["labels"] == -100, -7))

    def test_a_cut_comes_before_the_masks(self):
        cut, whole = (collator(CHAT, max_length=length, key_column="id") for length in (30, None))
        rows = [{**row, "id": number} for number, row in enumerate(conversations(6))]
        assert torch.equal(cut(rows)["labels"], whole(rows)["labels"][:, :30])
        assert cut.report.tokens < whole.report.tokens
        by_row = collator(CHAT, max_length=30, weighting="row")([{**row, "mask_ratio": 1.0} for row in conversations(6)])
        sums = by_row["loss_weights"].sum(dim=1)
        assert torch.allclose(sums, torch.ones(6))

    def test_prepare_makes_the_columns(self):
        made = collator(CHAT, prepare=rename)([{"chat": messages} for messages in CONVERSATIONS[:3]])
        assert torch.equal(made["labels"], collator(CHAT)(conversations(3))["labels"])


def rename(example):
    return {"messages": example["chat"]}


class TestColumns:
    """Columns with an entry for each token follow the ids of rows, also where turns are searched for in these."""

    @pytest.mark.parametrize("side", ["right", "left"])
    @pytest.mark.parametrize("kind", [list, np.array, torch.tensor])
    def test_they_are_laid_out_as_the_ids_are(self, side, kind):
        places = [[number * 100 + at for at in range(len(row))] for number, row in enumerate(ROWS)]
        columns = {"token_type_ids": [[at % 2 for at in row] for row in places], "place": places}
        rows = features(list(map(kind, ROWS)), **{name: list(map(kind, column)) for name, column in columns.items()})
        for options in ({}, {"max_length": 20}, {"pad_to_multiple_of": 8}):
            made = collator(padding_side=side, token_columns="place", **options)
            batch = made(rows)
            without = collator(padding_side=side, **options)(features())
            assert all(torch.equal(batch[name], without[name]) for name in ("input_ids", "labels", "loss_weights"))
            for number, row in enumerate(places):
                real = batch["attention_mask"][number] == 1
                assert batch["place"][number][real].tolist() == row[: options.get("max_length")]
                assert batch["token_type_ids"][number][real].tolist() == [at % 2 for at in row][: options.get("max_length")]
                assert not batch["place"][number][~real].any()

    def test_padding_with_eos_has_no_entries(self):
        ids = [[1, 2, 3], [4, 5, 6, 7, 8]]
        batch = collator(CHAT, pad_with_eos=True, token_columns="place")(features(ids, place=ids, mask_ratio=[1.0, 1.0]))
        assert batch["attention_mask"].all()
        assert batch["place"].tolist() == [[1, 2, 3, 0, 0], ids[1]]

    @pytest.mark.parametrize("max_length", [None, 25])
    @pytest.mark.parametrize("kind", [list, np.array, "table"])
    def test_of_rows_with_turns(self, kind, max_length):
        """Padded rows of ids, one of which is dropped: their columns are cut, dropped and masked with them."""
        chat = DataCollatorForChat(CHAT, return_tensors="np")([{"messages": messages} for messages in CONVERSATIONS[:3]])
        lengths = chat["attention_mask"].sum(axis=1)
        rows = [row[:length].tolist() for row, length in zip(chat["input_ids"], lengths, strict=True)]
        rows.insert(1, [5, 6, 7])
        trained = [row[:length] for row, length in zip(chat["labels"], lengths, strict=True)]
        clear = [[int(at % 3 == 0) for at in range(len(row))] for row in rows]
        factors = [[float(at % 5) for at in range(len(row))] for row in rows]
        before = [[9] * (2 * number) for number in range(4)]
        columns = {
            "input_ids": [pad + row for pad, row in zip(before, rows, strict=True)],
            "attention_mask": [[0] * len(pad) + [1] * len(row) for pad, row in zip(before, rows, strict=True)],
            "protected_mask": [[0] * len(pad) + row for pad, row in zip(before, clear, strict=True)],
            "loss_weights": [[0.0] * len(pad) + row for pad, row in zip(before, factors, strict=True)],
            "place": [[0] * len(pad) + list(range(len(row))) for pad, row in zip(before, rows, strict=True)],
            "mask_ratio": [1.0] * 4,
        }
        if kind == "table":
            table = pa.table(columns)
        else:
            table = {name: column if name == "mask_ratio" else list(map(kind, column)) for name, column in columns.items()}
        policy = MaskPolicy(on_untrained_row="drop", role_weights={"assistant": 3.0})
        made = collator(CHAT, policy=policy, max_length=max_length, token_columns="place")
        with pytest.warns(SpanmaskWarning, match="1 of 4 rows"):
            batch = made(table)
        assert len(batch["input_ids"]) == 3
        for number, (row, place) in enumerate(zip(trained, (0, 2, 3), strict=True)):
            row = row[:max_length]
            kept = (row != -100) & ~np.array(clear[place][: len(row)], bool) & (np.array(factors[place][: len(row)]) > 0)
            assert batch["labels"][number, : len(row)].tolist() == np.where(kept, row, -100).tolist()
            weights = np.where(kept, 3 * np.array(factors[place][: len(row)]), 0)
            assert batch["loss_weights"][number, : len(row)].tolist() == weights.tolist()
            assert batch["place"][number, : len(row)].tolist() == list(range(len(row)))
            assert not batch["attention_mask"][number, len(row) :].any()

    def test_of_rendered_conversations(self):
        """They have an entry for each token of the rendered row."""
        whole = collator(CHAT)([{**row, "mask_ratio": 1.0} for row in conversations(2)])
        lengths = whole["attention_mask"].sum(dim=1).tolist()
        rows = [
            {**row, "place": list(range(length)), "protected_mask": [0] * (length - 3) + [1] * 3, "mask_ratio": 1.0}
            for row, length in zip(conversations(2), lengths, strict=True)
        ]
        batch = collator(CHAT, token_columns="place")(rows)
        for number, length in enumerate(lengths):
            assert batch["place"][number, :length].tolist() == list(range(length))
            assert batch["labels"][number, : length - 3].tolist() == whole["labels"][number, : length - 3].tolist()
            assert batch["labels"][number, length - 3 :].eq(-100).all()
        with pytest.raises(ValueError, match="place: row 0 has 2 entries for"):
            collator(CHAT, token_columns="place")([{**row, "place": [1, 2]} for row in rows])

    @pytest.mark.parametrize("name", ["labels", "loss_weights", "input_ids", "attention_mask"])
    def test_none_replaces_one_of_the_collator_s_own(self, name):
        columns = {} if name == "input_ids" else {name: ROWS if name == "labels" else [[1] * len(row) for row in ROWS]}
        with pytest.raises(ValueError, match=f"^token_columns: the collator creates the column '{name}' itself"):
            collator(token_columns=name)(features(**columns))


class TestPaddingWithEos:
    def test_rows_continue_with_eos_that_is_masked_and_trained(self):
        made = collator(CHAT, pad_with_eos=True)([{**row, "mask_ratio": 1.0} for row in conversations(3)])
        plain = collator(CHAT)([{**row, "mask_ratio": 1.0} for row in conversations(3)])
        padding = plain["attention_mask"] == 0
        assert padding.any()
        assert made["attention_mask"].all()
        assert made["labels"][padding].eq(CHAT.eos_token_id).all()
        assert made["input_ids"][padding].eq(CHAT.mask_token_id).all()
        assert torch.equal(made["labels"][~padding], plain["labels"][~padding])

    def test_the_row_s_own_tokens_do_not_depend_on_the_width(self):
        alone = collator(CHAT, pad_with_eos=True)(conversations(1))
        wide = collator(CHAT, pad_with_eos=True, pad_to_multiple_of=128)(conversations(3))
        width = alone["labels"].shape[1]
        for name in ("input_ids", "labels", "loss_weights"):
            assert torch.equal(wide[name][0, :width], alone[name][0])
        assert set(restored(wide)[0, width:].tolist()) == {CHAT.eos_token_id}
        tail = wide["labels"][:, 64:] != -100
        assert 0 < tail.sum() < tail.numel()

    def test_lengths_include_eos(self):
        made = collator(CHAT, pad_with_eos=True, weighting="row")([{**row, "mask_ratio": 1.0} for row in conversations(3)])
        assert torch.allclose(made["loss_weights"].sum(dim=1), torch.ones(3))

    def test_rows_without_anything_to_mask_are_padded(self):
        labels = [[-100] * len(row) for row in ROWS[1:]]
        with pytest.warns(
            SpanmaskWarning, match=r"labels: this batch has none \(row 0, row 1\).*mask ratios are low.*weighted_loss"
        ):
            made = collator(with_mask(), pad_with_eos=True)(features(ROWS[1:], labels=labels))
        assert made["attention_mask"].sum(dim=1).tolist() == [3, 22]
        assert (made["labels"] == -100).all()

    def test_what_it_needs(self):
        with pytest.raises(ValueError, match="pad_with_eos: requires padding_side='right'"):
            collator(CHAT, pad_with_eos=True, padding_side="left")
        with pytest.raises(ValueError, match="tokenizer: has no EOS token"):
            collator(BERT, pad_with_eos=True)
        with pytest.raises(ValueError, match="pad_with_eos: expected True or False"):
            collator(CHAT, pad_with_eos="yes")


class TestLosses:
    """The losses of LLaDA's guidelines, written out from the batch before it was masked, on random logits."""

    def logits(self, batch):
        return torch.randn(*batch["labels"].shape, len(CHAT), generator=torch.Generator().manual_seed(1))

    def test_pretraining(self):
        rows = np.random.default_rng(0).integers(0, 300, (6, 40))
        ratios = [0.1, 0.3, 0.5, 0.7, 0.9, 1.0]
        batch = collator(CHAT)(features(list(rows), mask_ratio=ratios))
        logits, ids = self.logits(batch), torch.from_numpy(rows)
        masked = batch["input_ids"] == CHAT.mask_token_id
        by_token = cross_entropy(logits[masked], ids[masked], reduction="none")
        expected = (by_token / torch.tensor(ratios)[:, None].expand(6, 40)[masked]).sum() / (6 * 40)
        ours = weighted_loss(
            logits, batch["labels"], batch["loss_weights"], normalize="tokens", amount=batch["labels"].numel(), shift=False
        )
        assert torch.allclose(ours, expected)
        by_row = collator(CHAT, weighting="row")(features(list(rows), mask_ratio=ratios))
        assert torch.allclose(
            weighted_loss(logits, by_row["labels"], by_row["loss_weights"], normalize="rows", shift=False), expected
        )

    def test_fine_tuning(self):
        ratios = [0.2, 0.4, 0.6, 0.8]
        rows = [{**row, "mask_ratio": ratio} for row, ratio in zip(conversations(4), ratios, strict=True)]
        batch = collator(CHAT, weighting="row")(rows)
        answers = DataCollatorForChat(CHAT)(conversations(4))["labels"] != -100
        ids, logits = restored(batch), self.logits(batch)
        expected = 0.0
        for number, ratio in enumerate(ratios):
            masked = batch["input_ids"][number] == CHAT.mask_token_id
            by_token = cross_entropy(logits[number][masked], ids[number][masked], reduction="none")
            expected += by_token.sum() / ratio / answers[number].sum() / 4
        ours = weighted_loss(logits, batch["labels"], batch["loss_weights"], normalize="rows", shift=False)
        assert torch.allclose(ours, expected)

    def test_models_that_predict_the_next_token(self):
        """Dream's: the logits of the position before predict a token."""
        batch = collator(CHAT, weighting="row")(conversations(4))
        logits = self.logits(batch)
        before = torch.cat([logits[:, :1], logits[:, :-1]], dim=1)
        assert (batch["labels"][:, 0] == -100).all()
        aligned = weighted_loss(before, batch["labels"], batch["loss_weights"], normalize="rows", shift=False)
        assert torch.allclose(aligned, weighted_loss(logits, batch["labels"], batch["loss_weights"], normalize="rows"))

    @pytest.mark.needs("transformers>=5")  # its arguments have `train_sampling_strategy`
    def test_the_trainer_computes_it(self, tmp_path):
        """One step over four rows has the loss computed by hand, also if it consists of two batches."""
        size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
        losses = []
        for accumulate in (1, 2):
            torch.manual_seed(0)
            model = BertForMaskedLM(
                BertConfig(vocab_size=len(CHAT), **size, hidden_dropout_prob=0, attention_probs_dropout_prob=0)
            )
            args = TrainingArguments(
                str(tmp_path),
                per_device_train_batch_size=4 // accumulate,
                gradient_accumulation_steps=accumulate,
                max_steps=1,
                logging_steps=1,
                train_sampling_strategy="sequential",
                remove_unused_columns=False,
                report_to=[],
                save_strategy="no",
                disable_tqdm=True,
                use_cpu=True,
                dataloader_pin_memory=False,
            )
            made = collator(CHAT, weighting="row")
            batch = made(conversations(4))
            with torch.inference_mode():
                logits = model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits
                by_hand = weighted_loss(logits, batch["labels"], batch["loss_weights"], normalize="rows", shift=False).item()
            trainer = WeightedLossTrainer(
                model, args, train_dataset=conversations(4), data_collator=made, normalize="rows", shift=False
            )
            trainer.train()
            losses.append(trainer.state.log_history[0]["loss"])
            assert losses[-1] == pytest.approx(by_hand, rel=1e-4)
        assert losses[0] == pytest.approx(losses[1], rel=1e-4)


class TestNoise:
    @pytest.mark.filterwarnings("ignore:labels. this batch has none")
    def test_a_row_does_not_depend_on_the_batch_or_its_order(self):
        rows = conversations()
        one = collator(CHAT)(rows)
        for order in ([3], [5, 3, 0], list(range(12))[::-1]):
            batch = collator(CHAT)([rows[number] for number in order])
            for place, number in enumerate(order):
                real = batch["attention_mask"][place].sum()
                for name in ("input_ids", "labels", "loss_weights"):
                    assert torch.equal(batch[name][place, :real], one[name][number, :real])

    def test_workers_see_the_epoch_and_draw_the_same(self):
        # Equal conversations would have equal noise; ids tell them apart.
        rows = [{**row, "id": f"row {number}"} for number, row in enumerate(conversations())]
        made = collator(CHAT, key_column="id", pad_to_multiple_of=128)
        passes = []
        for workers in (0, 2):
            for epoch in (0, 1):
                made.set_epoch(epoch)
                batches = list(DataLoader(rows, batch_size=3, collate_fn=made, num_workers=workers))
                passes.append(torch.cat([batch["labels"] for batch in batches]))
        assert torch.equal(passes[0], passes[2])
        assert torch.equal(passes[1], passes[3])
        assert not torch.equal(passes[0], passes[1])

    def test_a_repeated_pass_warns(self):
        made = collator(CHAT, on_repeat="raise")
        made(conversations())
        with pytest.raises(ValueError, match="seed: the masks repeat"):
            made(conversations())

    def test_without_a_seed_torch_decides(self):
        made = collator(CHAT, seed=None)
        torch.manual_seed(1)
        first, second = (made(conversations())["labels"] for _ in range(2))
        torch.manual_seed(1)
        assert torch.equal(made(conversations())["labels"], first)
        assert not torch.equal(first, second)

    def test_states_copies_and_pickles(self):
        made = collator(CHAT)
        first = made(conversations())["labels"]
        made.set_epoch(1)
        second = made(conversations())["labels"]
        for other in (pickle.loads(pickle.dumps(made)), copy.deepcopy(made), dataclasses.replace(made, epoch=1)):
            assert torch.equal(other(conversations())["labels"], second)
        assert made.state_dict() == {"seed": 42, "epoch": 1, "step": 0, "algorithm": 1}
        made.load_state_dict({"seed": 42, "epoch": 0, "step": 0, "algorithm": 1})
        assert torch.equal(made(conversations())["labels"], first)

    def test_antithetic_ratios_cover_the_range_in_each_batch(self):
        rows = np.random.default_rng(0).integers(0, 300, (8, 64))
        for tokens in (list(rows), rows.tolist()):
            batch = collator(CHAT, antithetic=True)(features(tokens))
            ratios = 1 / batch["loss_weights"].max(dim=1).values
            assert ((ratios.sort().values - 0.001) / 0.999 * 8).int().tolist() == list(range(8))

    def test_statistics_of_an_epoch(self):
        """The share of masked answer tokens is a half; the weights add up to the answer tokens. 5 sigma, rows are independent."""
        rows = [{**row, "id": number} for number, row in enumerate(conversations() * 100)]
        batch = collator(CHAT, key_column="id", eps=0.1)(rows)
        trained = (DataCollatorForChat(CHAT)(rows)["labels"] != -100).sum(dim=1).double()
        masked = (batch["labels"] != -100).sum(dim=1).double()
        for found, expected in ((masked, 0.55 * trained), (batch["loss_weights"].sum(dim=1).double(), trained)):
            errors = found - expected
            assert abs(errors.sum()) < 5 * errors.std() * len(rows) ** 0.5


def test_unread_weights_warn(monkeypatch):
    monkeypatch.delitem(sys.modules, READER)
    made = collator(weight_key=None)
    with pytest.warns(SpanmaskWarning, match="loss_weights: this batch has loss weights.*with shift=False"):
        made(features())
    made.set_epoch(1)
    made(features())
    assert "w" in collator(weight_key="w")(features())


def test_batches_are_shown():
    made = collator(CHAT)(conversations(2))
    shown = str(preview(made, tokenizer=CHAT))
    assert "<|mask|> ->" in shown
    assert "What is the colour?" in shown


def test_options_of_the_spec():
    spec = MaskedDiffusion(7, eps=0.5, weighting="row")
    assert collator(spec=spec).spec is spec
    made = collator(mask_token_id=7, eps=0.5, weighting="row", special_ids=[1], antithetic=True)
    assert made.spec == MaskedDiffusion(7, eps=0.5, weighting="row", special_ids=[1], antithetic=True)
    with pytest.raises(TypeError, match="eps: cannot be combined with spec"):
        collator(spec=spec, eps=0.5)
    with pytest.raises(AttributeError, match="eps: is an option of the spec"):
        made.eps = 0.1
    assert repr(collator(eps=0.5)).startswith("DataCollatorForMaskedDiffusion(BertTokenizer")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"eps": 0}, ValueError, "eps: expected a fraction"),
        ({"eps": LinearRate(0.1, 0.2, steps=5)}, TypeError, "eps: expected a number, got LinearRate"),
        ({"spec": "llada"}, TypeError, "spec: expected MaskedDiffusion, got str"),
        ({"tokenizer": chat_tokenizer()}, ValueError, "tokenizer: has no mask token"),
        ({"policy": MaskPolicy(shift="left")}, ValueError, "policy: has shift='left'"),
        ({"policy": "assistant"}, TypeError, "policy: expected a MaskPolicy"),
        ({"chat_format": 5}, TypeError, "chat_format: expected a ChatFormat"),
        ({"on_untrained_batch": "x"}, ValueError, "on_untrained_batch: expected one of"),
        ({"max_length": 0}, ValueError, "max_length: expected a positive integer"),
        ({"weighting": "x"}, ValueError, "weighting: expected one of"),
    ],
)
def test_bad_options(options, error, message):
    with pytest.raises(error, match=message):
        collator(**options)


@pytest.mark.parametrize(
    ("batch", "error", "message"),
    [
        ([], ValueError, "features: the batch is empty"),
        ([{"text": "a"}], ValueError, "features: no 'input_ids'"),
        ([{"words": "a"}], ValueError, "features: no column holds messages or text"),
        (features([[5, -100]]), ValueError, "input_ids: row 0 has -100 at position 1"),
        (features([[5, 6]], labels=[[5]]), ValueError, "labels: row 0 has 1 entries for 2 ids"),
        (features([[5, 6]], labels=[[6, -100]]), ValueError, "labels: row 0 has the label 6 at position 0, where the token is 5"),
        (features([[5, 6]], loss_weights=[[1.0]]), ValueError, "loss_weights: row 0 has 1 entries for 2 ids"),
        (features([[5], [5, 6]], loss_weights=[[1], [1, -2]]), ValueError, "loss_weights: row 1 has -2.0 at position 1"),
        (features([[5, 6]], loss_weights=[["a", "b"]]), TypeError, "loss_weights: row 0 is not a row of numbers"),
        (features([[5, 6]], protected_mask=[[1]]), ValueError, "protected_mask: row 0 has 1 entries for 2 ids"),
        (features([[5, 6]], mask_ratio=[[0.5, 0.5]]), TypeError, "mask_ratio: row 0"),
        (
            features([[5, 6]], mlm_probability=[0.5]),
            ValueError,
            "column 'mlm_probability' is not read.*Rename it to 'mask_ratio'",
        ),
        (features([[5, 6]], masking_ratio=[0.5]), ValueError, "column 'masking_ratio' is not read.*Rename it to 'mask_ratio'"),
        (features([[5, 6]], protected=[[1, 0]]), ValueError, "column 'protected' is not read.*Rename it to 'protected_mask'"),
        (features([[5, 6]], mask_ratio=[0]), ValueError, "mask_ratio: row 0: expected a probability"),
        (features([[5, 6]], mask_ratio=[1.5]), ValueError, "mask_ratio: row 0: expected a probability"),
    ],
)
def test_bad_batches(batch, error, message):
    with pytest.raises(error, match=message):
        collator()(batch)
