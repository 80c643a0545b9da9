# ruff: noqa: E501
"""Chat templates in the style of public formats that TRL does not include, written for these tests.

Most have a property that makes them hard to derive: see the comments. `special`: the added tokens of such a model's tokenizer; all other
markers are plain text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from support.tool_templates import TOOL_TEMPLATES

LOOP = "{% for m in messages %}"
END = "{% endfor %}"
RAISE = "{{ raise_exception('roles must alternate') }}"
ALTERNATE = "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}" + RAISE + "{% endif %}"
SYSTEM_FIRST = (
    "{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] %}{% set rest = messages[1:] %}"
    "{% else %}{% set system = '' %}{% set rest = messages %}{% endif %}"
)


class Style(NamedTuple):
    template: str
    special: tuple[str, ...] = ()
    kwargs: Mapping[str, object] = MappingProxyType({})


def by_role(system: str, user: str, assistant: str, prompt: str, before: str = "", after: str = "") -> str:
    """A template with one line per role."""
    lines = [("system", system), ("user", user), ("assistant", assistant)]
    body = "".join(
        f"{{% {'if' if n == 0 else 'elif'} m['role'] == '{role}' %}}{text.replace('@', chr(123) * 2 + ' m.content ' + chr(125) * 2)}"
        for n, (role, text) in enumerate(lines)
    )
    return before + LOOP + body + "{% endif %}" + END + "{% if add_generation_prompt %}" + prompt + "{% endif %}" + after


CHATML = "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
CHATML_PROMPT = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
IM = ("<|im_start|>", "<|im_end|>")
HEADER = ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")

STYLES = {
    "chatml": Style(LOOP + CHATML + END + CHATML_PROMPT, IM),
    "chatml_markers_as_text": Style(LOOP + CHATML + END + CHATML_PROMPT),
    "chatml_default_system": Style(
        LOOP
        + "{% if loop.first and m['role'] != 'system' %}{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}"
        + CHATML
        + END
        + CHATML_PROMPT,
        IM,
    ),
    # the last turn has no end: the trainer appends EOS
    "chatml_open_end": Style(
        LOOP
        + "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] }}{% if not loop.last %}{{ '<|im_end|>\n' }}{% endif %}"
        + END
        + CHATML_PROMPT,
        IM,
    ),
    "chatml_always_prompts": Style(
        LOOP + CHATML + END + "{% if messages[-1]['role'] == 'user' %}{{ '<|im_start|>assistant\n' }}{% endif %}", IM
    ),
    "vicuna": Style(
        SYSTEM_FIRST
        + "{{ bos_token }}{% if system %}{{ system + ' ' }}{% endif %}{% for m in rest %}"
        + "{% if m['role'] == 'user' %}{{ 'USER: ' + m['content'] + ' ' }}{% else %}{{ 'ASSISTANT: ' + m['content'] + eos_token }}{% endif %}"
        + "{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
    ),
    "vicuna_system_prompt": Style(
        "{{ bos_token }}A chat between a curious user and an artificial intelligence assistant."
        + LOOP
        + "{% if m['role'] == 'user' %}{{ ' USER: ' + m['content'] }}"
        + "{% elif m['role'] == 'assistant' %}{{ ' ASSISTANT: ' + m['content'] + eos_token }}{% endif %}"
        + END
        + "{% if add_generation_prompt %}{{ ' ASSISTANT:' }}{% endif %}"
    ),
    # every role but the user is written as the assistant, the system message too
    "system_as_assistant": Style(
        LOOP
        + "{% if m['role'] == 'user' %}{{ ' USER: ' + m['content'] }}{% else %}{{ ' ASSISTANT: ' + m['content'] + eos_token }}{% endif %}"
        + END
        + "{% if add_generation_prompt %}{{ ' ASSISTANT:' }}{% endif %}"
    ),
    "alpaca": Style(
        by_role("@\n\n", "### Instruction:\n@\n\n", "### Response:\n@\n\n", "### Response:\n", before="{{ bos_token }}")
    ),
    "alpaca_eos": Style(
        by_role("@\n\n", "### Instruction:\n@\n\n", "### Response:\n@{{ eos_token }}\n\n", "### Response:\n", "{{ bos_token }}")
    ),
    # the system message is folded into the first user turn; whitespace is stripped
    "llama2": Style(
        SYSTEM_FIRST
        + "{% for m in rest %}"
        + ALTERNATE
        + "{% if loop.first and system %}{% set content = '<<SYS>>\n' + system + '\n<</SYS>>\n\n' + m['content'] %}"
        + "{% else %}{% set content = m['content'] %}{% endif %}"
        + "{% if m['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
        + "{% else %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
    ),
    "mistral_v1": Style(
        "{{ bos_token }}"
        + LOOP
        + ALTERNATE
        + "{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}{% elif m['role'] == 'assistant' %}"
        + "{{ m['content'] + eos_token }}{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}"
        + END
    ),
    # the system message goes into the last user turn, tool calls and results
    "mistral_v3": Style(
        SYSTEM_FIRST
        + "{{ bos_token }}{% for m in rest %}{% if m['role'] == 'user' %}"
        + "{% if tools and loop.last %}{{ '[AVAILABLE_TOOLS] ' + tools|tojson + '[/AVAILABLE_TOOLS]' }}{% endif %}"
        + "{{ '[INST] ' }}{% if loop.last and system %}{{ system + '\n\n' }}{% endif %}{{ m['content'] + '[/INST]' }}"
        + "{% elif m['role'] == 'tool' %}"
        + '{{ \'[TOOL_RESULTS] {"content": \' + m[\'content\']|string + \', "call_id": "\' + m.tool_call_id + \'"}[/TOOL_RESULTS]\' }}'
        + "{% elif m.tool_calls %}{{ '[TOOL_CALLS] [' }}{% for c in m.tool_calls %}{{ c.function|tojson }}"
        + "{% if not loop.last %}, {% endif %}{% endfor %}{{ ']' + eos_token }}"
        + "{% else %}{{ ' ' + m['content']|trim + eos_token }}{% endif %}{% endfor %}",
        ("[INST]", "[/INST]", "[TOOL_CALLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]"),
    ),
    "mistral_v7": Style(
        by_role(
            "[SYSTEM_PROMPT]@[/SYSTEM_PROMPT]",
            "[INST]@[/INST]",
            "{% if m.tool_calls %}{% for c in m.tool_calls %}[TOOL_CALLS]{{ c.function.name }}[ARGS]{{ c.function.arguments|tojson }}"
            "{% endfor %}{% else %}@{% endif %}{{ eos_token }}{% elif m['role'] == 'tool' %}[TOOL_RESULTS]@[/TOOL_RESULTS]",
            "",
            before="{{ bos_token }}",
        ),
        ("[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CALLS]", "[ARGS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]"),
    ),
    "zephyr": Style(
        by_role(
            "{{ '<|system|>\n' }}@{{ eos_token + '\n' }}",
            "{{ '<|user|>\n' }}@{{ eos_token + '\n' }}",
            "{{ '<|assistant|>\n' }}@{{ eos_token + '\n' }}",
            "<|assistant|>\n",
        )
    ),
    "tulu": Style(
        LOOP
        + "{{ '<|' + m['role'] + '|>\n' + m['content'] }}{% if m['role'] == 'assistant' %}{{ eos_token }}{% endif %}"
        + "{% if not loop.last %}{{ '\n' }}{% endif %}"
        + END
        + "{% if add_generation_prompt %}{{ '\n<|assistant|>\n' }}{% endif %}",
        ("<|user|>", "<|assistant|>", "<|system|>"),
    ),
    "olmo": Style(
        "{{ bos_token }}"
        + LOOP
        + "{{ '<|' + m['role'] + '|>\n' + m['content'] }}{% if m['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\n' }}"
        + END
        + "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
    ),
    "phi3": Style(
        by_role(
            "<|system|>\n@<|end|>\n", "<|user|>\n@<|end|>\n", "<|assistant|>\n@<|end|>\n", "<|assistant|>\n", "{{ bos_token }}",
            "{% if not add_generation_prompt %}{{ eos_token }}{% endif %}",
        ),
        ("<|user|>", "<|assistant|>", "<|system|>", "<|end|>"),
    ),
    "phi4": Style(
        LOOP
        + "{{ '<|im_start|>' + m['role'] + '<|im_sep|>' + m['content'] + '<|im_end|>' }}"
        + END
        + "{% if add_generation_prompt %}{{ '<|im_start|>assistant<|im_sep|>' }}{% endif %}",
        (*IM, "<|im_sep|>"),
    ),
    "llama4": Style(
        "{{ bos_token }}"
        + LOOP
        + "{{ '<|header_start|>' + m['role'] + '<|header_end|>\n\n' }}{% if m['content'] is string %}{{ m['content']|trim }}"
        + "{% else %}{% for c in m['content'] %}{{ c['text']|trim }}{% endfor %}{% endif %}{{ '<|eot|>' }}"
        + END
        + "{% if add_generation_prompt %}{{ '<|header_start|>assistant<|header_end|>\n\n' }}{% endif %}",
        ("<|header_start|>", "<|header_end|>", "<|eot|>"),
    ),
    "command_r": Style(
        "{{ bos_token }}"
        + LOOP
        + "<|START_OF_TURN_TOKEN|>{% if m['role'] == 'user' %}<|USER_TOKEN|>{% elif m['role'] == 'assistant' %}<|CHATBOT_TOKEN|>"
        + "{% else %}<|SYSTEM_TOKEN|>{% endif %}{{ m['content'] }}<|END_OF_TURN_TOKEN|>"
        + END
        + "{% if add_generation_prompt %}<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>{% endif %}",
        ("<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>", "<|USER_TOKEN|>", "<|CHATBOT_TOKEN|>", "<|SYSTEM_TOKEN|>"),
    ),
    "deepseek_v2": Style(
        by_role("@\n\n", "User: @\n\n", "Assistant: @{{ eos_token }}", "Assistant:", before="{{ bos_token }}"),
    ),
    "deepseek_coder": Style(
        by_role("@", "### Instruction:\n@\n", "### Response:\n@\n<|EOT|>\n", "### Response:", before="{{ bos_token }}"), ("<|EOT|>",)
    ),
    "deepseek_v31": Style(
        SYSTEM_FIRST
        + "{{ bos_token + system }}{% for m in rest %}{% if m['role'] == 'user' %}{{ '<｜User｜>' + m['content'] }}"
        + "{% elif m['role'] == 'assistant' %}{{ '<｜Assistant｜></think>' + m['content'] + '<｜end▁of▁sentence｜>' }}{% endif %}{% endfor %}"
        + "{% if add_generation_prompt %}{{ '<｜Assistant｜>' }}{{ '<think>' if thinking else '</think>' }}{% endif %}",
        ("<｜User｜>", "<｜Assistant｜>", "<think>", "</think>", "<｜end▁of▁sentence｜>"),
    ),
    "falcon": Style(by_role("System: @\n\n", "User: @\n\n", "Falcon: @\n\n", "Falcon:")),
    "falcon_eos": Style(
        by_role("@\n", "User: @\n", "Assistant: @{{ eos_token }}\n", "Assistant:"),
    ),
    "openchat": Style(
        "{{ bos_token }}"
        + LOOP
        + "{{ 'GPT4 Correct ' + m['role'].title() + ': ' + m['content'] + '<|end_of_turn|>' }}"
        + END
        + "{% if add_generation_prompt %}{{ 'GPT4 Correct Assistant:' }}{% endif %}",
        ("<|end_of_turn|>",),
    ),
    "granite": Style(
        LOOP
        + "{{ '<|start_of_role|>' + m['role'] + '<|end_of_role|>' + m['content'] + '<|end_of_text|>\n' }}"
        + END
        + "{% if add_generation_prompt %}{{ '<|start_of_role|>assistant<|end_of_role|>' }}{% endif %}",
        ("<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>"),
    ),
    "internlm": Style("{{ bos_token }}" + LOOP + CHATML + END + CHATML_PROMPT, IM),
    "internlm1": Style(
        by_role("<|System|>:@\n", "<|User|>:@\n", "<|Bot|>:@<eoa>\n", "<|Bot|>:", before="{{ bos_token }}"), ("<eoa>",)
    ),
    "baichuan": Style(
        by_role("@", "<reserved_106>@", "<reserved_107>@", "<reserved_107>"), ("<reserved_106>", "<reserved_107>")
    ),
    "chatglm3": Style(
        "{{ '[gMASK]sop' }}"
        + LOOP
        + "{{ '<|' + m['role'] + '|>\n ' + m['content'] }}"
        + END
        + "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}",
        ("<|user|>", "<|assistant|>", "<|system|>", "[gMASK]", "sop"),
    ),
    "mpt": Style(
        LOOP
        + "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] }}{% if (loop.last and add_generation_prompt) or not loop.last %}"
        + "{{ '<|im_end|>' + '\n' }}{% endif %}"
        + END
        + "{% if add_generation_prompt and messages[-1]['role'] != 'assistant' %}{{ '<|im_start|>assistant\n' }}{% endif %}",
        IM,
    ),
    "gemma": Style(
        "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
        + LOOP
        + ALTERNATE
        + "{% set role = 'model' if m['role'] == 'assistant' else m['role'] %}"
        + "{{ '<start_of_turn>' + role + '\n' + m['content'] | trim + '<end_of_turn>\n' }}"
        + END
        + "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}",
        ("<start_of_turn>", "<end_of_turn>"),
    ),
    "hermes": Style(
        "{% if tools %}{{ '<|im_start|>system\n# Tools\n<tools>' + tools|tojson + '</tools><|im_end|>\n' }}{% endif %}"
        + LOOP
        + "{% if m['role'] == 'tool' %}{% if loop.previtem and loop.previtem['role'] != 'tool' %}{{ '<|im_start|>tool\n' }}{% endif %}"
        + "{{ '<tool_response>\n' + m['content'] + '\n</tool_response>\n' }}"
        + "{% if loop.last or loop.nextitem['role'] != 'tool' %}{{ '<|im_end|>\n' }}{% endif %}"
        + "{% elif m.tool_calls %}{{ '<|im_start|>assistant' }}{% for c in m.tool_calls %}"
        + "{{ '\n<tool_call>\n' + {'name': c.function.name, 'arguments': c.function.arguments}|tojson + '\n</tool_call>' }}{% endfor %}"
        + "{{ '<|im_end|>\n' }}{% else %}"
        + CHATML
        + "{% endif %}"
        + END
        + CHATML_PROMPT,
        IM,
    ),
    # tools and the date are variables: without them the template fails
    "firefunction": Style(
        "{% set system = 'Functions: ' + functions|tojson + '\nToday is ' + datetime + '.' %}"
        "{{ bos_token + '<|start_header_id|>system<|end_header_id|>\n\n' + system + '<|eot_id|>' }}"
        + LOOP
        + "{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' + m['content'] | trim + '<|eot_id|>' }}"
        + END
        + "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
        HEADER,
        {"functions": [], "datetime": "2024-01-01"},
    ),
    # every message names a channel after its header
    "functionary": Style(
        LOOP
        + "{% if m['role'] == 'assistant' %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n>>>all\n' + m['content'] + '<|eot_id|>' }}"
        + "{% else %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' + m['content'] + '<|eot_id|>' }}{% endif %}"
        + END
        + "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n>>>' }}{% endif %}",
        HEADER,
    ),
    "kimi": Style(
        LOOP
        + "{{ '<|im_' + m['role'] + '|>' + m['role'] + '<|im_middle|>' + m['content'] + '<|im_end|>' }}"
        + END
        + "{% if add_generation_prompt %}{{ '<|im_assistant|>assistant<|im_middle|>' }}{% endif %}",
        ("<|im_user|>", "<|im_assistant|>", "<|im_system|>", "<|im_middle|>", "<|im_end|>"),
    ),
    "minimax": Style(
        "{{ ']~!b[' }}"
        + by_role("]~b]system\n@[e~[\n", "]~b]user\n@[e~[\n", "]~b]ai\n@[e~[\n", "]~b]ai\n<think>\n"),
        ("]~!b[", "]~b]", "[e~[", "<think>", "</think>"),
    ),
    "seed": Style(
        LOOP
        + "{{ '<seed:bos>' + m['role'] + '\n' + m['content'] + '<seed:eos>' }}"
        + END
        + "{% if add_generation_prompt %}{{ '<seed:bos>assistant\n' }}{% endif %}",
        ("<seed:bos>", "<seed:eos>"),
    ),
    "apertus": Style(
        "{{ bos_token }}"
        + LOOP
        + "{{ '<|' + m['role'] + '_start|>' + m['content'] + '<|' + m['role'] + '_end|>' }}"
        + "{% if m['role'] == 'system' %}<|developer_start|>Deliberation: disabled<|developer_end|>{% endif %}"
        + END
        + "{% if add_generation_prompt %}<|assistant_start|>{% endif %}",
        ("<|system_start|>", "<|system_end|>", "<|user_start|>", "<|user_end|>", "<|assistant_start|>", "<|assistant_end|>",
         "<|developer_start|>", "<|developer_end|>"),
    ),
    "exaone": Style(
        by_role("[|system|]@[|endofturn|]\n", "[|user|]@\n", "[|assistant|]@[|endofturn|]\n", "[|assistant|]"),
        ("[|system|]", "[|endofturn|]", "[|user|]", "[|assistant|]"),
    ),
    "exaone_as_text": Style(by_role("[|system|]@[|endofturn|]\n", "[|user|]@\n", "[|assistant|]@[|endofturn|]\n", "[|assistant|]")),
    "hunyuan": Style(
        by_role("<|hy_bos|>@<|hy_sys|>", "<|hy_user|>@", "<|hy_assistant|>@<|hy_eos|>", "<|hy_assistant|>"),
        ("<|hy_bos|>", "<|hy_sys|>", "<|hy_user|>", "<|hy_assistant|>", "<|hy_eos|>"),
    ),
    "solar": Style(
        by_role("### System:\n@\n\n", "### User:\n@\n\n", "### Assistant:\n@{{ eos_token }}\n\n", "### Assistant:\n")
    ),
    "orion": Style(
        "{{ bos_token }}"
        + by_role("", "Human: @\n\n", "Assistant: {{ eos_token }}@{{ eos_token }}", "Assistant: {{ eos_token }}")
    ),
    "guanaco": Style(by_role("@\n", "### Human: @ ", "### Assistant: @{{ eos_token }}", "### Assistant:")),
    "koala": Style("{{ 'BEGINNING OF CONVERSATION: ' }}" + by_role("@ ", "USER: @ ", "GPT: @{{ eos_token }}", "GPT:")),
    "ziya": Style(by_role("@\n", "<human>:@\n", "<bot>:@\n", "<bot>:")),
    "xverse": Style(by_role("@", "Human: @\n\n", "Assistant: @<|endoftext|>", "Assistant: "), ("<|endoftext|>",)),
    "saiga": Style(
        LOOP
        + "{{ bos_token + m['role'] + '\n' + m['content'] + eos_token }}"
        + END
        + "{% if add_generation_prompt %}{{ bos_token + 'bot\n' }}{% endif %}"
    ),
    "codellama_70b": Style(
        "{{ bos_token }}"
        + LOOP
        + "{{ 'Source: ' + m['role'] }}{% if m['role'] == 'assistant' %}{{ '\nDestination: user' }}{% endif %}"
        + "{{ '\n\n ' + m['content'].strip() + ' <step> ' }}"
        + END
        + "{% if add_generation_prompt %}{{ 'Source: assistant\nDestination: user\n\n ' }}{% endif %}",
        ("<step>",),
    ),
    "assistant_tags_as_text": Style(
        by_role("<system>@</system>\n", "<user>@</user>\n", "<assistant>@</assistant>\n", "<assistant>")
    ),
    "separator_as_text": Style(by_role("system: @<sep>", "user: @<sep>", "assistant: @<sep>", "assistant: "), ("<sep>",)),
    # earlier turns lose their reasoning, the last gets an empty think block
    "rewrites_history": Style(
        LOOP
        + "{% if m['role'] == 'assistant' %}{% set text = m['content'].split('</think>')[-1] %}"
        + "{{ '<|im_start|>assistant\n' }}{% if loop.last %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{{ text + '<|im_end|>\n' }}"
        + "{% else %}"
        + CHATML
        + "{% endif %}"
        + END
        + "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n' }}{% endif %}",
        (*IM, "<think>", "</think>"),
    ),
    "system_last": Style(
        SYSTEM_FIRST
        + "{% for m in rest %}{% if loop.last and system %}{{ '<|im_start|>system\n' + system + '<|im_end|>\n' }}{% endif %}"
        + CHATML
        + "{% endfor %}"
        + CHATML_PROMPT,
        IM,
    ),
    "bilingual_roles": Style(by_role("系统：@\n", "用户：@\n", "助手：@</s>\n", "助手：")),
    "parts_only": Style(
        LOOP
        + "{{ '<|im_start|>' + m['role'] + '\n' }}{% for c in m['content'] %}{% if c['type'] == 'image' %}<image>{% else %}{{ c['text'] }}"
        + "{% endif %}{% endfor %}{{ '<|im_end|>\n' }}"
        + END
        + CHATML_PROMPT,
        (*IM, "<image>"),
    ),
    "parts_for_users": Style(
        LOOP
        + "{{ '<|im_start|>' + m['role'] + '\n' }}{% if m['role'] == 'user' %}{% for c in m['content'] %}{{ c['text'] }}{% endfor %}"
        + "{% else %}{{ m['content'] + '' }}{% endif %}{{ '<|im_end|>\n' }}"
        + END
        + CHATML_PROMPT,
        IM,
    ),
    # the header's word comes before its token
    "gigachat": Style(
        LOOP
        + "{{ m['role'] + '<|role_sep|>\n' + m['content'] + '<|message_sep|>\n\n' }}"
        + END
        + "{% if add_generation_prompt %}{{ 'assistant<|role_sep|>\n' }}{% endif %}",
        ("<|role_sep|>", "<|message_sep|>"),
    ),
    "bailing": Style(
        by_role(
            "<role>SYSTEM</role>@<|role_end|>", "<role>HUMAN</role>@<|role_end|>", "<role>ASSISTANT</role>@<|role_end|>",
            "<role>ASSISTANT</role>\n<think>",
        ),
        ("<role>", "</role>", "<|role_end|>"),
    ),
    "nemotron_v2": Style(
        by_role(
            "<SPECIAL_10>System\n@\n", "<SPECIAL_11>User\n@\n", "<SPECIAL_11>Assistant\n<think></think>@\n<SPECIAL_12>\n",
            "<SPECIAL_11>Assistant\n<think>\n", before="{{ bos_token }}",
        ),
        ("<SPECIAL_10>", "<SPECIAL_11>", "<SPECIAL_12>", "<think>", "</think>"),
    ),
    "jamba": Style(
        by_role("<|bom|><|system|> @<|eom|>", "<|bom|><|user|> @<|eom|>", "<|bom|><|assistant|> @<|eom|>", "<|bom|><|assistant|>"),
        ("<|bom|>", "<|eom|>", "<|system|>", "<|user|>", "<|assistant|>"),
    ),
    "telechat": Style(by_role("<_system>@", "<_user>@", "<_bot>@<_end>\n", "<_bot>"), ("<_system>", "<_user>", "<_bot>", "<_end>")),
    "reka": Style(by_role("@ ", "human: @ <sep> ", "assistant: @ <sep> ", "assistant:"), ("<sep>",)),
    "ernie": Style(
        "{{ '<|begin_of_sentence|>' }}" + by_role("@\n", "User: @\n", "Assistant: @<|end_of_sentence|>", "Assistant: "),
        ("<|begin_of_sentence|>", "<|end_of_sentence|>"),
    ),
    "dots": Style(
        by_role(
            "<|system|>@<|endofsystem|>", "<|userprompt|>@<|endofuserprompt|>", "<|response|>@<|endofresponse|>", "<|response|>"
        ),
        ("<|system|>", "<|endofsystem|>", "<|userprompt|>", "<|endofuserprompt|>", "<|response|>", "<|endofresponse|>"),
    ),
    "starcoder2": Style(
        "{{ eos_token + 'You are an exceptionally intelligent coding assistant.\n\n' }}"
        + by_role("@\n\n", "### Instruction\n@\n\n", "### Response\n@{{ eos_token }}", "### Response\n")
    ),
    # content in parts, role names in capitals
    "parts_llava": Style(
        LOOP
        + "{% if m['role'] != 'system' %}{{ m['role'].upper() + ': ' }}{% endif %}"
        + "{% for c in m['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\n' }}{% endfor %}"
        + "{% for c in m['content'] | selectattr('type', 'equalto', 'text') %}{{ c['text'] + ' ' }}{% endfor %}"
        + END
        + "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}",
        ("<image>",),
    ),
    # adds a system prompt with the day's date
    "smollm": Style(
        SYSTEM_FIRST
        + "{{ '<|im_start|>system\n## Metadata\n\nToday Date: ' + strftime_now('%d %B %Y') + '\n\n## Custom Instructions\n\n' }}"
        + "{% if system %}{{ system.rstrip() }}{% else %}{{ 'You are a helpful AI assistant.' }}{% endif %}{{ '<|im_end|>\n' }}"
        + "{% for m in rest %}{% if m['role'] == 'assistant' %}{{ '<|im_start|>assistant\n<think>\n\n</think>\n' + m['content'].lstrip('\n') }}"
        + "{{ '<|im_end|>\n' }}{% else %}"
        + CHATML
        + "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
        (*IM, "<think>", "</think>"),
    ),
    # reasoning and answer in channels of one turn
    "solar_open": Style(
        LOOP
        + "{% if m['role'] == 'assistant' %}{% if m.reasoning_content %}{{ '<|begin|>assistant<|think|>' + m.reasoning_content + '<|end|>' }}"
        + "{% endif %}{{ '<|begin|>assistant<|content|>' + m['content'] + '<|end|>' }}"
        + "{% else %}{{ '<|begin|>' + m['role'] + '<|content|>' + m['content'] + '<|end|>' }}{% endif %}"
        + END
        + "{% if add_generation_prompt %}{{ '<|begin|>assistant' }}{% endif %}",
        ("<|begin|>", "<|think|>", "<|content|>", "<|end|>"),
    ),
    # the generation prompt begins the reasoning in words; earlier turns have none
    "apriel": Style(
        LOOP
        + "{% if m['role'] == 'assistant' %}{{ '<|assistant|>\n' }}"
        + "{% if m.reasoning_content %}{{ 'Here are my reasoning steps:\n' + m.reasoning_content }}{% endif %}"
        + "{{ '[BEGIN FINAL RESPONSE]\n' + m['content'] + '\n[END FINAL RESPONSE]\n<|end|>\n' }}"
        + "{% else %}{{ '<|' + m['role'] + '|>\n' + m['content'] + '\n' }}{% endif %}"
        + END
        + "{% if add_generation_prompt %}{{ '<|assistant|>\nHere are my reasoning steps:\n' }}{% endif %}",
        ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
    ),
    # tool results in a role with another name; calls written as code
    "olmo3": Style(
        LOOP
        + "{% if m['role'] == 'tool' %}{{ '<|im_start|>environment\n' + m['content'] + '<|im_end|>\n' }}"
        + "{% elif m['role'] == 'assistant' %}{{ '<|im_start|>assistant\n' }}{% if m['content'] %}{{ m['content'] }}{% endif %}"
        + "{% if m.tool_calls %}{{ '<function_calls>' }}{% for c in m.tool_calls %}{{ c.function.name }}("
        + "{% for k, v in c.function.arguments.items() %}{{ k }}={{ v|tojson }}{% endfor %})"
        + "{% endfor %}{{ '</function_calls>' }}{% endif %}{{ '<|im_end|>\n' }}{% else %}"
        + CHATML
        + "{% endif %}"
        + END
        + "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>' }}{% endif %}",
        (*IM, "<think>", "</think>"),
    ),
    "command_r7b": Style(
        "{{ bos_token }}<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|># System Preamble\nYou are Command.<|END_OF_TURN_TOKEN|>"
        + LOOP
        + "{% if m['role'] == 'system' %}<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|># Developer Preamble\n{{ m['content'] }}<|END_OF_TURN_TOKEN|>"
        + "{% elif m['role'] == 'user' %}<|START_OF_TURN_TOKEN|><|USER_TOKEN|>{{ m['content'] }}<|END_OF_TURN_TOKEN|>"
        + "{% elif m['role'] == 'assistant' %}<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>{% if m.tool_calls %}<|START_ACTION|>["
        + "{% for c in m.tool_calls %}{{ c.function|tojson }}{% endfor %}]<|END_ACTION|>"
        + "{% else %}<|START_RESPONSE|>{{ m['content'] }}<|END_RESPONSE|>{% endif %}<|END_OF_TURN_TOKEN|>"
        + "{% elif m['role'] == 'tool' %}<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|><|START_TOOL_RESULT|>[{{ m['content']|tojson }}]"
        + "<|END_TOOL_RESULT|><|END_OF_TURN_TOKEN|>{% endif %}"
        + END
        + "{% if add_generation_prompt %}<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>{% endif %}",
        ("<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>", "<|USER_TOKEN|>", "<|CHATBOT_TOKEN|>", "<|SYSTEM_TOKEN|>", "<|START_ACTION|>",
         "<|END_ACTION|>", "<|START_RESPONSE|>", "<|END_RESPONSE|>", "<|START_TOOL_RESULT|>", "<|END_TOOL_RESULT|>"),
    ),
    "hunyuan_placeholder": Style(
        SYSTEM_FIRST
        + "{{ '<|hy_bos|>' }}{% if system %}{{ system + '<|hy_3|>' }}{% endif %}{% for m in rest %}"
        + "{% if m['role'] == 'user' %}{{ '<|hy_User|>' + m['content'] }}{% else %}{{ '<|hy_Assistant|>' + m['content'] + '<|hy_2|>' }}"
        + "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|hy_Assistant|>' }}{% else %}{{ '<|hy_8|>' }}{% endif %}",
        ("<|hy_bos|>", "<|hy_3|>", "<|hy_User|>", "<|hy_Assistant|>", "<|hy_2|>", "<|hy_8|>"),
    ),
    "sailor": Style(
        LOOP
        + "{% set name = {'user': 'question', 'assistant': 'answer', 'system': 'system'}[m['role']] %}"
        + "{{ '<|im_start|>' + name + '\n' + m['content'] + '<|im_end|>\n' }}"
        + END
        + "{% if add_generation_prompt %}{{ '<|im_start|>answer\n' }}{% endif %}",
        IM,
    ),
    "phi2": Style(by_role("@\n", "Instruct: @\n", "Output: @\n", "Output:")),
    # calls, results and answers are in one turn of the assistant
    "tools_in_turn": Style(
        "{{ bos_token }}{% set ns = namespace(open=false) %}"
        + LOOP
        + "{% if m['role'] in ('assistant', 'tool') %}{% if not ns.open %}{{ '<|assistant_start|>' }}{% set ns.open = true %}{% endif %}"
        + "{% if m['role'] == 'tool' %}{{ '<|result|>' + m['content'] + '<|/result|>' }}"
        + "{% elif m.tool_calls %}{{ '<|call|>' + m.tool_calls[0].function|tojson + '<|/call|>' }}"
        + "{% else %}{{ m['content'] + '<|assistant_end|>' }}{% set ns.open = false %}{% endif %}"
        + "{% else %}{{ '<|' + m['role'] + '_start|>' + m['content'] + '<|' + m['role'] + '_end|>' }}{% endif %}"
        + END
        + "{% if add_generation_prompt and not ns.open %}{{ '<|assistant_start|>' }}{% endif %}",
        ("<|system_start|>", "<|system_end|>", "<|user_start|>", "<|user_end|>", "<|assistant_start|>", "<|assistant_end|>", "<|call|>",
         "<|/call|>", "<|result|>", "<|/result|>"),
    ),
}  # fmt: skip
# Token ids do not show the turns of these: no marker that is the same in all rows follows an answer.
UNDERIVABLE = {
    # the rounds are numbered
    "chatglm2": Style(
        "{% set ns = namespace(round=0) %}"
        + LOOP
        + "{% if m['role'] == 'user' %}{% set ns.round = ns.round + 1 %}{{ '[Round ' ~ ns.round ~ ']\n\n问：' + m['content'] + '\n\n' }}"
        + "{% elif m['role'] == 'assistant' %}{{ '答：' + m['content'] + '\n\n' }}{% else %}{{ raise_exception('no system') }}{% endif %}"
        + END
        + "{% if add_generation_prompt %}{{ '答：' }}{% endif %}"
    ),
}  # fmt: skip

STYLES |= {name: Style(*parts) for name, parts in TOOL_TEMPLATES.items()}

SPECIAL = re.compile(
    r"<\|[^<>|\s]{1,40}\|>|<｜[^<>\s]{1,40}｜>|<\|?[a-z_]+\|?>|<\|\"\|>|</s>|</think>|\[/?[A-Z_]{3,20}\]|\[gMASK\]|<sop>"
)


def special_looking(templates: list[str]) -> tuple[str, ...]:
    """Everything in the templates that looks like an added token."""
    return tuple(sorted({match for template in templates for match in SPECIAL.findall(template)}))
