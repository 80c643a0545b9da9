"""One rank of a weighted step in transformers' Trainer, run as a script: `rank.py NORMALIZE OUT.pt BATCH ACCUMULATE`."""

import sys
from pathlib import Path

import torch
from datasets import Dataset
from spanmask import ChatFormat, DataCollatorForChat, MaskPolicy, RoleBoundary
from spanmask.integrations.weighted_loss import WeightedLossTrainer
from tokenizers import Tokenizer, models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, TrainingArguments

ROWS = [
    [1, 5, 7, 8, 2, 5, 6, 9, 10, 2],
    [1, 5, 7, 8, 8, 8, 2, 5, 6, 9, 2, 5, 7, 8, 2, 5, 6, 11, 12, 13, 2],
    [1, 5, 7, 8, 2, 5, 6, 14, 2],
    [1, 5, 7, 8, 2, 5, 6, 15, 15, 15, 15, 15, 15, 2],
]
FORMAT = ChatFormat([RoleBoundary("assistant", [5, 6], [2]), RoleBoundary("user", [5, 7], [2])])

normalize, out, batch, accumulate = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
torch.set_num_threads(1)
torch.manual_seed(0)
size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
model = LlamaForCausalLM(LlamaConfig(vocab_size=32, **size))
backend = Tokenizer(models.WordLevel({"<pad>": 0}, unk_token="<pad>"))
tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>")
args = TrainingArguments(
    output_dir=str(out.parent),
    per_device_train_batch_size=batch,
    gradient_accumulation_steps=accumulate,
    max_steps=1,
    learning_rate=0.5,
    lr_scheduler_type="constant",
    optim="sgd",
    max_grad_norm=0.0,
    report_to=[],
    save_strategy="no",
    remove_unused_columns=False,
    disable_tqdm=True,
    use_cpu=True,
)
WeightedLossTrainer(
    model=model,
    args=args,
    train_dataset=Dataset.from_dict({"input_ids": ROWS, "turn_weights": [[0.5], [2.0, 0.25], [1.0], [3.0]]}),
    data_collator=DataCollatorForChat(tokenizer, chat_format=FORMAT, policy=MaskPolicy(prompt_weight=0.125)),
    normalize=normalize,
).train()
if args.process_index == 0:
    torch.save(torch.cat([parameter.detach().flatten() for parameter in model.parameters()]), out)
if torch.distributed.is_initialized():
    torch.distributed.barrier()  # gloo aborts a rank if its peer has already exited
    torch.distributed.destroy_process_group()
