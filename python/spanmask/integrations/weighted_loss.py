"""A loss that uses `loss_weights`, for custom loops and for transformers' `Trainer`. This module imports torch and transformers."""

from __future__ import annotations

from typing import Any, Literal

try:
    import torch
    from transformers import Trainer
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(f"{__name__} needs {error.name}; install it with: pip install 'spanmask[transformers]'") from error

from spanmask._validate import check_choice, check_flag

__all__ = ["WeightedLossMixin", "WeightedLossTrainer", "refuse_unused_weights", "weighted_loss"]

Normalize = Literal["weights", "tokens", "rows"]


def weighted_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    weights: torch.Tensor,
    *,
    normalize: Normalize,
    amount: torch.Tensor | float | None = None,
    shift: bool = True,
    ignore_index: int = -100,
) -> torch.Tensor:
    """Cross entropy in which each token counts by its weight.

    Args:
        logits: [..., T, vocabulary]; converted to float32 at trained tokens.
        labels: [..., T]; `ignore_index` where no loss is wanted.
        weights: [..., T], aligned with `labels`: what a collator puts into `loss_weights`.
        normalize: what the sum of weighted losses is divided by. `"weights"`: the sum of weights, so that their common scale does not
            matter (weights .5 and 1 train like 1 and 2). `"tokens"`: the number of trained tokens, so that it does matter (a batch
            of weights .5 has half the loss). With weights of 1 both are the usual mean. `"rows"`: the number of rows, for weights that are
            scaled for it (`MaskedDiffusion(weighting="row")`); not for rows that are concatenated.
        amount: the divisor of a larger batch that these tokens are a part of (`loss_amount`), for gradient accumulation.
        shift: labels are aligned with their own tokens, so the logits of the previous position predict them (causal language models
            in transformers). `False` for labels made with `MaskPolicy(shift="left")`, for encoder-decoder models, and for models that
            predict the token at each position (masked diffusion).
        ignore_index: the label of a token without loss.

    Returns:
        A scalar, float32. It is 0 if nothing trains, so that an empty batch does not give NaN.

    Raises:
        ValueError: the shapes do not match, or `normalize` is unknown.

    >>> logits, labels = torch.zeros(1, 3, 4), torch.tensor([[-100, 1, 2]])
    >>> weights = torch.tensor([[0.0, 1.0, 3.0]])
    >>> weighted_loss(logits, labels, weights, normalize="weights")  # log 4, whatever the weights
    tensor(1.3863)
    >>> weighted_loss(logits, labels, weights, normalize="tokens")  # twice as much: 4 / 2
    tensor(2.7726)
    """
    check_shapes(logits, labels, weights)
    if amount is None:
        amount = loss_amount(labels, weights, normalize=normalize, shift=shift, ignore_index=ignore_index)
    else:
        check_choice("normalize", normalize, Normalize)
    if shift:
        logits, labels, weights = logits[..., :-1, :], labels[..., 1:], weights[..., 1:]
    labels, weights = labels.to(logits.device), weights.to(logits.device)
    trained = labels != ignore_index
    # Only trained tokens are selected: most tokens of a chat carry no loss, and logits in float32 are the largest tensor of a step.
    losses = torch.nn.functional.cross_entropy(logits[trained].float(), labels[trained], reduction="none")
    total = (losses * weights[trained]).sum()
    return total / torch.as_tensor(amount, device=total.device, dtype=total.dtype).clamp(min=torch.finfo(total.dtype).tiny)


def loss_amount(
    labels: torch.Tensor, weights: torch.Tensor, *, normalize: Normalize, shift: bool = True, ignore_index: int = -100
) -> torch.Tensor:
    """The divisor of `weighted_loss`. If several batches form one step, pass the sum of their divisors as `amount` for each."""
    check_choice("normalize", normalize, Normalize)
    if shift:
        labels, weights = labels[..., 1:], weights[..., 1:]  # no logits predict the first token
    if normalize == "rows":
        return weights.new_tensor(labels.shape[:-1].numel())
    trained = labels != ignore_index
    return weights[trained].sum() if normalize == "weights" else trained.sum().to(weights.dtype)


def check_shapes(logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor) -> None:
    """Raise unless labels and weights have an entry for each position of the logits."""
    for name, tensor in (("labels", labels), ("weights", weights)):
        if tensor.shape != logits.shape[:-1]:
            raise ValueError(
                f"{name}: has shape {tuple(tensor.shape)}, but the logits have {tuple(logits.shape)}; pass one entry for each position."
            )


class WeightedLossMixin:
    """Makes a transformers `Trainer` (or TRL's `SFTTrainer`) use the batch's loss weights.

    Put it before the trainer's class: `class MyTrainer(WeightedLossMixin, SFTTrainer): ...`. For decoder-only models and encoders. The
    divisor is that of the whole step, under gradient accumulation and, with `average_tokens_across_devices`, across devices; so the
    loss does not depend on how a step is divided into batches.

    Args:
        normalize: `"weights"`, `"tokens"` or `"rows"`; see `weighted_loss`.
        weight_key: the batch's key for weights, as the collator names it.
        shift: the model predicts the next token, as causal ones do; `False` for models that predict the token at each position.
        *args, **kwargs: arguments of the trainer.

    Raises:
        TypeError: the mixin comes after the trainer's class, where it would have no effect.
        ValueError: another kind of loss is requested as well (label smoothing, `compute_loss_func`, router losses), or the model is
            an encoder-decoder; or, in training, a batch has no weights.
        RuntimeError: in training, another class or version counts a step's tokens without asking this one.
    """

    loss_is_scaled_for_ga = True  # tells transformers that compute_loss divides by the amount of the whole step

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        order = cls.__mro__
        if Trainer in order and order.index(Trainer) < order.index(WeightedLossMixin):
            raise TypeError(
                f"{cls.__name__}: put WeightedLossMixin before the trainer's class; otherwise the trainer's own loss is used."
            )

    def __init__(
        self, *args: Any, normalize: Normalize, weight_key: str = "loss_weights", shift: bool = True, **kwargs: Any
    ) -> None:
        check_choice("normalize", normalize, Normalize)
        check_flag("shift", shift)
        self.normalize: Normalize = normalize
        self.shift = shift
        self.weight_key = weight_key
        self._amount: torch.Tensor | None = None  # that of the last step
        super().__init__(*args, **kwargs)
        config = self.model.config  # type: ignore[attr-defined]
        refused = {
            "label_smoothing_factor": self.args.label_smoothing_factor,  # type: ignore[attr-defined]
            "compute_loss_func": self.compute_loss_func,  # type: ignore[attr-defined]
            "output_router_logits of the model": getattr(config, "output_router_logits", False),
        }
        for name, value in refused.items():
            if value:
                raise ValueError(f"{name}: only supported by the trainer's own loss, not with loss weights; leave it unset.")
        if getattr(config, "is_encoder_decoder", False):
            raise ValueError(
                "model: is an encoder-decoder, whose labels are not shifted; call weighted_loss(..., shift=False) in a custom loop."
            )
        self.model_accepts_loss_kwargs = True  # tells older versions of transformers that the loss is scaled

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None) -> Any:
        """The weighted loss of one batch, divided by the amount of the step."""
        if num_items_in_batch is not None and self._amount is None:
            raise RuntimeError(
                f"{type(self).__name__}: num_items_in_batch is not the amount of loss weights, since get_batch_samples of this class "
                "was not called; do not override get_batch_samples without calling super(), or use another version of transformers."
            )
        inputs = dict(inputs)
        labels, weights = self._labels_and_weights(inputs)
        del inputs["labels"], inputs[self.weight_key]
        outputs = model(**inputs)
        logits = outputs["logits"] if isinstance(outputs, dict) else outputs[0]
        loss = weighted_loss(logits, labels, weights, normalize=self.normalize, amount=num_items_in_batch, shift=self.shift)
        if num_items_in_batch is not None and self.args.average_tokens_across_devices:  # type: ignore[attr-defined]
            loss = loss * self.accelerator.num_processes  # type: ignore[attr-defined]  # gradients are averaged over them
        return (loss, outputs) if return_outputs else loss

    def get_batch_samples(
        self, epoch_iterator: Any, num_batches: int, device: torch.device
    ) -> tuple[list[Any], torch.Tensor | None]:
        """The batches of one step, and their divisor. Transformers 4.56, and programs that replace this method, count tokens in it."""
        batches, amount = super().get_batch_samples(epoch_iterator, num_batches, device)  # type: ignore[misc]
        return batches, self._amount if amount is self._amount else self._get_num_items_in_batch(batches, device)

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> torch.Tensor | None:
        """The divisor for the batches of one step. Overrides the method with which newer versions of `Trainer` count tokens."""
        if not batch_samples:
            return None
        pairs = [self._labels_and_weights(batch) for batch in batch_samples]
        amount = torch.stack([loss_amount(*pair, normalize=self.normalize, shift=self.shift) for pair in pairs]).sum().to(device)
        if self.args.average_tokens_across_devices and self.args.world_size > 1:  # type: ignore[attr-defined]
            amount = self.accelerator.gather(amount).sum()  # type: ignore[attr-defined]
        self._amount = amount
        return amount

    def _labels_and_weights(self, batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
        for key in ("labels", self.weight_key):
            if key not in batch:
                raise ValueError(
                    f"inputs: no {key!r} in the batch, which has {', '.join(map(repr, batch))}. Set weights in the collator's policy, or "
                    "add a column turn_weights to the rows (remove_unused_columns=False keeps it), and use one weight_key in both places."
                )
        return batch["labels"], batch[self.weight_key]


class WeightedLossTrainer(WeightedLossMixin, Trainer):  # type: ignore[misc]
    """transformers' `Trainer` with loss weights.

    Example:
        `WeightedLossTrainer(model=model, args=args, train_dataset=rows, data_collator=collator, normalize="weights")`
    """


def refuse_unused_weights(model: torch.nn.Module, weight_key: str = "loss_weights") -> Any:
    """Make a model raise an error when it is called with loss weights. Models silently ignore unknown keyword arguments.

    For loops and trainers without `WeightedLossMixin`. Returns a handle whose `remove()` undoes this.

    Raises:
        ValueError: from the model, when a batch with weights reaches it.
    """

    def refuse(module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if weight_key in kwargs:
            raise ValueError(
                f"{weight_key}: reached {type(module).__name__}, which ignores it: all tokens would count equally. Remove it from the "
                "batch and call weighted_loss, or train with WeightedLossTrainer."
            )

    return model.register_forward_pre_hook(refuse, with_kwargs=True)
