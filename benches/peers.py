"""Programs that are in no package, reimplemented from their descriptions, and parts of installed programs that are timed separately."""

import importlib.metadata

import torch
from chats import ASSISTANT, EOS, USER
from support.completion_only import WHEEL, removed_class

TRL = f"trl-{importlib.metadata.version('trl')}"
REMOVED_TRL = "-".join(WHEEL.name.split("-")[:2])
TRANSFORMERS = f"transformers-{importlib.metadata.version('transformers')}"


def loop_labels(input_ids, attention_mask, header=ASSISTANT, eos=EOS):
    """Labels as a user's own collator made them: a Python loop over the EOS positions and, between them, over the tokens.

    `input_ids`, `attention_mask`: int64 [B, T]. Every answer ends with EOS, so each EOS closes a segment that begins after the
    previous one. The segment is masked up to its assistant header, which is searched for token by token. Tokens after the last EOS are not
    examined: if truncation cut off the last answer, the question before it trains.
    """
    labels = input_ids.clone()
    pattern = torch.tensor(header)
    for row in range(len(input_ids)):
        ids = input_ids[row]
        begin = 0
        for end in torch.nonzero(ids == eos).flatten().tolist():
            for at in range(begin, end - len(pattern) + 1):
                if torch.equal(ids[at : at + len(pattern)], pattern):
                    labels[row, begin : at + len(pattern)] = -100
                    break
            begin = end + 1
    labels[attention_mask == 0] = -100
    return labels


class Padded:
    """Replaces the base class of TRL's removed collator and returns its padded input, so that only the masking is timed."""

    def __init__(self, *, tokenizer, mlm):
        self.tokenizer, self.mlm = tokenizer, mlm

    def torch_call(self, batch):
        return {"input_ids": batch, "labels": batch.clone()}


def completion_only_masking(tokenizer):
    """Only the masking of TRL's removed completion-only collator: a padded tensor in, its labels out."""
    collator = removed_class(Padded)(list(ASSISTANT), list(USER), tokenizer=tokenizer)
    return lambda input_ids: collator.torch_call(input_ids)["labels"]
