"""What may be passed (kinds of rows, batches, columns), and errors."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from spanmask import (
    DataCollatorForChat,
    MaskedLM,
    MaskPolicy,
    Ragged,
    SpanCorruption,
    corrupt,
    encode_chat,
    mask_labels,
    mask_tokens,
    preview,
)
from spanmask.preview.inputs import PreviewInputs
from support.previews import SHOWN, body
from support.tiny_models import CONVERSATIONS, chat_tokenizer


@pytest.mark.parametrize(
    "as_rows",
    [
        lambda row: row,
        lambda row: [row],
        lambda row: tuple(row),
        np.array,
        torch.tensor,
        lambda row: torch.tensor([row]),
        lambda row: np.array([row], np.int32),
        lambda row: [torch.tensor(row)],
        lambda row: Ragged.from_rows([row]),
        lambda row: pa.array([row]),
    ],
    ids=["row", "rows", "tuple", "1-D", "tensor", "2-D tensor", "2-D", "tensors", "Ragged", "Arrow"],
)
def test_rows_of_any_kind_look_alike(tokenizer, row, labels, as_rows):
    assert body(preview(as_rows(row), as_rows(labels), tokenizer)) == SHOWN


def test_results_supply_their_labels_and_weights():
    tokenizer = chat_tokenizer()
    encoded = encode_chat(tokenizer, CONVERSATIONS[:2], MaskPolicy(prompt_weight=0.25))
    assert encoded.weights is not None
    separate = preview(encoded.input_ids, encoded.labels, tokenizer, weights=encoded.weights)
    assert preview(encoded, tokenizer=tokenizer).to_html() == separate.to_html()
    rows = np.array(encoded.input_ids.to_list()[0])[None]
    masked = mask_tokens(rows, MaskedLM(mask_token_id=3, vocab_size=len(tokenizer)), seed=1)
    assert preview(masked, tokenizer=tokenizer).to_text() == preview(masked.input_ids, masked.labels, tokenizer).to_text()
    corrupted = corrupt(rows, SpanCorruption(sentinel_ids=[9, 8, 7], noise_density=0.2, mean_noise_span_length=20.0), seed=1)
    assert "target | [[" in preview(corrupted, tokenizer=tokenizer).to_text()


def test_a_batch_supplies_its_own_columns(tokenizer, row, chat_format):
    collator = DataCollatorForChat(tokenizer, chat_format=chat_format, padding_side="left")
    batch = collator([{"input_ids": row}, {"input_ids": [*row, *row]}])
    first, second = preview(batch, tokenizer=tokenizer).to_text().split("\n\n")
    assert first.partition("\n")[2] == SHOWN
    assert second.partition("\n")[2] == SHOWN + SHOWN
    assert "<pad>" in preview(batch["input_ids"], batch["labels"], tokenizer).to_text()  # without a mask nothing is padding


def test_concatenated_rows_are_split(tokenizer, row, chat_format):
    batch = DataCollatorForChat(tokenizer, chat_format=chat_format, padding_free=True)([{"input_ids": row}, {"input_ids": row}])
    assert [part.partition("\n")[2] for part in preview(batch, tokenizer=tokenizer).to_text().split("\n\n")] == [SHOWN, SHOWN]


def test_the_result_of_mask_labels_supplies_its_weights(tokenizer, row, chat_format):
    out = mask_labels([row], chat_format, MaskPolicy(role_weights={"assistant": 0.5}))
    assert body(preview([row], out, tokenizer)) == SHOWN.replace("[[", "[[0.5: ")


def test_shifted_labels_are_shown_on_their_tokens(tokenizer, row, chat_format):
    out = mask_labels([row], chat_format, MaskPolicy(shift="left"))
    assert body(preview([row], out, tokenizer, shift="left")) == SHOWN
    assert " -> " in body(preview([row], out, tokenizer))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([1, 2], [1, 2], None), TypeError, "tokenizer: None; pass the tokenizer"),
        (([1, 2], [1, 2], object()), TypeError, "tokenizer: expected a tokenizer with decode"),
        (([1, 2], None, "tokenizer"), TypeError, "labels: None; pass the rows' labels"),
        (({"ids": [1]}, None, "tokenizer"), TypeError, "rows: the batch has no 'input_ids', only 'ids'"),
        (([1.5], [1], "tokenizer"), TypeError, "rows: row 0: expected integer token ids"),
        (("text", [1], "tokenizer"), TypeError, "rows: expected token ids"),
        (([[[1]]], [1], "tokenizer"), ValueError, r"rows: row 0 has shape \(1, 1\)"),
        (([[1], [2]], [[1]], "tokenizer"), ValueError, "labels: 1 rows for 2 rows of ids"),
    ],
)
def test_bad_arguments(tokenizer, arguments, error, message):
    rows, labels, decoder = arguments
    with pytest.raises(error, match=message):
        preview(rows, labels, tokenizer if decoder == "tokenizer" else decoder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": [1.0]}, "weights: row 0 has 1 entries for 2 ids"),
        ({"attention_mask": [1]}, "attention_mask: row 0 has 1 entries for 2 ids"),
        ({"decoder": False, "labels": [1]}, "labels: row 0 has 1 entries for 2 ids"),
    ],
)
def test_columns_of_the_wrong_length(tokenizer, options, message):
    with pytest.raises(ValueError, match=message):
        preview([5, 6], **{"labels": [5, 6], **options}, tokenizer=tokenizer)


@pytest.mark.parametrize(
    ("batch", "expected"),
    [
        # Labels are the targets of a decoder, in a batch that is as wide.
        ({"input_ids": [[5, 4, 0]], "attention_mask": [[1, 1, 0]], "labels": [[5, 6, 7]]}, True),
        ({"input_ids": [[0, 5, 4]], "attention_mask": [[0, 1, 1]], "labels": [[5, 6, -100]]}, True),
        ({"input_ids": [[5, 4, 7]], "labels": [[5, 6, 7]], "decoder_input_ids": [[2, 5, 6]]}, True),
        # Labels are aligned; in the second batch, padding trains by mistake.
        ({"input_ids": [[5, 4, 0]], "attention_mask": [[1, 1, 0]], "labels": [[-100, 6, -100]]}, False),
        ({"input_ids": [[5, 6, 0]], "attention_mask": [[1, 1, 0]], "labels": [[5, 6, 0]]}, False),
        ({"input_ids": [[5, 4, 7]], "labels": [[5, 6, 7]]}, False),
    ],
)
def test_batches_of_encoder_decoders_are_recognized(batch, expected):
    assert PreviewInputs.read(batch, None, None, None).is_encoder_decoder(-100) == expected
