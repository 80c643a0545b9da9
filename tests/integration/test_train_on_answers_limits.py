"""`train_on_answers` where it must refuse, warn, or use loss weights; and answers that wrapped packing cuts."""

import pickle
import random

import datasets
import pytest
import torch
from datasets.fingerprint import Hasher
from spanmask import (
    ChatFormat,
    ChatFormatError,
    DataCollatorForChat,
    MaskPolicy,
    RoleBoundary,
    SpanmaskWarning,
    mask_labels,
    reference,
)
from spanmask import train_on_answers as answers_only
from spanmask.integrations.answers.labels import AnswerLabels
from spanmask.integrations.weighted_loss import WeightedLossMixin, WeightedLossTrainer
from support import trainers
from support.tiny_models import CONVERSATIONS, causal_model, chat_tokenizer
from transformers import DataCollatorForLanguageModeling, T5Config, T5ForConditionalGeneration, Trainer, TrainingArguments
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

pytestmark = pytest.mark.filterwarnings("ignore:`gradient_checkpointing` is deprecated:FutureWarning")
SETTINGS = {**trainers.SETTINGS, "logging_steps": 1}
FORMAT = ChatFormat([RoleBoundary("assistant", [31, 32], [9]), RoleBoundary("user", [31, 33], [9])])
ENDLESS = ChatFormat([RoleBoundary("assistant", [31, 32]), RoleBoundary("user", [31, 33])])


@pytest.fixture(scope="module")
def tokenizer():
    return chat_tokenizer()


def conversations(count, seed=0):
    """Rows of ids whose questions are below 60 and whose answers are above."""
    rng = random.Random(seed)

    def turn(role, low):
        return [31, role, *(rng.randrange(low, low + 40) for _ in range(rng.randrange(12))), 9]

    return [[*turn(33, 40 - 1), *turn(32, 100)] * rng.randrange(1, 3) for _ in range(count)]


def sft(tokenizer, rows, folder, cls=SFTTrainer, collator=None, stream=False, evaluation=None, **options):
    extra = {"normalize": options.pop("normalize")} if "normalize" in options else {}
    data = datasets.Dataset.from_dict({"input_ids": rows}) if isinstance(rows, list) else rows
    args = SFTConfig(str(folder), bf16=False, **{**SETTINGS, **options})
    data = data.to_iterable_dataset() if stream else data
    sets = {"train_dataset": data, "eval_dataset": evaluation}
    return cls(causal_model(tokenizer), args, data_collator=collator, processing_class=tokenizer, **sets, **extra)


def plain(tokenizer, data, folder, cls=Trainer, collator=None, processing=True, **options):
    extra = {"normalize": options.pop("normalize")} if "normalize" in options else {}
    args = TrainingArguments(str(folder), **{**SETTINGS, **options})
    processing = tokenizer if processing else None
    return cls(causal_model(tokenizer), args, train_dataset=data, data_collator=collator, processing_class=processing, **extra)


class TestWrapped:
    @pytest.mark.parametrize("stream", [False, True], ids=["rows", "stream"])
    def test_cut_answers_train_on_both_sides_of_every_cut(self, stream, tokenizer, tmp_path):
        """More pieces than one batch of the labels has, answers longer than pieces, headers that are cut."""
        rows = conversations(2500)
        options = {"packing": True, "packing_strategy": "wrapped", "max_length": 11}
        trainer = answers_only(sft(tokenizer, rows, tmp_path, stream=stream, **options), chat_format=FORMAT)
        for _ in range(2):  # a stream begins anew in each epoch
            got = [[label for piece in trainer.train_dataset for label in piece["labels"]]]
            assert got == [[label for row in rows for label in reference.mask_labels(row, FORMAT, MaskPolicy())]]
        report = trainer.spanmask_report["train"]
        if not stream:
            assert report.trained_tokens == sum(label != -100 for label in got[0])
            assert report.turns == {
                role: sum(row.count(header) for row in rows) for role, header in (("assistant", 32), ("user", 33))
            }
            assert report.rows == len(trainer.train_dataset)

    def test_pieces_that_do_not_follow_each_other_are_not_joined(self):
        labels = AnswerLabels(FORMAT, MaskPolicy(), wrapped=True)
        assert labels({"input_ids": [[31, 32, 7]]}, [0]) == {"labels": [[-100, -100, 7]]}
        assert labels({"input_ids": [[8, 9, 7]]}, [1]) == {"labels": [[8, 9, -100]]}
        assert labels({"input_ids": [[31, 32, 7]]}, [2]) == {"labels": [[-100, -100, 7]]}
        assert labels({"input_ids": [[8, 9, 7]]}, [5]) == {"labels": [[-100, -100, -100]]}

    @pytest.mark.parametrize("max_length", [6, 11, 400])
    def test_answers_that_were_cut_before_do_not_train_with_the_beginning_of_the_next_row(self, max_length, tokenizer, tmp_path):
        """Rows begin with tokens without a header, above 200."""
        rows = [[200 + number % 7, 201, *row] for number, row in enumerate(conversations(60))]
        cut = [row[: -2 - number % 3] if number % 4 == 1 and len(row) > 12 else row for number, row in enumerate(rows)]
        options = {"packing": True, "packing_strategy": "wrapped", "max_length": max_length}
        trainer = sft(tokenizer, cut, tmp_path, **options)
        with pytest.warns(
            SpanmaskWarning, match=r"train set: \d+ answers have no closing marker, because their rows were cut before"
        ):
            answers_only(trainer, chat_format=FORMAT)
        got = [label for piece in trainer.train_dataset for label in piece["labels"]]
        assert not any(label >= 200 for label in got)
        at = 0
        for row in cut:
            wanted, part = reference.mask_labels(row, FORMAT, MaskPolicy()), got[at : at + len(row)]
            at += len(row)
            assert all(label in (-100, known) for label, known in zip(part, wanted, strict=True))
            assert row[-1] != 9 or part == wanted

    def test_shuffled_pieces_warn(self, tokenizer, tmp_path):
        options = {"packing": True, "packing_strategy": "wrapped", "max_length": 11, "shuffle_dataset": True}
        with pytest.warns(SpanmaskWarning, match="packing cut up to .* shuffle_dataset=True moved pieces"):
            answers_only(sft(tokenizer, conversations(50), tmp_path, **options), chat_format=FORMAT)

    @pytest.mark.parametrize(
        ("policy", "chat_format", "need"),
        [
            (MaskPolicy(turns="last"), FORMAT, "turns='last'"),
            (MaskPolicy(train_on_eos="last"), FORMAT, "train_on_eos='last'"),
            (MaskPolicy(truncated_turn="drop"), FORMAT, "truncated_turn='drop'"),
            (None, ENDLESS, "a chat format whose answers have no closing marker"),
        ],
    )
    def test_what_needs_the_ends_of_rows_is_refused(self, policy, chat_format, need, tokenizer, tmp_path):
        options = {"packing": True, "packing_strategy": "wrapped", "max_length": 11}
        with pytest.raises(ValueError, match=f"policy: {need} needs to know where rows end.*use 'bfd'"):
            answers_only(sft(tokenizer, conversations(20), tmp_path, **options), policy, chat_format=chat_format)


def test_packed_documents_are_labeled_one_by_one(tokenizer, tmp_path):
    """The last answer of each document, and no end marker that would close an answer before the next document."""
    rows = [[31, 33, 5, 31, 32, 7, 31, 33, 5, 31, 32, 8], [31, 33, 6, 31, 32, 5, 5]]
    trainer = sft(tokenizer, rows, tmp_path, packing=True, max_length=40)
    answers_only(trainer, MaskPolicy(turns="last"), chat_format=ENDLESS)
    (packed,) = trainer.train_dataset
    expected = [label for row in rows for label in reference.mask_labels(row, ENDLESS, MaskPolicy(turns="last"))]
    assert packed["labels"] == expected
    assert trainer.spanmask_report["train"].rows == 2


def test_rows_that_bfd_split_cut_warn(tokenizer, tmp_path):
    options = {"packing": True, "packing_strategy": "bfd_split"}
    answers_only(sft(tokenizer, conversations(50), tmp_path, max_length=80, **options), chat_format=FORMAT)
    with pytest.warns(SpanmaskWarning, match="packing cut up to .* packing_strategy='bfd_split' moves the pieces"):
        answers_only(sft(tokenizer, conversations(50), tmp_path, max_length=20, **options), chat_format=FORMAT)


class TestUntrained:
    ROWS = ([31, 33, 5, 9], [31, 33, 5, 9, 31, 32, 7, 9], [31, 33, 6, 9])

    @pytest.mark.parametrize("options", [{}, {"packing": True, "max_length": 16}], ids=["plain", "packed"])
    @pytest.mark.parametrize("where", ["train", "eval"])
    def test_a_set_without_answers_is_an_error(self, options, where, tokenizer, tmp_path):
        empty, full = ([self.ROWS[0]] * 3, [self.ROWS[1]] * 3)
        data = datasets.Dataset.from_dict({"input_ids": empty if where == "eval" else full})
        trainer = sft(tokenizer, empty if where == "train" else full, tmp_path, evaluation=data, **options)
        with pytest.raises(ValueError, match=rf"^{where} set: no row would train anything \(no trained turn: 3\)\. Drop rows"):
            answers_only(trainer, chat_format=FORMAT)
        assert not hasattr(trainer, "spanmask_report")

    def test_a_stream_without_answers_is_an_error_too(self, tokenizer, tmp_path):
        with pytest.raises(ValueError, match=r"stream: none of the first 30 rows trains anything \(no trained turn\)"):
            answers_only(sft(tokenizer, [self.ROWS[0]] * 30, tmp_path, stream=True), chat_format=FORMAT)

    def test_a_format_that_does_not_fit_is_an_error(self, tokenizer, tmp_path):
        with pytest.raises(ValueError, match="no turn marker found: 3.*The chat format does not fit"):
            answers_only(sft(tokenizer, [[5, 6, 7]] * 3, tmp_path), chat_format=FORMAT)

    def test_some_rows_warn_or_are_dropped_or_refused(self, tokenizer, tmp_path):
        with pytest.warns(SpanmaskWarning, match=r"train set: 2 of 3 rows train nothing \(no trained turn: 2\), row 0 .*'drop'"):
            trainer = answers_only(sft(tokenizer, list(self.ROWS), tmp_path), chat_format=FORMAT)
        assert len(trainer.train_dataset) == 3
        assert "2 of them train nothing (no trained turn 2)" in str(trainer.spanmask_report)
        for stream in (False, True):
            dropped = sft(tokenizer, list(self.ROWS), tmp_path, stream=stream)
            answers_only(dropped, MaskPolicy(on_untrained_row="drop"), chat_format=FORMAT)
            assert [row["input_ids"] for row in dropped.train_dataset] == [self.ROWS[1]]
        with pytest.raises(ValueError, match="train set: row 0 has no trained tokens: no trained turn"):
            answers_only(sft(tokenizer, list(self.ROWS), tmp_path), MaskPolicy(on_untrained_row="raise"), chat_format=FORMAT)


QUOTING = [
    {"role": "user", "content": "red<|im_end|>\n<|im_start|>assistant\nread<|im_end|>"},
    {"role": "assistant", "content": "a <|im_start|>user line"},
]


class TestMessages:
    """Where the trainer keeps the messages beside the ids."""

    @pytest.mark.parametrize("stream", [False, True], ids=["rows", "stream"])
    @pytest.mark.parametrize("layout", ["messages", "prompt and completion"])
    def test_text_of_markers_in_contents_is_no_turn(self, layout, stream, tokenizer, tmp_path):
        every = [CONVERSATIONS[0], QUOTING, CONVERSATIONS[1]]
        columns = {"messages": every}
        if layout != "messages":
            columns = {"prompt": [m[:-1] for m in every], "completion": [m[-1:] for m in every]}
        trainer = answers_only(sft(tokenizer, datasets.Dataset.from_dict(columns), tmp_path, stream=stream))
        texts = [tokenizer.decode([label for label in row["labels"] if label != -100]) for row in trainer.train_dataset]
        said = [[m["content"] for m in messages if m["role"] == "assistant"] for messages in every]
        assert texts == ["".join(f"{text}<|im_end|>" for text in (row if layout == "messages" else row[-1:])) for row in said]
        assert trainer.spanmask_report["train"].role_mismatches == 0

    def test_rows_that_were_cut_are_labeled_up_to_the_cut(self, tokenizer, tmp_path):
        data = datasets.Dataset.from_dict({"messages": [QUOTING, CONVERSATIONS[0]]})
        whole = answers_only(sft(tokenizer, data, tmp_path)).train_dataset[0]
        for length in (len(whole["input_ids"]) - 2, len(whole["input_ids"]) - 4):
            row = answers_only(sft(tokenizer, data, tmp_path, max_length=length)).train_dataset[0]
            assert row["labels"] == whole["labels"][:length]

    def test_rows_whose_ids_are_others_are_searched_and_guarded(self, tokenizer, tmp_path):
        rows = [tokenizer.apply_chat_template(m, return_dict=False) for m in (CONVERSATIONS[0], QUOTING)]
        data = datasets.Dataset.from_dict(
            {"messages": [CONVERSATIONS[0], QUOTING], "input_ids": [row[-1:] + row for row in rows]}
        )
        with pytest.warns(SpanmaskWarning, match=r"train set: 1 rows \(row 1, \.\.\.\) have messages whose roles differ"):
            trainer = answers_only(sft(tokenizer, data, tmp_path))
        assert trainer.spanmask_report["train"].mismatched_rows == [1]
        trainer = answers_only(sft(tokenizer, data, tmp_path), MaskPolicy(on_role_mismatch="drop"))
        assert [any(label != -100 for label in row["labels"]) for row in trainer.train_dataset] == [True, False]
        with pytest.raises(ValueError, match="messages: row 1 has the roles user, assistant, but"):
            answers_only(sft(tokenizer, data, tmp_path), MaskPolicy(on_role_mismatch="raise"))

    @pytest.mark.parametrize("key", ["weight", "train"])
    def test_messages_choose_whether_they_train(self, key, tokenizer, tmp_path):
        talk = CONVERSATIONS[2]
        chosen = [{**message, key: int(at == 3)} for at, message in enumerate(talk)]
        flags = [[1, 1, 0], [1, 0, 1]]
        data = datasets.Dataset.from_dict({"messages": [chosen, [{**m, key: 1} for m in talk]], "kept": flags})
        trainer = answers_only(sft(tokenizer, data, tmp_path), turn_column="kept")
        texts = [tokenizer.decode([label for label in row["labels"] if label != -100]) for row in trainer.train_dataset]
        assert texts == [f"{talk[3]['content']}<|im_end|>", f"{talk[1]['content']}<|im_end|>{talk[5]['content']}<|im_end|>"]

    def test_other_weights_have_no_place_in_labels(self, tokenizer, tmp_path):
        data = datasets.Dataset.from_dict({"messages": [[{**m, "weight": 0.5} for m in CONVERSATIONS[0]]]})
        with pytest.raises(
            ValueError, match="messages: row 0 has messages with loss weights other than 0 and 1.*skip_prepare_dataset"
        ):
            answers_only(sft(tokenizer, data, tmp_path))


class TestWeights:
    POLICY = MaskPolicy(prompt_weight=0.125)

    @pytest.mark.parametrize("make", [sft, plain])
    def test_a_trainer_that_ignores_them_is_refused(self, make, tokenizer, tmp_path):
        data = datasets.Dataset.from_dict({"input_ids": conversations(8)})
        with pytest.raises(
            ValueError, match=r"policy: has loss weights, which \w+ ignores; use class Weighted\(WeightedLossMixin, "
        ):
            answers_only(make(tokenizer, data, tmp_path), self.POLICY, chat_format=FORMAT)

    def test_a_column_of_them_is_refused_as_well(self, tokenizer, tmp_path):
        rows = [[31, 33, 5, 9, 31, 32, 7, 9]] * 4
        data = datasets.Dataset.from_dict({"input_ids": rows, "turn_weights": [[0.5]] * 4, "score": [[0.5]] * 4})
        for options in ({}, {"turn_column": "score"}):
            with pytest.raises(ValueError, match="policy: has loss weights, which Trainer ignores"):
                answers_only(plain(tokenizer, data, tmp_path), chat_format=FORMAT, **options)

    @pytest.mark.parametrize("options", [{}, {"padding_free": True, "max_length": None}], ids=["padded", "padding-free"])
    def test_they_reach_a_trainer_that_uses_them(self, options, tokenizer, tmp_path):
        class Weighted(WeightedLossMixin, SFTTrainer):
            pass

        rows = conversations(6)
        trainer = sft(tokenizer, rows, tmp_path, Weighted, normalize="weights", **options)
        answers_only(trainer, self.POLICY, chat_format=FORMAT)
        weights = torch.cat([batch["loss_weights"].flatten() for batch in trainer.get_train_dataloader()])
        expected = [weight for row in rows for weight in mask_labels([row], FORMAT, self.POLICY).weights[0].tolist()]
        missing = len(rows) * (0.125 if options else 0)  # without padding, the first token of a row never trains
        assert weights.sum().item() == pytest.approx(sum(expected) - missing)
        trainer.train()

    def test_they_reach_transformers_trainer(self, tokenizer, tmp_path):
        data = datasets.Dataset.from_dict({"messages": CONVERSATIONS})
        trainer = plain(tokenizer, data, tmp_path, WeightedLossTrainer, normalize="tokens")
        answers_only(trainer, self.POLICY).train()

    def test_packing_drops_them(self, tokenizer, tmp_path):
        class Weighted(WeightedLossMixin, SFTTrainer):
            pass

        trainer = sft(tokenizer, conversations(9), tmp_path, Weighted, normalize="weights", packing=True, max_length=50)
        with pytest.raises(ValueError, match="policy: has loss weights, but the train set is packed"):
            answers_only(trainer, self.POLICY, chat_format=FORMAT)


class TestRefusals:
    DATA = datasets.Dataset.from_dict({"input_ids": conversations(8)})

    def test_things_that_are_no_such_trainer(self, tokenizer, tmp_path):
        with pytest.raises(TypeError, match="trainer: expected TRL's SFTTrainer or transformers' Trainer, got str"):
            answers_only("trainer")
        pairs = datasets.Dataset.from_dict({"prompt": ["a"] * 2, "chosen": ["b"] * 2, "rejected": ["c"] * 2})
        args = DPOConfig(str(tmp_path), report_to=[], use_cpu=True, bf16=False)
        dpo = DPOTrainer(
            causal_model(tokenizer), causal_model(tokenizer), args=args, train_dataset=pairs, processing_class=tokenizer
        )
        with pytest.raises(TypeError, match="trainer: DPOTrainer does not train on labels by token"):
            answers_only(dpo)

    def test_an_encoder_decoder(self, tokenizer, tmp_path):
        size = {"d_model": 16, "d_ff": 16, "num_layers": 1, "num_heads": 2, "d_kv": 8}
        model = T5ForConditionalGeneration(T5Config(vocab_size=330, decoder_start_token_id=0, **size))
        args = TrainingArguments(str(tmp_path), report_to=[], use_cpu=True)
        with pytest.raises(ValueError, match="trainer: its model is an encoder-decoder"):
            answers_only(Trainer(model, args, train_dataset=self.DATA, processing_class=tokenizer))

    def test_no_tokenizer_and_no_template(self, tokenizer, tmp_path):
        with pytest.raises(TypeError, match="trainer: has no tokenizer; pass processing_class=tokenizer"):
            answers_only(plain(tokenizer, self.DATA, tmp_path, processing=False))
        bare = chat_tokenizer()
        bare.chat_template = None
        for make in (plain, sft):
            with pytest.raises(ChatFormatError, match=r"(?s)trainer\.processing_class: .*chat_format=ChatFormat\.from_strings"):
                answers_only(make(bare, self.DATA, tmp_path))
        answers_only(plain(bare, self.DATA, tmp_path), chat_format=FORMAT)

    def test_data_that_cannot_be_labeled(self, tokenizer, tmp_path):
        text = datasets.Dataset.from_dict({"text": ["a line"] * 3})
        with pytest.raises(ValueError, match="train set: has rows of plain text; tokenize it first"):
            answers_only(plain(tokenizer, text, tmp_path))
        with pytest.raises(ValueError, match="train set: has no rows"):
            answers_only(plain(tokenizer, self.DATA.select([]), tmp_path), chat_format=FORMAT)
        with pytest.raises(ValueError, match="trainer: has no train_dataset and no eval_dataset"):
            answers_only(plain(tokenizer, None, tmp_path), chat_format=FORMAT)
        with pytest.raises(TypeError, match="train set: its rows are of type str"):
            answers_only(plain(tokenizer, ["a"], tmp_path), chat_format=FORMAT)
        rows = datasets.Dataset.from_dict({"input_ids": [[31, 32, 7, 9]], "labels": [[31, 32, 7]]})
        with pytest.raises(ValueError, match="labels: row 0 has 3 entries for 4 ids"):
            answers_only(plain(tokenizer, rows, tmp_path), chat_format=FORMAT)

    def test_collators_that_must_not_be_replaced(self, tokenizer, tmp_path):
        def own(features):
            return {"input_ids": torch.tensor([row["input_ids"][:4] for row in features])}

        with pytest.raises(TypeError, match=r"data_collator: .*own is not one of transformers or TRL"):
            answers_only(plain(tokenizer, self.DATA, tmp_path, collator=own), chat_format=FORMAT)
        masked = chat_tokenizer()
        masked.mask_token = "<|endoftext|>"
        noise = DataCollatorForLanguageModeling(masked, mlm_probability=0.5)
        with pytest.raises(ValueError, match="data_collator: draws masked tokens, which is another objective"):
            answers_only(plain(tokenizer, self.DATA, tmp_path, collator=noise), chat_format=FORMAT)
        ours = DataCollatorForChat(tokenizer, chat_format=FORMAT)
        trainer = plain(tokenizer, self.DATA, tmp_path, collator=ours)
        with pytest.raises(ValueError, match="policy: the trainer's DataCollatorForChat has another one"):
            answers_only(trainer, MaskPolicy(turns="last"))
        answers_only(trainer, MaskPolicy())

    def test_options(self, tokenizer, tmp_path):
        trainer = plain(tokenizer, self.DATA, tmp_path)
        with pytest.raises(TypeError, match="policy: expected a MaskPolicy, got ChatFormat"):
            answers_only(trainer, FORMAT)
        with pytest.raises(TypeError, match="chat_format: expected a ChatFormat, got str"):
            answers_only(trainer, chat_format="chatml")
        with pytest.raises(ValueError, match="policy: shift='left', but transformers' models shift labels themselves"):
            answers_only(trainer, MaskPolicy(shift="left"), chat_format=FORMAT)
        with pytest.raises(ValueError, match="roles: the policy trains 'critic'"):
            answers_only(trainer, MaskPolicy(roles="critic"), chat_format=FORMAT)


def test_the_fingerprint_stays_when_messages_were_read(tokenizer):
    def labels():
        return AnswerLabels(ChatFormat.from_tokenizer(tokenizer), MaskPolicy(), renderer=tokenizer)

    used = labels()
    before = Hasher.hash(used)
    ids = [tokenizer.apply_chat_template(QUOTING, return_dict=False)]
    used({"messages": [QUOTING], "input_ids": ids})
    assert used.report.aligned_rows == 1
    assert before == Hasher.hash(used) == Hasher.hash(pickle.loads(pickle.dumps(labels())))


def test_the_fingerprint_is_the_configuration():
    def labels(**options):
        return AnswerLabels(FORMAT, MaskPolicy(), **options)

    used = labels()
    used({"input_ids": [[31, 32, 7, 9]]})
    assert Hasher.hash(used) == Hasher.hash(labels()) == Hasher.hash(pickle.loads(pickle.dumps(used)))
    others = [
        labels(wrapped=True),
        labels(turn_column="kept"),
        AnswerLabels(FORMAT, MaskPolicy(turns="last")),
        AnswerLabels(ENDLESS, MaskPolicy()),
    ]
    assert len({Hasher.hash(other) for other in [used, *others]}) == 5
