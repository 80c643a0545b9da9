"""The base of the chat collators: their options, and the steps from rows to a batch."""

from __future__ import annotations

import copy
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from spanmask import _core
from spanmask._short_repr import short_repr
from spanmask._validate import as_names, check_choice, check_ignore_index, check_length, check_name, check_side, short
from spanmask.chat.conversation import row_name
from spanmask.chat.encoded import EncodedConversations
from spanmask.chat.format import ChatFormat
from spanmask.chat.roles import same_roles
from spanmask.chat.strings import policy_with_ids
from spanmask.collators.columns import add_columns, columns_of, is_batch, required_column, select_rows, stack_columns
from spanmask.collators.counts import MaskCounts, SharedCounts
from spanmask.collators.guard import (
    OnUntrainedBatch,
    check_unclosed,
    check_untrained,
    describe_mismatch,
    describe_uncovered,
    roles_of_messages,
)
from spanmask.errors import ChatFormatError, SpanmaskWarning, UnreadableRowsError
from spanmask.policy import MaskPolicy
from spanmask.preview import Preview, preview
from spanmask.ragged import ReturnTensors, check_return_tensors, in_one_array, to_tensors
from spanmask.report import MaskReport, RowOutcomes, RunningReport
from spanmask.turns import TurnEntries, Turns, check_products, named_turn_column, turn_columns

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["ChatCollator", "TokenRows"]

Kept = list[int] | None
# Messages show the text of this many tokens at each end of a row: a row may have millions.
SHOWN_TOKENS = 400
# Whoever imports it has a loss that reads weights.
READER = "spanmask.integrations.weighted_loss"
UNREAD = (
    "so that every token with a label counts fully, prompts included if prompt_weight is set. Use WeightedLossMixin or weighted_loss of "
    f"{READER}, or remove prompt_weight, role_weights and turn weights."
)


@dataclass
class TokenRows:
    """The rows of a batch: their ids, and what is known about each token.

    Attributes:
        ids, attention_mask, labels: rows as `_core.plan_labels` reads them.
        name: the name of the rows in error messages.
        encoded: the conversations that the rows were made of, with their turns. Without them turns are searched for in the ids.
        uncut_ids: ids that `max_length` must not cut off.
        processed: everything that a processor returned for these rows.
    """

    ids: Any
    name: str
    encoded: EncodedConversations | None = None
    attention_mask: Any = None
    labels: Any = None
    uncut_ids: tuple[int, ...] = ()
    processed: dict[str, Any] = field(default_factory=dict)


@dataclass(kw_only=True, repr=False, eq=False)
class ChatCollator:
    """A collator whose labels come from turns and a policy. Subclasses make the rows (`_rows`) and the batch (`_write`)."""

    chat_format: ChatFormat | None = None
    policy: MaskPolicy | None = None
    max_length: int | None = None
    padding_side: Literal["right", "left"] | None = None
    pad_to_multiple_of: int | None = None
    return_tensors: ReturnTensors = "pt"
    turn_column: str | None = None
    keep_columns: Iterable[str] = ()
    on_untrained_batch: OnUntrainedBatch = "raise"
    label_pad_token_id: int = -100
    weight_key: str | None = None
    template_kwargs: Mapping[str, Any] | None = None
    prepare: Callable[[Any], Mapping[str, Any]] | None = None

    def _check(self, tokenizer: Any) -> None:
        """Check the options, and fill in those that come from the tokenizer."""
        self.policy = MaskPolicy() if self.policy is None else self.policy
        if self.chat_format is not None and not isinstance(self.chat_format, ChatFormat):
            raise TypeError(f"chat_format: expected a ChatFormat, got {type(self.chat_format).__name__}.")
        if not isinstance(self.policy, MaskPolicy):
            raise TypeError(f"policy: expected a MaskPolicy, got {type(self.policy).__name__}.")
        self.policy = policy_with_ids(tokenizer, self.policy)
        if self.chat_format is not None and not self._is_derived:  # a role that it lacks is an error now, not in the first batch
            self.policy._compile(self.chat_format.roles, self.chat_format.ignore_ids)
        self.max_length = check_length("max_length", self.max_length)
        self.pad_to_multiple_of = check_length("pad_to_multiple_of", self.pad_to_multiple_of)
        if self.prepare is not None and not callable(self.prepare):
            raise TypeError(f"prepare: expected a function of an example, got {type(self.prepare).__name__}.")
        side = getattr(tokenizer, "padding_side", "right") if self.padding_side is None else self.padding_side
        self.padding_side = check_side(side)  # type: ignore[assignment]
        check_return_tensors(self.return_tensors)
        check_choice("on_untrained_batch", self.on_untrained_batch, OnUntrainedBatch)
        self.label_pad_token_id = check_ignore_index("label_pad_token_id", self.label_pad_token_id)
        for name in ("turn_column", "weight_key"):
            check_name(name, getattr(self, name))
        self.keep_columns = as_names("keep_columns", self.keep_columns)
        self._text_tokenizer = tokenizer
        self._running = RunningReport()
        self._counts = SharedCounts()
        self._weights_are_read = self.weight_key is not None

    def _derive_format(self, derive: Callable[..., ChatFormat], source: Any) -> None:
        """Derive the chat format. Only token ids need it: why there is none, or what it does not cover, is said when they come."""
        self._format_error: ChatFormatError | None = None
        self._uncovered: tuple[str, ...] = ()
        self._is_derived = False
        variables = self._variables()
        if self.chat_format is not None:
            return
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SpanmaskWarning)
                self.chat_format = derive(source, **variables)
        except ChatFormatError as error:
            self._format_error = error
        else:
            self._uncovered = self.chat_format.uncovered
            self._is_derived = True

    def _variables(self) -> dict[str, Any]:
        """The chat template's variables.

        Raises:
            TypeError: `template_kwargs` is not a dict of names.
        """
        variables = {} if self.template_kwargs is None else self.template_kwargs
        if not isinstance(variables, Mapping) or not all(isinstance(name, str) for name in variables):
            raise TypeError(f"template_kwargs: expected a dict of the template's variables, got {short(variables)}.")
        return dict(variables)

    def __repr__(self) -> str:
        return short_repr(self)

    @property
    def _policy(self) -> MaskPolicy:
        """The policy, which `_check` sets if none was given."""
        return self.policy  # type: ignore[return-value]

    @property
    def report(self) -> MaskReport:
        """What the batches of this process trained, and why rows have no trained tokens. The workers of a loader have their own reports."""
        return self._running.total

    @property
    def counts(self) -> MaskCounts:
        """What was counted in this process and in the workers of its loaders. It only grows: subtract what it was before."""
        return self._counts.read(training=True) + self._counts.read(training=False)

    def reset_report(self) -> None:
        """Set all counts of the report to zero."""
        self._running.reset()

    def __call__(self, features: Any, return_tensors: ReturnTensors | None = None) -> dict[str, Any]:
        """Make one batch; see the class."""
        columns = columns_of(self._examples(features))
        rows = self._rows(columns)
        plan = self._plan(rows, columns)
        kept = self._kept(plan, rows, columns)
        batch = self._write(plan, rows, columns, kept)
        kept_rows = columns if kept is None else select_rows(columns, kept)
        add_columns(batch, "keep_columns", stack_columns(kept_rows, self.keep_columns))
        return to_tensors(batch, return_tensors or self.return_tensors)

    def preview(self, features: Any, **options: Any) -> Preview:
        """Show which tokens carry loss, with the collator's tokenizer, roles and ignore index.

        Args:
            features: a batch (a mapping with `input_ids` and `labels`), which is shown as it is; or examples, from which a batch is made
                that counts nowhere. A batch without trained tokens is shown, with a warning, whatever `on_untrained_batch` says.
            **options: those of `preview`, such as `max_rows`.

        Raises:
            ValueError, TypeError: what `collator(features)` and `preview` raise.
        """
        if not is_batch(features):
            features = self._uncounted()(features, return_tensors="np")
        given = {
            "weights": features.get(self.weight_key or "loss_weights"),
            "chat_format": self.chat_format,
            "shift": self._policy.shift,
            "ignore_index": self.label_pad_token_id,
        }
        return preview(features, tokenizer=self._text_tokenizer, **{**given, **options})

    def _uncounted(self) -> Self:
        """A copy for batches that are only looked at: they count nowhere, and one without trained tokens is no error."""
        made = copy.copy(self)
        made._running, made._counts = RunningReport(), SharedCounts()
        made.on_untrained_batch = "warn"
        return made

    def _examples(self, features: Any) -> Any:
        """The examples of a batch, made from the collator's argument."""
        return features if self.prepare is None else [self.prepare(example) for example in features]

    def _rows(self, columns: Mapping[str, Any]) -> TokenRows:
        raise NotImplementedError

    def _layout(self) -> _core.Layout:
        return _core.Layout.padded(str(self.padding_side), self.max_length, self.pad_to_multiple_of)

    def _write(self, plan: _core.LabelPlan, rows: TokenRows, columns: Mapping[str, Any], kept: Kept) -> dict[str, Any]:
        raise NotImplementedError

    def _add_weights(self, batch: dict[str, Any], weights: Any, unread: str = UNREAD) -> None:
        """Put the loss weights into a batch, if there are any. `unread`: what happens if nothing reads them, and what to do about it."""
        if weights is None:
            return
        key = self.weight_key or "loss_weights"
        if key in batch:
            raise ValueError(f"weight_key: the batch already has {key!r}; choose another name.")
        batch[key] = weights
        self._weights_are_read |= READER in sys.modules
        if not self._weights_are_read and self._running.is_first("weights"):
            warnings.warn(
                f"{key}: this batch has loss weights. The trainers of transformers and TRL ignore them, {unread} If your own loss reads "
                f"them, pass weight_key={key!r}.",
                SpanmaskWarning,
                stacklevel=4,
            )

    def __getstate__(self) -> dict[str, Any]:
        # A worker that is spawned does not have the modules of this process. The encoder is made anew.
        return {**self.__dict__, "_weights_are_read": self._weights_are_read or READER in sys.modules, "_encoder": None}

    def _turn_entries(self, columns: Mapping[str, Any]) -> TurnEntries:
        """The flags or loss weights of turns."""
        if self.turn_column is not None:
            named = required_column(columns, "turn_column", self.turn_column)
            if self.turn_column not in ("turn_mask", "turn_weights"):
                return named_turn_column(self.turn_column, named)
        return turn_columns(columns.get("turn_mask"), columns.get("turn_weights"))

    def _format(self) -> ChatFormat:
        """The format that turns are searched for with.

        Raises:
            ChatFormatError: it could not be derived.
        """
        if self.chat_format is None:
            raise self._format_error or ChatFormatError("chat_format: None; pass a ChatFormat.")
        if self._uncovered and self._running.is_first("uncovered"):
            warnings.warn(
                f"chat_format: derived from the template, it does not cover {' and '.join(self._uncovered)}. Token ids do not show which "
                "rows are of these kinds, and their labels would be wrong. Pass messages instead of token ids, or write the boundaries by "
                "hand: ChatFormat.from_strings.",
                SpanmaskWarning,
                stacklevel=5,
            )
        return self.chat_format

    def _turns_and_policy(self, rows: TokenRows) -> tuple[_core.Format | Turns, _core.Policy]:
        """Where the turns of rows come from, and the policy for their roles."""
        if rows.encoded is None:
            fmt = self._format()
            if self._policy.reasoning == "ignore" and not fmt.reasoning and self._running.is_first("reasoning"):
                warnings.warn(
                    "policy: reasoning='ignore' leaves nothing out of rows of token ids, because the chat format names no tags of "
                    "reasoning. Pass messages, name the tags in ChatFormat.reasoning, or leave them out with "
                    "MaskPolicy(ignore_between=[('<think>', '</think>')]).",
                    SpanmaskWarning,
                    stacklevel=5,
                )
            return fmt._compiled, self._policy_of(fmt)._compile(fmt.roles, fmt.ignore_ids)
        turns = rows.encoded.turns
        ignore_ids = () if self.chat_format is None else self.chat_format.ignore_ids
        return turns, self._policy._compile(turns.roles, ignore_ids)

    def _policy_of(self, fmt: ChatFormat) -> MaskPolicy:
        """The policy without roles that a derived format lacks: they may occur in messages, but cannot be found in token ids."""
        lacking = [role for role in self._policy.roles if role not in fmt.roles]
        known = tuple(role for role in self._policy.roles if role in fmt.roles)
        if not (lacking and known and self._is_derived):
            return self._policy
        if self._running.is_first("lacking roles"):
            warnings.warn(
                f"policy: trains the role {lacking[0]!r}, but the chat format, which was derived from the template, has only "
                f"{', '.join(map(repr, fmt.roles))}: in rows of token ids such messages do not train. Pass messages instead of token ids, "
                "or write the boundaries by hand: ChatFormat.from_strings.",
                SpanmaskWarning,
                stacklevel=6,
            )
        weights = {role: weight for role, weight in dict(self._policy.role_weights).items() if role in known}
        return replace(self._policy, roles=known, role_weights=weights)

    def _entries_of_turns(self, rows: TokenRows, columns: Mapping[str, Any]) -> TurnEntries:
        """The flags or loss weights of turns. Where messages are known, the entries of columns count messages."""
        entries = self._turn_entries(columns)
        if rows.encoded is None:
            return entries
        return rows.encoded.turn_entries(self._policy.roles, entries)

    def _plan(self, rows: TokenRows, columns: Mapping[str, Any], skip_first: bool = False) -> _core.LabelPlan:
        """Decide the labels of all rows in one scan. Nothing is written yet."""
        options, by_turn = self._policy, self._entries_of_turns(rows, columns)
        check_products(by_turn, options.role_weights)
        turns, policy = self._turns_and_policy(rows)
        plan = partial(
            _core.plan_labels,
            turns=turns,
            policy=policy,
            turn_mask=by_turn.turn_mask,
            turn_weights=by_turn.turn_weights,
            ignore_index=self.label_pad_token_id,
            weighted=options.weighted or by_turn.turn_weights is not None,
            max_length=self.max_length,
            skip_first=skip_first,
            uncut_ids=rows.uncut_ids,
            with_roles="messages" in columns and rows.encoded is None,
            name=rows.name,
        )
        try:
            return plan(rows.ids, attention_mask=rows.attention_mask, labels=rows.labels)
        except UnreadableRowsError:
            return plan(
                in_one_array(rows.ids, rows.name),
                attention_mask=in_one_array(rows.attention_mask, "attention_mask"),
                labels=in_one_array(rows.labels, "labels", int64=True),
            )

    def _kept(self, plan: _core.LabelPlan, rows: TokenRows, columns: Mapping[str, Any]) -> Kept:
        """The rows to keep, or `None` for all. Counts the batch; warns or raises as the options require.

        Raises:
            ValueError: the options do not allow a row or the whole batch.
        """
        if rows.encoded is not None:
            for what, text in rows.encoded.notes(self._policy.roles).items():
                if self._running.is_first(what):
                    warnings.warn(text, SpanmaskWarning, stacklevel=3)
            outcomes = rows.encoded.outcomes(plan, self._policy.roles, self.max_length)
            mismatched = self._act_on(rows.encoded.describe_unknown())
        else:
            outcomes = RowOutcomes(plan.counts, plan.outcomes, self._format().roles, self.max_length)
            mismatched = self._act_on(self._mismatches(plan, columns)) if "messages" in columns else []
        kept = outcomes.kept_rows(self._policy)
        if mismatched and self._policy.on_role_mismatch == "drop":
            kept = np.setdiff1d(np.arange(len(plan.outcomes)) if kept is None else kept, mismatched)
        self._running.add(outcomes, mismatched)
        counts = plan.counts
        self._counts.add(
            (  # the fields of `MaskCounts` in order; making one takes two microseconds
                counts.rows,
                counts.tokens,
                counts.trained_tokens,
                counts.truncated_turns,
                counts.unclosed_regions,
                counts.untrained_rows,
                0 if kept is None else counts.rows - len(kept),
                len(mismatched),
                outcomes.aligned,
                outcomes.searched,
            )
        )
        decode = partial(self._decode, plan)
        if counts.unclosed_regions:
            check_unclosed(counts, self._running, decode)
        if outcomes.any_untrained:
            check_untrained(
                outcomes.report,
                self.on_untrained_batch,
                self._running,
                decode=decode,
                name=lambda row: row_name(columns, row),
            )
        if kept is None:
            return None
        if not len(kept):
            reasons = ", ".join(outcomes.report.reasons) or "roles differ from messages"
            self._refuse_all_dropped(reasons)
        return [int(row) for row in kept]

    def _refuse_all_dropped(self, reasons: str) -> None:
        raise ValueError(f"features: all rows of this batch were dropped: {reasons}.")

    def _decode(self, plan: _core.LabelPlan, row: int) -> str:
        head, tail = plan.row_ends(row, SHOWN_TOKENS)
        text = str(self._text_tokenizer.decode(head))
        return f"{text[:200]} ... {str(self._text_tokenizer.decode(tail))[-200:]}" if tail else text

    def _mismatches(self, plan: _core.LabelPlan, columns: Mapping[str, Any]) -> dict[int, str]:
        """Rows of token ids whose turns may be wrong, and what is wrong: other roles than those of their messages, or a kind that the
        format does not cover.
        """
        fmt = self._format()
        mismatches = {}
        messages_of_rows = columns["messages"]
        tools_of_rows = columns.get("tools") or [None] * len(messages_of_rows)
        found_roles = zip(messages_of_rows, tools_of_rows, plan.row_roles or (), plan.row_open or (), strict=True)
        for row, (messages, tools, numbers, is_open) in enumerate(found_roles):
            if messages is None:  # plain text among conversations: nothing to compare
                continue
            wanted = roles_of_messages(messages, row)
            found = [fmt.roles[number] for number in numbers]
            uncovered = fmt.uncovered_kind(messages, tools)
            if uncovered is not None:
                mismatches[row] = describe_uncovered(row, uncovered)
            elif not same_roles(messages, found, fmt, is_cut=is_open):
                mismatches[row] = describe_mismatch(row, wanted, found)
        return mismatches

    def _act_on(self, mismatches: Mapping[int, str]) -> list[int]:
        """Raise or warn as the policy says about rows whose turns may be wrong; the rows."""
        for text in mismatches.values():
            if self._policy.on_role_mismatch == "raise":
                raise ValueError(text)
            if self._policy.on_role_mismatch == "warn" and self._running.is_first("mismatch"):
                warnings.warn(text, SpanmaskWarning, stacklevel=4)
        return list(mismatches)
