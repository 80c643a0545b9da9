"""Drop-in for `DataCollatorForCompletionOnlyLM`, which TRL removed in 0.20.

It gives the same batches, faults included, so that an old run can be repeated. New code is better served by `DataCollatorForChat`:
docs/how-to/migrate-from-trl-completion-only.md shows what changes.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from transformers import DataCollatorForLanguageModeling

from spanmask import _core
from spanmask.chat.boundary import as_ids
from spanmask.errors import SpanmaskWarning

__all__ = ["DataCollatorForCompletionOnlyLM"]


class DataCollatorForCompletionOnlyLM(DataCollatorForLanguageModeling):  # type: ignore[misc]
    """Pads rows as transformers' `DataCollatorForLanguageModeling` does, and labels what follows the response template.

    What it does that one would not expect, all of it kept:

    - Padding is told by its id, before anything is searched. Where pad is EOS no EOS trains, and no template that holds one is found.
    - Without `instruction_template` only the row's last response trains, and everything behind it.
    - With it, the n-th instruction is paired with the n-th response, whatever their order: a question without an answer shifts all
      later pairs.
    - A row that lacks a template trains nothing; it is only warned of.
    - Templates given as text are tokenized alone, so their ids may differ from those inside a row: give ids then.
    - `return_tensors="np"` pads but masks nothing.

    In:  dicts with `input_ids` and `attention_mask`, or rows of ids.
    Out: `input_ids`, `attention_mask`, `labels` int64 [B, longest row], as a transformers `BatchEncoding`.
         With `padding_free`: `input_ids`, `labels`, `position_ids` int64 [1, T], `cu_seq_lens_q` and `_k` int32 [1, rows + 1],
         `max_length_q` and `_k` int64 [1]; a row's first token is `ignore_index`.

    Args:
        response_template: what opens an answer, as text or as token ids.
        instruction_template: what opens a question, likewise; for rows of several turns.
        *args: positional arguments of `DataCollatorForLanguageModeling`.
        mlm: masks tokens at random first (`DataCollatorForLanguageModeling`); hardly ever wanted.
        ignore_index: the label of a token without loss. Padding is -100 all the same.
        padding_free: one row behind the other instead of padding.
        **kwargs: `tokenizer`, `pad_to_multiple_of` and the other arguments of `DataCollatorForLanguageModeling`.

    Raises:
        ValueError: a template without tokens.
        TypeError: template ids that are not integers.

    Source: `trl/trainer/utils.py` of TRL 0.19.1, which the tests hold this class against. Three differences: no notice of its
    deprecation; a template without tokens is an error at once; ids may come as a tuple or an array (there, only a list is ever found).
    """

    def __init__(
        self,
        response_template: str | Sequence[int],
        instruction_template: str | Sequence[int] | None = None,
        *args: Any,
        mlm: bool = False,
        ignore_index: int = -100,
        padding_free: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, mlm=mlm, **kwargs)  # as there: *args ends before `mlm`
        self.response_template = response_template
        self.response_token_ids = self._template_ids(response_template, "response_template")
        self.instruction_template = instruction_template
        self.instruction_token_ids: list[int] | None = None
        if instruction_template is not None:
            self.instruction_token_ids = self._template_ids(instruction_template, "instruction_template")
            if not mlm and self.tokenizer.pad_token_id == self.tokenizer.eos_token_id:
                warnings.warn(
                    "tokenizer: its pad token is its EOS token, and this collator masks padding by id: no answer's EOS trains, so the "
                    "model does not learn to stop. Give it a pad token of its own, or use DataCollatorForChat.",
                    SpanmaskWarning,
                    stacklevel=2,
                )
        self.ignore_index = ignore_index
        self.padding_free = padding_free

    def torch_call(self, examples: list[Any]) -> dict[str, Any]:
        """One batch; see the class."""
        batch: dict[str, Any] = super().torch_call(examples)
        if self.instruction_token_ids is None:
            self._label_last_response(batch)
        else:
            self._label_responses(batch, self.instruction_token_ids)
        if self.padding_free:
            self._flatten(batch)
        return batch

    def _label_last_response(self, batch: dict[str, Any]) -> None:
        labels = batch["labels"]
        for row, starts in enumerate(find_in_rows(labels, self.response_token_ids)):
            if starts:
                labels[row, : starts[-1] + len(self.response_token_ids)] = self.ignore_index
            else:
                labels[row] = self.ignore_index
                self._warn_missing("response_template", self.response_template, batch["input_ids"][row])

    def _label_responses(self, batch: dict[str, Any], instruction_token_ids: list[int]) -> None:
        labels = batch["labels"]
        answers = find_in_rows(labels, self.response_token_ids)
        labels[[row for row, starts in enumerate(answers) if not starts]] = self.ignore_index
        # Searched in the labels as they are now: a row without an answer has no question either.
        questions = find_in_rows(labels, instruction_token_ids)
        for row, (starts, heads) in enumerate(zip(questions, answers, strict=True)):
            stops = [head + len(self.response_token_ids) for head in heads]
            if not stops:
                self._warn_missing("response_template", self.response_template, batch["input_ids"][row])
            if not starts:
                labels[row] = self.ignore_index
                self._warn_missing("instruction_template", self.instruction_template, batch["input_ids"][row])
                continue
            last = starts[-1]
            if stops and starts[0] > stops[0]:
                starts = [0, *starts]
            starts[0] = 0  # what stands in front of the first question goes with it
            for start, stop in zip(starts, stops, strict=False):
                labels[row, start:stop] = self.ignore_index
            if len(starts) > len(stops):
                labels[row, last:] = self.ignore_index

    def _flatten(self, batch: dict[str, Any]) -> None:
        import torch

        mask = batch.pop("attention_mask")
        real = mask.bool()
        positions = mask.cumsum(1)[real] - 1
        firsts = torch.nonzero(positions == 0).flatten()
        edges = torch.cat([firsts, firsts.new_tensor([len(positions)])]).to(torch.int32)[None]
        longest = (positions.max() + 1)[None]
        batch["input_ids"] = batch["input_ids"][real][None]
        batch["labels"] = batch["labels"][real][None]
        batch["labels"][0, firsts] = self.ignore_index
        batch["position_ids"] = positions[None]
        batch["cu_seq_lens_q"] = batch["cu_seq_lens_k"] = edges
        batch["max_length_k"] = batch["max_length_q"] = longest

    def _template_ids(self, template: str | Sequence[int], name: str) -> list[int]:
        ids = self.tokenizer.encode(template, add_special_tokens=False) if isinstance(template, str) else as_ids(template, name)
        if not len(ids):
            raise ValueError(f"{name}: {template!r} has no tokens; give the text or the ids that open a turn.")
        return list(ids)

    def _warn_missing(self, name: str, template: Any, row: Any) -> None:
        warnings.warn(
            f"{name}: {template!r} is not in a row, which therefore trains nothing: {self.tokenizer.decode(row)!r}. If this happens "
            "often, compare the template's ids with the row's, or raise the trainer's max_length.",
            SpanmaskWarning,
            stacklevel=5,
        )


def find_in_rows(labels: Any, ids: Sequence[int]) -> list[list[int]]:
    """For each row of a tensor [rows, width], the positions where `ids` begin; overlapping ones too."""
    rows, width = labels.shape
    positions = _core.find_all(labels.numpy().reshape(-1), [ids]).positions
    row, start = np.divmod(positions, max(width, 1))
    inside = start + len(ids) <= width  # the others run over a row's end
    edges = np.searchsorted(row[inside], np.arange(1, rows))
    return [part.tolist() for part in np.split(start[inside], edges)]
