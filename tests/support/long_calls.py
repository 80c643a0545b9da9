"""Every call that reads rows, on rows of any number and length, for tests of interrupts, memory and scale."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from spanmask import (
    ChatFormat,
    DataCollatorForChat,
    DataCollatorForFillInTheMiddle,
    DataCollatorForMaskedDiffusion,
    DataCollatorForMaskedLM,
    DataCollatorForSpanCorruption,
    DataCollatorForTextInfilling,
    FillInTheMiddle,
    MaskedDiffusion,
    MaskedLM,
    MaskPolicy,
    Ragged,
    RoleBoundary,
    SpanCorruption,
    TextInfilling,
    corrupt,
    diffuse,
    fill_in_the_middle,
    find_turns,
    infill,
    mask_labels,
    mask_tokens,
    merge,
)
from support.denoising import bert_tokenizer
from support.letters import Letters

FORMAT = ChatFormat([RoleBoundary("assistant", [5, 6], [2]), RoleBoundary("user", [5, 7], [2])])
SPANS = SpanCorruption(range(60_000, 60_004), 1, on_exhausted="fewer_spans")
MANY_SPANS = SpanCorruption(range(60_000, 65_000), 1, on_exhausted="merge_last", protected_ids=[11])


def rows_of(count: int, length: int) -> Ragged:
    """Rows of uint16 ids, with turns of a thousand tokens or so."""
    values = np.arange(count * length, dtype=np.uint16) % np.uint16(997) + np.uint16(10)
    for at, marker in enumerate((5, 6)):
        values[at::1024] = marker
    values[1000::1024] = 2
    return Ragged(values, np.arange(count + 1) * length)


def calls(rows: Ragged) -> dict[str, Callable[[], Any]]:
    """By name: calls that read all of these rows."""
    features = [{"input_ids": row} for row in rows]
    options = {"tokenizer": Letters(), "return_tensors": "np"}
    seeded = {**options, "seed": 0}
    transformers = {**seeded, "tokenizer": bert_tokenizer(100)}
    flags = cache(lambda: Ragged(rows.values > 900, rows.offsets))
    corrupted = cache(lambda: corrupt(rows, SPANS))
    return {
        "mask_labels": lambda: mask_labels(rows, FORMAT, MaskPolicy(role_weights={"assistant": 0.5})),
        "mask_labels_ignoring": lambda: mask_labels(rows, FORMAT, MaskPolicy(ignore_ids=[12, 700])),
        "find_turns": lambda: find_turns(rows, FORMAT),
        "corrupt": lambda: corrupt(rows, SPANS),
        "corrupt_protected": lambda: corrupt(rows, MANY_SPANS),
        "corrupt_given": lambda: corrupt(rows, MANY_SPANS, noise_mask=flags()),
        "merge": lambda: merge(corrupted().input_ids, corrupted().labels, SPANS),
        "mask_tokens": lambda: mask_tokens(rows, MaskedLM(4, 60_000, special_ids=[11])),
        "mask_words": lambda: mask_tokens(rows, MaskedLM(4, 60_000, whole_word_mask=True), word_starts=flags()),
        "infill": lambda: infill(rows, TextInfilling(4, special_ids=[11])),
        "fill_in_the_middle": lambda: fill_in_the_middle(rows, FillInTheMiddle(60_001, 60_002, 60_003, boundary_ids=[11])),
        "diffuse": lambda: diffuse(rows, MaskedDiffusion(4, special_ids=[11])),
        "from_rows": lambda: Ragged.from_rows(list(rows)),
        "to_padded": lambda: rows.to_padded(0),
        "chat_collator": lambda: DataCollatorForChat(**options, chat_format=FORMAT)(features),
        "masked_lm_collator": lambda: DataCollatorForMaskedLM(**seeded, spec=MaskedLM(4, 60_000))(features),
        "span_collator": lambda: DataCollatorForSpanCorruption(**seeded, spec=SPANS)(features),
        "infill_collator": lambda: DataCollatorForTextInfilling(**seeded, spec=TextInfilling(4))(features),
        "fim_collator": lambda: DataCollatorForFillInTheMiddle(**seeded, spec=FillInTheMiddle(60_001, 60_002, 60_003))(features),
        "diffusion_collator": lambda: DataCollatorForMaskedDiffusion(**transformers, spec=MaskedDiffusion(4))(features),
    }
