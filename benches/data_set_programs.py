"""Programs that prepare chats without spanmask. `data_sets.py` runs and times them.

python benches/data_set_programs.py tokenize TOKENIZER CHATS.parquet OUT.parquet              ids only
python benches/data_set_programs.py trl TOKENIZER CHATS.parquet OUT.parquet PROCESSES         ids and labels, by TRL's trainer
"""

import sys

import pyarrow as pa
import pyarrow.parquet as pq


def tokenize(saved, chats, out):
    """The least that any program must do: render all conversations, tokenize them, write the ids."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(saved)
    texts = tokenizer.apply_chat_template(pq.read_table(chats)["messages"].to_pylist(), tokenize=False)
    ids = tokenizer(texts, add_special_tokens=False)["input_ids"]
    pq.write_table(pa.table({"input_ids": pa.array(ids, pa.list_(pa.int32()))}), out, compression="zstd")


def trl(saved, chats, out, processes):
    """The trainer prepares its data set when it is made. The model is as small as it can be."""
    import datasets
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
    from trl import SFTConfig, SFTTrainer

    datasets.disable_caching()
    datasets.disable_progress_bars()
    tokenizer = AutoTokenizer.from_pretrained(saved)
    size = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **size))
    settings = {"assistant_only_loss": True, "max_length": None, "bf16": False, "use_cpu": True, "report_to": []}
    args = SFTConfig(f"{out}.trainer", dataset_num_proc=int(processes), **settings)
    rows = datasets.Dataset(pq.read_table(chats))
    trainer = SFTTrainer(model, args, train_dataset=rows, processing_class=tokenizer)
    trainer.train_dataset.to_parquet(out)


if __name__ == "__main__":
    {"tokenize": tokenize, "trl": trl}[sys.argv[1]](*sys.argv[2:])
