"""What TRL prepared, compared with what spanmask trains, by the audit."""

import pytest
from datasets import Dataset
from spanmask import MaskPolicy, audit, encode_chat
from support.tiny_models import CONVERSATIONS, causal_model, chat_tokenizer
from trl import SFTConfig, SFTTrainer

MARKED = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}{% if m['role'] == 'assistant' %}"
    "{% generation %}{{ m['content'] + '<|im_end|>\n' }}{% endgeneration %}{% else %}{{ m['content'] + '<|im_end|>\n' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@pytest.mark.filterwarnings("ignore:`gradient_checkpointing` is deprecated:FutureWarning")
def test_labels_of_trl_and_ours(tmp_path):
    tokenizer = chat_tokenizer()
    tokenizer.chat_template = MARKED
    args = SFTConfig(str(tmp_path), assistant_only_loss=True, max_length=None, bf16=False, use_cpu=True, report_to=[])
    rows = Dataset.from_dict({"messages": CONVERSATIONS})
    trainer = SFTTrainer(causal_model(tokenizer), args, train_dataset=rows, processing_class=tokenizer)
    prepared = trainer.train_dataset
    ours = encode_chat(tokenizer, CONVERSATIONS)
    answers = sum(message["role"] == "assistant" for chat in CONVERSATIONS for message in chat)
    report = audit(prepared, tokenizer, compare=MaskPolicy())
    both = report.comparison
    # Within its marks, TRL also trains the line break after the stop token: one token for each answer.
    assert (both.rows, both.different) == (len(CONVERSATIONS), len(CONVERSATIONS))
    assert (both.only_first, both.only_second) == (answers, 0)
    assert both.both == int((ours.labels.values != -100).sum())
    assert both.first == "labels of the data"
    again = audit(Dataset.from_dict({"messages": CONVERSATIONS}), tokenizer, compare=prepared).comparison
    assert (again.only_first, again.only_second, again.both) == (0, answers, both.both)
