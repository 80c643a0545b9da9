"""Peers that no package holds, written again from their description, and parts of installed ones, to be timed by themselves."""

import importlib.metadata

import torch
from chats import ASSISTANT, EOS, USER
from support.completion_only import WHEEL, removed_class

TRL = f"trl-{importlib.metadata.version('trl')}"
REMOVED_TRL = "-".join(WHEEL.name.split("-")[:2])
TRANSFORMERS = f"transformers-{importlib.metadata.version('transformers')}"


def loop_labels(input_ids, attention_mask, header=ASSISTANT, eos=EOS):
    """Labels of the first story's own collator: a Python loop over the EOS positions and, between them, over token patterns.

    `input_ids`, `attention_mask`: int64 [B, T]. Every answer ends with EOS, so each EOS closes a stretch that begins behind the one
    before it; the stretch is masked up to its header, which is looked for token by token. What stands behind the last EOS is not
    looked at: where truncation cut the last answer off, the question in front of it trains.
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
    """Stands where transformers' collator does, and gives the padded batch that is there already: what is left is the masking."""

    def __init__(self, *, tokenizer, mlm):
        self.tokenizer, self.mlm = tokenizer, mlm

    def torch_call(self, batch):
        return {"input_ids": batch, "labels": batch.clone()}


def completion_only_masking(tokenizer):
    """The masking of TRL's removed completion-only collator alone: a padded tensor in, its labels out."""
    collator = removed_class(Padded)(list(ASSISTANT), list(USER), tokenizer=tokenizer)
    return lambda input_ids: collator.torch_call(input_ids)["labels"]
