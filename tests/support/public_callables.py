"""Every public callable of spanmask with arguments that it takes, for tests that replace some of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import spanmask
from spanmask import (
    ChatFormat,
    DataCollatorForChat,
    DataCollatorForMaskedLM,
    DataCollatorForSpanCorruption,
    DataCollatorForVisionChat,
    Denoiser,
    DenoiserMixture,
    MaskedLM,
    MaskPolicy,
    Ragged,
    RoleBoundary,
    SpanCorruption,
    Turns,
    corrupt,
)

FORMAT = ChatFormat([RoleBoundary("assistant", [5, 6], [2]), RoleBoundary("user", [5, 7], [2])])
ROW = [5, 7, 8, 2, 5, 6, 9, 2]
ROWS = [ROW, ROW * 2]
FLAGS = [[False] * len(row) for row in ROWS]
SENTINELS = range(20, 40)
SPEC = SpanCorruption(SENTINELS)
MASKED = MaskedLM(4, 100)
MIDDLE = spanmask.FillInTheMiddle(prefix_id=90, middle_id=91, suffix_id=92)
DIFFUSION = spanmask.MaskedDiffusion(mask_token_id=4)
INFILLING = spanmask.TextInfilling(mask_token_id=4)
DONE = corrupt(ROWS, SPEC, seed=0)
MESSAGES = [[{"role": "user", "content": "w1"}, {"role": "assistant", "content": "w2"}]] * 2
COLUMNS = {
    "chat": {
        "input_ids": ROWS,
        "attention_mask": [[1] * len(row) for row in ROWS],
        "labels": ROWS,
        "turn_mask": [[1], [1, 0]],
        "messages": MESSAGES,
        "extra": [1, 2],
    },
    "spans": {
        "input_ids": ROWS,
        "attention_mask": [[1] * len(row) for row in ROWS],
        "special_tokens_mask": FLAGS,
        "word_ids": ROWS,
        "noise_density": [0.2, 0.3],
        "key": [1, 2],
    },
    "fim": {"input_ids": ROWS, "attention_mask": [[1] * len(row) for row in ROWS], "rate": [0.2, 0.3]},
    "diffusion": {
        "input_ids": ROWS,
        "attention_mask": [[1] * len(row) for row in ROWS],
        "labels": ROWS,
        "mask_ratio": [0.2, 0.3],
    },
    "infill": {"input_ids": ROWS, "word_ids": ROWS, "sentence_starts": FLAGS, "mask_ratio": [0.2, 0.3]},
    "masked": {
        "input_ids": ROWS,
        "protected_mask": FLAGS,
        "word_starts": FLAGS,
        "mlm_probability": [0.2, 0.3],
        "key": ["a", "b"],
    },
}


class Letters:
    """The least that a tokenizer must have."""

    pad_token_id, eos_token_id, bos_token_id, mask_token_id = 0, 1, None, 4
    padding_side = "right"
    all_special_ids, all_special_tokens = (0,), ("<pad>",)

    def __len__(self) -> int:
        return 100

    def decode(self, ids: Any, **options: Any) -> str:
        return " ".join(map(str, ids))

    def get_vocab(self) -> dict[str, int]:
        return {"<pad>": 0, **{f"<extra_id_{n}>": n + 20 for n in range(20)}}


class Case(NamedTuple):
    """A callable, arguments that it takes, and the parameters that may be replaced."""

    call: Callable[..., Any]
    good: dict[str, Any]
    parameters: tuple[str, ...]
    words: tuple[str, ...]  # one of these is in each error message


def case(call: Callable[..., Any], words: tuple[str, ...] = (), fixed: tuple[str, ...] = (), **good: Any) -> Case:
    """A case whose parameters are read from the signature, except the `fixed` ones."""
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    names = [name for name, parameter in inspect.signature(call).parameters.items() if parameter.kind not in kinds]
    return Case(call, good, tuple(name for name in names if name not in fixed), (*names, *words))


def collated(kind: type, columns: str, **options: Any) -> Case:
    """A collator: options are replaced, then a batch is made. `features` are its columns."""
    named = COLUMNS[columns]

    def call(features: Any = named, **replaced: Any) -> Any:
        return kind(**{**options, **replaced})(features)

    # `prepare` is a function of the caller's: its own errors pass through.
    names = [name for name in inspect.signature(kind).parameters if name not in ("tokenizer", "prepare")]
    return Case(call, {}, (*names, "features"), (*names, "features", *named, "messages", "rows", "spec", "policy", "tokenizer"))


def columns_of(kind: type, columns: str, **options: Any) -> Case:
    """A collator whose options are good: columns of the batch are replaced."""
    collator = kind(**options)
    named = COLUMNS[columns]

    def call(**replaced: Any) -> Any:
        return collator({**named, **replaced})

    return Case(call, {}, tuple(named), (*named, "features", "messages", "key_column", "keep_columns", "keys"))


TOKENIZER = Letters()
CHAT = {"tokenizer": TOKENIZER, "chat_format": FORMAT, "return_tensors": "np", "on_untrained_batch": "ignore"}
NOISE = {"tokenizer": TOKENIZER, "seed": 0, "return_tensors": "np", "on_repeat": "ignore"}
TURNS = {
    "row": [0],
    "role": [0],
    "start": [4],
    "content_start": [6],
    "content_stop": [7],
    "stop": [8],
    "closed": [True],
    "roles": ("assistant",),
}


def cases(t5: Any, chat: Any, processor: Any) -> dict[str, Case]:
    """All cases, by name; the part before a dot is the public name. `t5`, `chat`: tokenizers; `processor`: of a vision model."""
    return {
        "ChatFormat": case(ChatFormat, ("start", "end"), boundaries=FORMAT.boundaries),
        "ChatFormat.from_strings": case(
            ChatFormat.from_strings, ("assistant", "role"), ("tokenizer",), tokenizer=chat, assistant=("A:", "</s>")
        ),
        "DataCollatorForChat": collated(DataCollatorForChat, "chat", **CHAT),
        "DataCollatorForChat.columns": columns_of(DataCollatorForChat, "chat", **CHAT, keep_columns=["extra"]),
        "DataCollatorForMaskedLM": collated(DataCollatorForMaskedLM, "masked", **NOISE, mask_token_id=4, vocab_size=100),
        "DataCollatorForMaskedLM.columns": columns_of(DataCollatorForMaskedLM, "masked", **NOISE, spec=MASKED, key_column="key"),
        "DataCollatorForSpanCorruption": collated(DataCollatorForSpanCorruption, "spans", **NOISE, sentinel_ids=SENTINELS),
        "DataCollatorForSpanCorruption.columns": columns_of(
            DataCollatorForSpanCorruption, "spans", **NOISE, spec=SPEC, key_column="key"
        ),
        "DataCollatorForSpanCorruption.set_epoch": case(DataCollatorForSpanCorruption(**NOISE, spec=SPEC).set_epoch, epoch=1),
        "DataCollatorForSpanCorruption.load_state_dict": case(
            DataCollatorForSpanCorruption(**NOISE, spec=SPEC).load_state_dict,
            ("seed", "epoch", "state_dict"),
            state={"seed": 1, "epoch": 2, "algorithm": 1},
        ),
        "DataCollatorForVisionChat": Case(
            lambda **options: DataCollatorForVisionChat(
                **{"processor": processor, "chat_format": FORMAT, "return_tensors": "np", **options}
            ),
            {},
            tuple(name for name in inspect.signature(DataCollatorForVisionChat).parameters if name != "processor"),
            tuple(inspect.signature(DataCollatorForVisionChat).parameters),
        ),
        "CosineRate": case(spanmask.CosineRate, start=0.3, stop=0.1, steps=10),
        "DataCollatorForFillInTheMiddle": collated(spanmask.DataCollatorForFillInTheMiddle, "fim", **NOISE, spec=MIDDLE),
        "DataCollatorForFillInTheMiddle.columns": columns_of(
            spanmask.DataCollatorForFillInTheMiddle, "fim", **NOISE, spec=MIDDLE
        ),
        "DataCollatorForTextInfilling": collated(spanmask.DataCollatorForTextInfilling, "infill", **NOISE, spec=INFILLING),
        "DataCollatorForTextInfilling.columns": columns_of(
            spanmask.DataCollatorForTextInfilling, "infill", **NOISE, spec=INFILLING
        ),
        "DataCollatorForMaskedDiffusion": collated(
            spanmask.DataCollatorForMaskedDiffusion, "diffusion", **{**NOISE, "tokenizer": chat}, spec=DIFFUSION
        ),
        "DataCollatorForMaskedDiffusion.columns": columns_of(
            spanmask.DataCollatorForMaskedDiffusion, "diffusion", **{**NOISE, "tokenizer": chat}, spec=DIFFUSION
        ),
        "MaskedDiffusion": case(spanmask.MaskedDiffusion, mask_token_id=4),
        "diffuse": case(spanmask.diffuse, rows=ROWS, spec=DIFFUSION),
        "FillInTheMiddle": case(spanmask.FillInTheMiddle, prefix_id=90, middle_id=91, suffix_id=92),
        "LinearRate": case(spanmask.LinearRate, start=0.3, stop=0.1, steps=10),
        "TextInfilling": case(spanmask.TextInfilling, mask_token_id=4),
        "fill_in_the_middle": case(spanmask.fill_in_the_middle, rows=ROWS, spec=MIDDLE),
        "infill": case(spanmask.infill, rows=ROWS, spec=INFILLING),
        "Denoiser": case(Denoiser),
        "DenoiserMixture": case(DenoiserMixture, denoisers=[Denoiser()], weights=[1.0], sentinel_ids=SENTINELS),
        "MaskPolicy": case(MaskPolicy),
        "DenoiserMixture.ul2": case(DenoiserMixture.ul2, ("sentinel", "mode_token"), ("tokenizer",), tokenizer=t5),
        "FillInTheMiddle.from_tokenizer": case(
            spanmask.FillInTheMiddle.from_tokenizer, (), ("tokenizer",), tokenizer=t5, prefix_id=90, middle_id=91, suffix_id=92
        ),
        "MaskedDiffusion.from_tokenizer": case(
            spanmask.MaskedDiffusion.from_tokenizer, (), ("tokenizer",), tokenizer=t5, mask_token_id=4
        ),
        "MaskedLM.from_tokenizer": case(
            MaskedLM.from_tokenizer, (), ("tokenizer",), tokenizer=t5, mask_token_id=4, whole_word_mask=True
        ),
        "SpanCorruption.from_tokenizer": case(SpanCorruption.from_tokenizer, ("sentinel",), ("tokenizer",), tokenizer=t5),
        "TextInfilling.from_tokenizer": case(
            spanmask.TextInfilling.from_tokenizer, (), ("tokenizer",), tokenizer=t5, mask_token_id=4, random_ratio=0.1
        ),
        "MaskReport": case(spanmask.MaskReport),
        "MaskedLM": case(MaskedLM, mask_token_id=4, vocab_size=100),
        "Ragged": case(Ragged, values=[1, 2], offsets=[0, 2]),
        "Ragged.from_rows": case(Ragged.from_rows, ("rows",), ("name",), rows=ROWS),
        "Ragged.to_padded": case(Ragged.from_rows(ROWS).to_padded, value=0),
        "RoleBoundary": case(RoleBoundary, role="assistant", start=[1]),
        "SpanCorruption": case(SpanCorruption, sentinel_ids=SENTINELS),
        "Turns": case(Turns, ("columns",), ("_view",), **TURNS),
        "Turns.from_lengths": case(Turns.from_lengths, prompt_lengths=[2], row_lengths=[4]),
        "Turns.from_segments": case(Turns.from_segments, lengths=[[2, 2]], roles=["user", "assistant"]),
        "audit": case(
            spanmask.audit,
            ("no such file",),
            ("tokenizer", "progress"),  # a function of the caller's: its own errors pass through
            data=[{"input_ids": row} for row in ROWS],
            tokenizer=TOKENIZER,
            chat_format=FORMAT,
        ),
        "corrupt": case(corrupt, rows=ROWS, spec=SPEC),
        "denoise": case(
            spanmask.denoise, ("sentinel",), ("tokenizer",), tokenizer=t5, text="The cute dog walks in the green park"
        ),
        "encode_chat": case(
            spanmask.encode_chat, ("messages", "features", "roles"), ("tokenizer",), tokenizer=chat, conversations=MESSAGES
        ),
        "find_turns": case(spanmask.find_turns, rows=ROWS, chat_format=FORMAT),
        "mask_labels": case(spanmask.mask_labels, rows=ROWS, chat_format_or_turns=FORMAT),
        "mask_tokens": case(spanmask.mask_tokens, rows=ROWS, spec=MASKED),
        "merge": case(spanmask.merge, ("rows",), input_ids=DONE.input_ids, labels=DONE.labels, spec=SPEC),
        "plan_lengths": case(spanmask.plan_lengths, inputs_length=512, noise_density=0.15, mean_noise_span_length=3.0),
        "preview": case(spanmask.preview, ("input_ids",), rows=ROWS, labels=ROWS, tokenizer=TOKENIZER),
        "response_mask": case(spanmask.response_mask, rows=ROWS, chat_format_or_turns=FORMAT),
        "train_on_answers": case(spanmask.train_on_answers),
    }
