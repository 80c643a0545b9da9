"""`DataCollatorForMaskedDiffusion`: rows of token ids or conversations -> padded batches, tokens masked with a probability by row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import InitVar, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from spanmask import _core
from spanmask._validate import as_probability, check_flag
from spanmask.chat.conversation import layout_of
from spanmask.chat.format import ChatFormat
from spanmask.collators.base import READER
from spanmask.collators.columns import columns_of, select_rows
from spanmask.collators.guard import OnUntrainedBatch
from spanmask.collators.labeller import ChatLabeller
from spanmask.collators.noise_base import NoiseCollator, NoiseColumns, NoisedBatch, given_options, protects_spec
from spanmask.noise.diffusion import MaskedDiffusion, Weighting, check_diffusion
from spanmask.noise.row_options import RowOptions, per_row
from spanmask.noise.sentinels import eos_of
from spanmask.policy import MaskPolicy
from spanmask.ragged import Column, Ragged, check_aligned
from spanmask.report import MaskReport
from spanmask.token_columns import TRAINED_FLAGS, column_of_weights, real_rows

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["DataCollatorForMaskedDiffusion"]

UNREAD = (
    "and take labels to be shifted, so that their loss is another one. Use WeightedLossMixin or weighted_loss of "
    f"{READER}, with shift=False."
)
# Rows with one of these columns are conversations, also where they hold token ids.
CHAT_COLUMNS = ("messages", "conversations", "turn_mask", "turn_weights")


def column_of_labels(column: Any, name: str) -> Ragged:
    """Labels as the core reads them.

    Raises:
        TypeError: entries are not integers.
    """
    labels = Ragged.from_rows(column, name)
    return Ragged._unchecked(labels.values.astype(np.int64, copy=False), labels.offsets)


def protected(mask: Column | None, trained: Mapping[str, Column]) -> Column | None:
    """The tokens that are never masked: those of `mask`, and those without one of the flags `trained`."""
    for flags in trained.values():
        clear = ~flags.values
        mask = flags._replace(values=clear if mask is None else mask.values | clear)
    return mask


@protects_spec
@dataclass(kw_only=True, eq=False, repr=False)
class DataCollatorForMaskedDiffusion(NoiseCollator):
    """Masks tokens of each row for the training of a diffusion language model (LLaDA, Dream): the model must predict what they were.

    In:  dicts with `input_ids` (pre-training: all tokens may be masked); with `input_ids` and `labels` (fine-tuning: tokens with a label
         may, which is the token itself, not shifted); or with `messages`, `prompt` and `completion`, or `conversations`, as
         `DataCollatorForChat` takes them: the tokens that the policy trains may be masked, the rest of the conversation stays clear.
         Rows of ids are searched for turns if they have a column `messages`, `conversations`, `turn_mask` or `turn_weights`, or if the
         collator has a `policy`, `chat_format` or `turn_column`. Further columns that are read where present: `attention_mask` (nonzero
         for real tokens), `protected_mask` and `special_tokens_mask` (nonzero: never masked), `completion_mask`, `assistant_masks` and
         `loss_mask` (zero: never masked), `loss_weights` (factors of the weights; tokens of factor 0 are never masked). One number for
         each row: `mask_ratio`, which replaces the drawn one. An Arrow table or a dict with these columns is also accepted.
    Out: `input_ids`, `attention_mask`, `labels` int64, `loss_weights` float32, all [B, longest row]. A masked token's label is at its own
         position, and its weight is 1 / ratio; others have `label_pad_token_id` and 0. `label_pad_token_id` and 0 also for padding.
         `token_type_ids` if the examples have them, and `token_columns`, laid out as the ids are.

    A model that predicts the token at each position needs a loss without a shift: `weighted_loss(..., shift=False)`. Models that shift
    their labels, as causal ones in transformers do, must not be given `labels`. The model must see tokens on both sides.

    Noise is a pure function of (seed, epoch, key of the row): the same for any batch size, order, number of workers and ranks; with
    `antithetic`, also of the other rows in the batch. Tokens are masked after rows are cut to `max_length`.

    Args:
        tokenizer: a transformers tokenizer: mask token, pad token, padding side, and the chat template for `messages`.
        eps: mask ratios are uniform from `eps` to 1; .001 by default.
        mask_token_id, special_ids, antithetic, weighting: see `MaskedDiffusion`; by default what `MaskedDiffusion.from_tokenizer` chooses.
        spec: a `MaskedDiffusion` instead of the options above. The attribute `spec` always holds the spec in use.
        pad_with_eos: rows in which something may be masked continue up to the batch's width with EOS tokens, which are masked and
            trained like the row's own, as in LLaDA's fine-tuning; the attention mask is 1 there. The model then learns to end its answer
            within a longer space. Requires padding on the right. These tokens depend on the batch's width; the row's own do not.
        policy, chat_format, template_kwargs, turn_column, on_untrained_batch: for conversations, as in `DataCollatorForChat`. `report`
            counts conversations, before anything is masked. They are read when the collator is made; changing them later has no effect.
        prepare: called with each example first; returns a dict with the columns above. Must be picklable for workers.
        weight_key: the batch's key for loss weights, by default `"loss_weights"`. Naming it says that your loss reads them.
        seed: 0 to 2**64 - 1. `None`: each call draws its seed from torch's random state (NumPy's where torch is not installed), so
            every pass has fresh noise, and `torch.manual_seed` repeats a run.
        epoch: the first epoch, 0 to 2**64 - 1; `set_epoch` changes it, in worker processes too.
        step: the first step, for rates that are functions of it; `set_step` changes it.
        on_repeat: with a seed, what to do the first time that a pass repeats the noise of the previous pass: `"warn"`, `"raise"` or
            `"ignore"` (for evaluation). Each process only knows what it drew itself: workers that end with their pass cannot see a repeat.
        key_column: the column that identifies an example (integers or strings). By default its content does, so equal rows in one
            epoch get the same noise.
        max_length: rows are cut to this many tokens, after their turns are found and before anything is masked.
        pad_to_multiple_of: the width is rounded up to a multiple of it.
        padding_side: `"right"` or `"left"`; the tokenizer's own by default.
        label_pad_token_id: the label of tokens that are not masked and of padding; -100 carries no loss.
        keep_columns: further columns of one value for each row, stacked into the batch.
        token_columns: further columns of a number for each token, laid out as `input_ids`, padded with 0. All other columns are dropped.
        return_tensors: `"pt"` or `"np"`.

    Raises:
        TypeError: `spec` together with an option that belongs in it.
        ValueError: an option, a row or a column that cannot be used; the message names it. A column of numbers is one if it is meant
            for noise, but not read under its name, such as `mlm_probability`.

    Source: Nie et al. 2025 (LLaDA), sections 2.2 and 2.3, and its authors' guidelines.

    Example:
        `collator = DataCollatorForMaskedDiffusion(tokenizer, weighting="row", seed=42)`
    """

    eps: InitVar[float | None] = None
    mask_token_id: InitVar[int | None] = None
    special_ids: InitVar[Iterable[int] | None] = None
    antithetic: InitVar[bool | None] = None
    weighting: InitVar[Weighting | None] = None
    spec: MaskedDiffusion | None = None
    pad_with_eos: bool = False
    policy: MaskPolicy | None = None
    chat_format: ChatFormat | None = None
    template_kwargs: Mapping[str, Any] | None = None
    turn_column: str | None = None
    on_untrained_batch: OnUntrainedBatch = "raise"
    prepare: Callable[[Any], Mapping[str, Any]] | None = None
    weight_key: str | None = None

    rate_columns: ClassVar[tuple[str, ...]] = ("mask_ratio",)
    flag_columns: ClassVar[tuple[str, ...]] = TRAINED_FLAGS
    token_inputs: ClassVar[Mapping[str, Callable[[Any, str], Ragged]]] = {
        "labels": column_of_labels,
        "loss_weights": column_of_weights,
    }

    def __post_init__(
        self,
        eps: float | None,
        mask_token_id: int | None,
        special_ids: Iterable[int] | None,
        antithetic: bool | None,
        weighting: Weighting | None,
    ) -> None:
        options = {
            "eps": eps,
            "mask_token_id": mask_token_id,
            "special_ids": special_ids,
            "antithetic": antithetic,
            "weighting": weighting,
        }
        given = given_options(self.spec, options)
        if self.spec is None:
            self.spec = MaskedDiffusion.from_tokenizer(self.tokenizer, **given)
        check_diffusion(self.spec)
        self._check_options()
        self._finds_turns = not (self.policy is None and self.chat_format is None and self.turn_column is None)
        self._labeller = ChatLabeller(
            self.tokenizer,
            policy=self.policy,
            chat_format=self.chat_format,
            template_kwargs=self.template_kwargs,
            turn_column=self.turn_column,
            on_untrained_batch=self.on_untrained_batch,
            label_pad_token_id=self.label_pad_token_id,
            max_length=self.max_length,
            weight_key=self.weight_key,
        )
        if self.policy is not None and self.policy.shift != "none":
            raise ValueError(
                f"policy: has shift={self.policy.shift!r}; masked diffusion predicts each token at its own position."
            )
        check_flag("pad_with_eos", self.pad_with_eos)
        if self.pad_with_eos and self.padding_side != "right":
            raise ValueError("pad_with_eos: requires padding_side='right'; an answer ends on the right.")
        self._fill = eos_of(self.tokenizer) if self.pad_with_eos else None

    @property
    def report(self) -> MaskReport:
        """What the conversations of this process may train, and why rows have no trained tokens. Other rows are not counted."""
        return self._labeller.report

    def reset_report(self) -> None:
        """Set all counts of the report to zero."""
        self._labeller.reset_report()

    def _columns(self, features: Any) -> Mapping[str, Any]:
        """The columns of the examples; those of conversations with the labels of their tokens."""
        columns = columns_of(features if self.prepare is None else [self.prepare(example) for example in features])
        if not self._is_chat(columns) and ("input_ids" in columns or "text" in columns):
            return columns
        self._labeller.max_length, self._labeller.label_pad_token_id = self.max_length, self.label_pad_token_id
        rows = self._labeller.label(columns)
        labels, weights = rows.labels, rows.weights
        others = dict(columns) if rows.kept is None else select_rows(columns, rows.kept)
        if "input_ids" in columns:  # they keep their padding, so that other columns stay aligned with them
            read = real_rows(columns["input_ids"], columns.get("attention_mask"), None, "input_ids")
            labels, weights = rows.padded(read, self.label_pad_token_id)
        else:
            others["input_ids"] = rows.input_ids
            for name in ("attention_mask", *TRAINED_FLAGS):  # they do not belong to these ids
                others.pop(name, None)
        if weights is not None and others.get("loss_weights") is not None:
            factors = column_of_weights(others["loss_weights"], "loss_weights")
            check_aligned(factors, labels, "loss_weights")
            weights = Ragged._unchecked(weights.values * factors.values, weights.offsets)
        return {**others, "labels": labels, **({} if weights is None else {"loss_weights": weights})}

    def _is_chat(self, columns: Mapping[str, Any]) -> bool:
        """Whether these rows are conversations.

        Raises:
            ValueError: they are ids of a prompt and a completion, and nothing says where the completion begins.
        """
        if self._finds_turns or any(columns.get(name) is not None for name in CHAT_COLUMNS):
            return True
        known = columns.keys()
        if not known >= {"input_ids", "prompt", "completion"} or not known.isdisjoint(("labels", *TRAINED_FLAGS)):
            return False
        if layout_of(columns).is_text:
            raise ValueError(
                "completion: given beside input_ids, which do not show where it begins, so that the prompt would be masked too. Pass "
                "labels or a completion_mask with the ids; or leave input_ids out; or, to train on all tokens, leave completion out."
            )
        return True

    def _for_preview(self) -> Self:
        made = super()._for_preview()
        made._labeller = self._labeller._uncounted()
        return made

    def _call_core(self, rows: Any, extra: NoiseColumns, options: RowOptions, seed_epoch: tuple[int, int]) -> NoisedBatch:
        assert self.spec is not None  # `__post_init__` sets it
        count = len(rows) if isinstance(rows, list) else len(rows.starts)
        seed, epoch = seed_epoch
        out = _core.diffuse(
            rows,
            self.spec._compiled,
            seed=seed,
            epoch=epoch,
            layout=self._layout(),
            ignore_index=self.label_pad_token_id,
            pad_token_id=self.pad_token_id,
            fill=self._fill,
            name="input_ids",
            keys=options["keys"],
            protected_mask=protected(options["protected_mask"], extra.flags),
            mask_ratio=per_row("mask_ratio", extra.rates.get("mask_ratio"), count, as_probability),
            labels=extra.token_inputs.get("labels"),
            loss_weights=extra.token_inputs.get("loss_weights"),
        )
        batch = {"input_ids": out.input_ids, "attention_mask": out.attention_mask, "labels": out.labels}
        self._labeller._add_weights(batch, out.loss_weights, UNREAD)
        return NoisedBatch(batch, out.keys[out.masked > 0], out.masked)  # other rows have no noise that could repeat

    def _remedy_for_no_label(self) -> str:
        return (
            "By chance their mask ratios are low, which is usual in small batches and needs no remedy with weighted_loss: it returns 0. "
            "If no batch has labels, all tokens are protected, special or without a label, or have weight 0."
        )
