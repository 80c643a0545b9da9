"""`collator.preview`: what the function `preview` shows, with what the collator knows; the run is as if nobody had looked."""

import numpy as np
import pytest
import torch
from spanmask import (
    DataCollatorForChat,
    DataCollatorForMaskedLM,
    DataCollatorForSpanCorruption,
    DataCollatorForTextInfilling,
    MaskPolicy,
    SpanmaskWarning,
    preview,
)
from support.denoising import bert_tokenizer, t5_tokenizer
from support.tiny_models import CONVERSATIONS, chat_tokenizer

TOKENIZER = chat_tokenizer()
ROWS = [{"messages": messages} for messages in CONVERSATIONS[:3]]
UNANSWERED = [{"messages": CONVERSATIONS[0][:1]}]
NUMBERS = [{"input_ids": list(range(3, 30))}, {"input_ids": list(range(4, 16))}]


def chat(**options):
    return DataCollatorForChat(TOKENIZER, **options)


class TestChats:
    def test_examples_and_their_batch_look_alike_with_roles(self):
        made = chat()
        shown = made.preview(ROWS).to_text()
        batch = made(ROWS)
        assert (
            shown == made.preview(batch).to_text() == preview(batch, tokenizer=TOKENIZER, chat_format=made.chat_format).to_text()
        )
        assert "assistant | " in shown
        assert "[[" in shown

    @pytest.mark.parametrize(
        "options",
        [
            {"label_pad_token_id": -1},
            {"policy": MaskPolicy(shift="left")},
            {"padding_free": True},
            {"padding_side": "left"},
            {"return_tensors": "np"},
            {"policy": MaskPolicy(role_weights={"assistant": 0.5}), "weight_key": "importance"},
            {"policy": MaskPolicy(role_weights={"assistant": 0.5}), "weight_key": "importance", "padding_free": True},
        ],
        ids=str,
    )
    def test_every_option_that_changes_labels_is_known(self, options):
        made = chat(**options)
        plain = chat(
            policy=MaskPolicy(role_weights={"assistant": 0.5}) if "weight_key" in options else None, weight_key="loss_weights"
        )
        assert made.preview(ROWS).to_text() == made.preview(made(ROWS)).to_text() == plain.preview(ROWS).to_text()

    def test_options_of_preview_are_passed_on(self):
        shown = chat().preview(ROWS, max_rows=1, chat_format=None)
        assert (len(shown.rows), shown.hidden) == (1, 2)
        assert "assistant | " not in shown.to_text()

    def test_looking_counts_nowhere_and_keeps_the_first_warning(self):
        made = chat(on_untrained_batch="raise")
        with pytest.warns(SpanmaskWarning, match="1 of 1 rows in a batch have no trained tokens"):
            assert "0 trained" in made.preview(UNANSWERED).to_text()
        assert (made.report.rows, made.counts.rows) == (0, 0)
        with pytest.warns(SpanmaskWarning, match="1 of 4 rows in a batch have no trained tokens"):
            made([*ROWS, *UNANSWERED])
        with pytest.raises(ValueError, match="no row in this batch has any trained tokens"):
            made(UNANSWERED)

    def test_a_batch_with_labels_is_not_masked_again(self):
        made, batch = chat(), chat()(ROWS)
        batch["labels"] = torch.full_like(batch["labels"], -100)
        assert "[[" not in made.preview(batch).to_text()

    def test_bad_examples_raise_as_in_a_call(self):
        with pytest.raises(ValueError, match="features: the batch is empty"):
            chat().preview([])


class TestNoise:
    @pytest.mark.parametrize("seed", [7, None])
    @pytest.mark.parametrize("kind", ["masked", "spans", "infilled"])
    def test_the_noise_of_the_epoch_without_a_trace(self, kind, seed):
        def collator(seed):
            if kind == "masked":
                return DataCollatorForMaskedLM(bert_tokenizer(), mlm_probability=0.4, seed=seed, on_repeat="raise")
            if kind == "infilled":
                return DataCollatorForTextInfilling(bert_tokenizer(), mask_ratio=0.4, seed=seed, on_repeat="raise")
            return DataCollatorForSpanCorruption(t5_tokenizer(["a"] * 60), noise_density=0.4, seed=seed, on_repeat="raise")

        made, other = collator(seed), collator(0 if seed is None else seed)
        made.set_epoch(3)
        other.set_epoch(3)
        state = torch.get_rng_state()
        first, second = (made.preview(NUMBERS).to_text() for _ in range(2))  # no repeat is reported
        assert torch.equal(torch.get_rng_state(), state)
        assert first == second == made.preview(other(NUMBERS)).to_text()
        made(NUMBERS)
        assert (made.seed, made.epoch, made.on_repeat) == (seed, 3, "raise")

    def test_replaced_tokens_and_targets_are_shown(self):
        masked = DataCollatorForMaskedLM(bert_tokenizer(), mlm_probability=0.5, seed=1).preview(NUMBERS)
        assert "[MASK] -> " in masked.to_text()

    def test_a_decoder_s_target_as_wide_as_the_input_is_a_target(self):
        tokenizer = t5_tokenizer(["a"] * 60)
        made = DataCollatorForSpanCorruption(tokenizer, seed=1, inputs_length=20, targets_length=20, layout="uniform")
        batch = {name: np.asarray(value) for name, value in made([{"input_ids": list(range(3, 18))}]).items()}
        assert batch["input_ids"].shape == batch["labels"].shape
        assert made.preview(batch).to_text() == preview(batch, tokenizer=tokenizer, decoder=True).to_text()
