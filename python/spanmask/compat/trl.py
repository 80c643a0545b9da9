"""Drop-in for `DataCollatorForCompletionOnlyLM`, which TRL removed in 0.20.

It returns the same batches, faults included, so that you can repeat an old run. In new code use `DataCollatorForChat`:
docs/migrate/trl-completion-only.md shows what changes.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

try:
    from transformers import DataCollatorForLanguageModeling
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(f"{__name__} needs {error.name}; install it with: pip install 'spanmask[transformers]'") from error

from spanmask import _core
from spanmask._validate import as_signed_ids
from spanmask.errors import SpanmaskWarning

__all__ = ["DataCollatorForCompletionOnlyLM"]


class DataCollatorForCompletionOnlyLM(DataCollatorForLanguageModeling):  # type: ignore[misc]
    """Pads rows as transformers' `DataCollatorForLanguageModeling` does, and trains only what follows the response template.

    It has these faults, which are kept:

    - Padding is found by token id, before anything is searched. If the pad token is the EOS token, no EOS trains and no template that
      contains one is found.
    - Without `instruction_template`, only the last response of a row trains, together with everything after it.
    - With it, the n-th instruction is paired with the n-th response, whatever their order: a question without an answer shifts all
      later pairs.
    - A row that lacks a template has no trained tokens; this is only a warning.
    - A template passed as text is tokenized alone, so its ids may differ from those inside a row. If they do, pass the ids.
    - `return_tensors="np"` pads but masks nothing.

    In:  dicts with `input_ids` and `attention_mask`, or rows of ids.
    Out: `input_ids`, `attention_mask`, `labels` int64 [B, longest row], as a transformers `BatchEncoding`.
         With `padding_free`: `input_ids`, `labels`, `position_ids` int64 [1, T], `cu_seq_lens_q` and `_k` int32 [1, rows + 1],
         `max_length_q` and `_k` int64 [1]; the label of each row's first token is `ignore_index`.

    Args:
        response_template: the text or the token ids that open an answer.
        instruction_template: the text or the token ids that open a question; for rows with several turns.
        *args: positional arguments of `DataCollatorForLanguageModeling`.
        mlm: mask random tokens first, as `DataCollatorForLanguageModeling` does; rarely useful here.
        ignore_index: the label of a token without loss, except padding, whose label is always -100.
        padding_free: concatenate the rows instead of padding them.
        **kwargs: `tokenizer`, `pad_to_multiple_of` and the other keyword arguments of `DataCollatorForLanguageModeling`.

    Raises:
        ValueError: a template has no tokens.
        TypeError: a template is neither text nor integer ids.

    Source: `trl/trainer/utils.py` of TRL 0.19.1. The tests compare this class with that one. There are three differences: no
    deprecation warning; a template without tokens is an error in the constructor; ids may be a tuple or an array (in TRL only a list
    is ever found).

    Example:
        `DataCollatorForCompletionOnlyLM("### Answer:", tokenizer=tokenizer)`
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
        super().__init__(*args, mlm=mlm, **kwargs)  # as in TRL, *args comes before `mlm`
        self.response_template = response_template
        self.response_token_ids = self._template_ids(response_template, "response_template")
        self.instruction_template = instruction_template
        self.instruction_token_ids: list[int] | None = None
        if instruction_template is not None:
            self.instruction_token_ids = self._template_ids(instruction_template, "instruction_template")
            if not mlm and self.tokenizer.pad_token_id == self.tokenizer.eos_token_id:
                warnings.warn(
                    "tokenizer: its pad token is also its EOS token, and this collator finds padding by token id: the EOS of an answer "
                    "never trains, so the model does not learn to stop. Set a separate pad token, or use DataCollatorForChat.",
                    SpanmaskWarning,
                    stacklevel=2,
                )
        self.ignore_index = ignore_index
        self.padding_free = padding_free

    def torch_call(self, examples: list[Any]) -> dict[str, Any]:
        """Make one batch of tensors; see the class."""
        batch: dict[str, Any] = super().torch_call(examples)
        if self.instruction_token_ids is None:
            self._label_last_response(batch)
        else:
            self._label_responses(batch, self.instruction_token_ids)
        if self.padding_free:
            self._flatten(batch)
        return batch

    def _label_last_response(self, batch: dict[str, Any]) -> None:
        """Ignore everything up to the end of each row's last response template."""
        labels = batch["labels"]
        for row, starts in enumerate(find_in_rows(labels, self.response_token_ids)):
            if starts:
                labels[row, : starts[-1] + len(self.response_token_ids)] = self.ignore_index
            else:
                labels[row] = self.ignore_index
                self._warn_missing("response_template", self.response_template, batch["input_ids"][row])

    def _label_responses(self, batch: dict[str, Any], instruction_token_ids: list[int]) -> None:
        """Ignore from the n-th instruction template to the end of the n-th response template, for all n."""
        labels = batch["labels"]
        responses = find_in_rows(labels, self.response_token_ids)
        labels[[row for row, starts in enumerate(responses) if not starts]] = self.ignore_index
        # This searches the changed labels: no instruction is found in a row without a response.
        instructions = find_in_rows(labels, instruction_token_ids)
        for row, (starts, response_starts) in enumerate(zip(instructions, responses, strict=True)):
            stops = [start + len(self.response_token_ids) for start in response_starts]
            if not stops:
                self._warn_missing("response_template", self.response_template, batch["input_ids"][row])
            if not starts:
                labels[row] = self.ignore_index
                self._warn_missing("instruction_template", self.instruction_template, batch["input_ids"][row])
                continue
            last = starts[-1]
            if stops and starts[0] > stops[0]:
                starts = [0, *starts]
            starts[0] = 0  # everything before the first instruction is ignored with it
            for start, stop in zip(starts, stops, strict=False):
                labels[row, start:stop] = self.ignore_index
            if len(starts) > len(stops):
                labels[row, last:] = self.ignore_index

    def _flatten(self, batch: dict[str, Any]) -> None:
        """Concatenate the rows without their padding."""
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
        """Check a template and return its ids."""
        if isinstance(template, str):
            ids = list(self.tokenizer.encode(template, add_special_tokens=False))
        else:
            ids = list(as_signed_ids(name, template))
        if not ids:
            raise ValueError(f"{name}: {template!r} has no tokens; pass the text or the ids that open a turn.")
        return ids

    def _warn_missing(self, name: str, template: Any, row: Any) -> None:
        """Warn that a template is not in a row."""
        warnings.warn(
            f"{name}: {template!r} was not found in a row; that row contributes no loss: {self.tokenizer.decode(row)!r}. If this "
            "happens often, compare the template's ids with the row's ids, or raise the trainer's max_length.",
            SpanmaskWarning,
            stacklevel=5,
        )


def find_in_rows(labels: Any, ids: Sequence[int]) -> list[list[int]]:
    """For each row of a tensor [rows, width], the positions where `ids` begin; matches may overlap."""
    rows, width = labels.shape
    if not width:  # transformers 4 makes floats of empty rows
        return [[] for _ in range(rows)]
    positions = _core.find_all(labels.numpy().reshape(-1), [ids]).positions
    row, start = np.divmod(positions, width)
    inside = start + len(ids) <= width  # other matches cross the end of a row
    edges = np.searchsorted(row[inside], np.arange(1, rows))
    return [part.tolist() for part in np.split(start[inside], edges)]
