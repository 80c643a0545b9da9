# ruff: noqa: E501
"""Chat templates in the style of public formats for agents, written for these tests: (template, added tokens) by name.

Calls with ids, names in headers, numbered calls and results, declared tools in several places, roles without headers of their own.
"""

from __future__ import annotations

LOOP = "{% for m in messages %}"
END = "{% endfor %}"

TOOL_TEMPLATES: dict[str, tuple[str, tuple[str, ...]]] = {
    # the id of the call comes between the header of a result and its content
    "call_ids_in_results": (
        LOOP
        + "{% if m.role == 'tool' %}<|beg|>tool<|ref|>{{ m.tool_call_id }}<|out|>{{ m.content }}<|fin|>"
        + "{% elif m.tool_calls %}<|beg|>assistant<|use|>{{ m.tool_calls[0].function.name }}{{ m.tool_calls[0].function.arguments | tojson }}<|run|>"
        + "{% else %}<|beg|>{{ m.role }}<|txt|>{{ m.content }}<|fin|>{% endif %}"
        + END
        + "{% if add_generation_prompt %}<|beg|>assistant{% endif %}",
        ("<|beg|>", "<|txt|>", "<|fin|>", "<|ref|>", "<|out|>", "<|use|>", "<|run|>"),
    ),
    # declarations, calls and results are turns of their own, with words before the header's token
    "separator_after_roles": (
        "{% if tools %}tool list<|msg|>\n{{ tools | tojson }}<|eom|>\n\n{% endif %}"
        + LOOP
        + "{% if m.role == 'tool' %}tool output<|msg|>\n{{ m.content }}<|eom|>\n\n{% else %}{{ m.role }}<|msg|>\n{{ m.content }}<|eom|>\n\n"
        + '{% if m.tool_calls %}tool use<|msg|>\n{"name": "{{ m.tool_calls[0].function.name }}", "arguments": {{ m.tool_calls[0].function.arguments | tojson }}}<|eom|>\n\n'
        + "{% endif %}{% endif %}"
        + END
        + "{% if add_generation_prompt %}assistant<|msg|>\n{% endif %}",
        ("<|msg|>", "<|eom|>"),
    ),
    "answer_header_in_question": (
        LOOP + "{% if m.role == 'user' %}<|ask|>{{ m.content }}<|say|>{% else %}{{ m.content }}<|fin|>{% endif %}" + END,
        ("<|ask|>", "<|say|>", "<|fin|>"),
    ),
    # no header for an answer after a result
    "answer_continues_result": (
        "{% set ns = namespace(result=false) %}"
        + LOOP
        + "{% if m.role == 'user' %}<|ask|>{{ m.content }}{% set ns.result = false %}"
        + "{% elif m.role == 'tool' %}<|out|>{{ m.content }}<|/out|>{% set ns.result = true %}"
        + "{% else %}{{ '' if ns.result else '<|say|>' }}{{ m.content }}<|fin|>{% endif %}"
        + END
        + "{% if add_generation_prompt and not ns.result %}<|say|>{% endif %}",
        ("<|ask|>", "<|say|>", "<|fin|>", "<|out|>", "<|/out|>"),
    ),
    "roles_as_headings": (
        LOOP + "## {{ m.role | capitalize }}:\n{{ m.content }}\n\n" + END + "{% if add_generation_prompt %}## Assistant:\n{% endif %}",
        (),
    ),
    "bos_before_roles": (
        LOOP
        + "{{ bos_token + m.role + '\n' + m.content + eos_token + '\n' }}"
        + END
        + "{% if add_generation_prompt %}{{ bos_token }}assistant\n{% endif %}",
        (),
    ),
    "eos_before_roles": (
        LOOP + "{{ eos_token + m.role + '\n' + m.content }}" + END + "{{ eos_token }}{% if add_generation_prompt %}assistant\n{% endif %}",
        (),
    ),
    "plain_roles_and_separator": (
        LOOP
        + "{{ 'person: ' if m.role == 'user' else 'machine: ' }}{{ m.content }}<br>"
        + END
        + "{% if add_generation_prompt %}machine: {% endif %}",
        ("<br>",),
    ),
    "bare_roles_and_separator": (
        LOOP + "{{ m.role }}\n{{ m.content }}<br>\n" + END + "{% if add_generation_prompt %}assistant\n{% endif %}",
        ("<br>",),
    ),
    # ids, not names, in calls; results name theirs
    "kimi_k2": (
        "{% if tools %}<|im_system|>tool_declare<|im_middle|>{{ tools | tojson }}<|im_end|>{% endif %}"
        + LOOP
        + "{% if loop.first and m.role != 'system' %}<|im_system|>system<|im_middle|>You are a helper.<|im_end|>{% endif %}"
        + "{% if m.role == 'user' %}<|im_user|>user<|im_middle|>{% elif m.role == 'assistant' %}<|im_assistant|>assistant<|im_middle|>"
        + "{% elif m.role == 'tool' %}<|im_system|>{{ m.name or m.role }}<|im_middle|>## Return of {{ m.tool_call_id }}\n"
        + "{% else %}<|im_system|>{{ m.role }}<|im_middle|>{% endif %}{{ m.content or '' }}"
        + "{% if m.tool_calls %}<|tool_calls_section_begin|>{% for c in m.tool_calls %}<|tool_call_begin|>{{ c.id }}<|tool_call_argument_begin|>{{ c.function.arguments | tojson }}"
        + "<|tool_call_end|>{% endfor %}<|tool_calls_section_end|>{% endif %}<|im_end|>"
        + END
        + "{% if add_generation_prompt %}<|im_assistant|>assistant<|im_middle|>{% endif %}",
        ("<|im_system|>", "<|im_middle|>", "<|im_end|>", "<|im_user|>", "<|im_assistant|>", "<|tool_calls_section_begin|>", "<|tool_call_begin|>",
         "<|tool_call_argument_begin|>", "<|tool_call_end|>", "<|tool_calls_section_end|>"),
    ),
    # declarations before the last question; ids of nine characters after arguments and before results
    "mistral_ids": (
        "{{ bos_token }}{% set asked = messages | selectattr('role', 'equalto', 'user') | list %}"
        + LOOP
        + "{% if m.role == 'user' %}{% if tools and m == asked[-1] %}[AVAILABLE_TOOLS]{{ tools | tojson }}[/AVAILABLE_TOOLS]{% endif %}[INST]{{ m.content }}[/INST]"
        + "{% elif m.role == 'system' %}[SYSTEM_PROMPT]{{ m.content }}[/SYSTEM_PROMPT]"
        + "{% elif m.role == 'tool' %}{% if m.tool_call_id | length != 9 %}{{ raise_exception('ids have nine characters') }}{% endif %}"
        + '[TOOL_RESULTS]{"call_id": "{{ m.tool_call_id }}", "content": {{ m.content | string }}}[/TOOL_RESULTS]'
        + "{% elif m.tool_calls %}[TOOL_CALLS][{% for c in m.tool_calls %}{% if c.id | length != 9 %}{{ raise_exception('ids have nine characters') }}{% endif %}"
        + '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}, "id": "{{ c.id }}"}{% if not loop.last %}, {% endif %}{% endfor %}]{{ eos_token }}'
        + "{% else %}{{ m.content }}{{ eos_token }}{% endif %}"
        + END,
        ("[INST]", "[/INST]", "[TOOL_CALLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[SYSTEM_PROMPT]",
         "[/SYSTEM_PROMPT]"),
    ),
    # the tool is the recipient of the assistant's message
    "functionary_v3": (
        LOOP
        + "{% if m.role == 'tool' %}<|start_header_id|>tool<|end_header_id|>\n\nname={{ m.name }}\n{{ m.content }}<|eot_id|>"
        + "{% elif m.role == 'assistant' %}<|start_header_id|>assistant<|end_header_id|>\n\n{% if m.content %}>>>all\n{{ m.content }}{% endif %}"
        + "{% for c in m.tool_calls or [] %}>>>{{ c.function.name }}\n{{ c.function.arguments | tojson }}{% endfor %}<|eot_id|>"
        + "{% else %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n{{ m.content }}<|eot_id|>{% endif %}"
        + END
        + "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n>>>{% endif %}",
        ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    ),
    "numbered_calls": (
        LOOP
        + "{% if m.role == 'assistant' %}<|im_start|>assistant\n{{ m.content or '' }}{% for c in m.tool_calls or [] %}\n<call {{ loop.index }}>"
        + "{{ c.function.name }}({{ c.function.arguments | tojson }})</call {{ loop.index }}>{% endfor %}<|im_end|>\n"
        + "{% elif m.role == 'tool' %}<|im_start|>result {{ loop.index0 }} of {{ m.name }}\n{{ m.content }}<|im_end|>\n"
        + "{% else %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endif %}"
        + END
        + "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
        ("<|im_start|>", "<|im_end|>"),
    ),
    # turns end with the next header; each of parallel calls has one
    "glm4_calls": (
        "[gMASK]<sop>{% if tools %}<|system|>\n# Tools\n{% for t in tools %}## {{ t.function.name }}\n{{ t.function | tojson }}\n{% endfor %}{% endif %}"
        + LOOP
        + "{% if m.role == 'assistant' %}{% if m.tool_calls %}{% for c in m.tool_calls %}<|assistant|>{{ c.function.name }}\n{{ c.function.arguments | tojson }}{% endfor %}"
        + "{% else %}<|assistant|>\n{{ m.content }}{% endif %}{% elif m.role == 'tool' %}<|observation|>\n{{ m.content }}{% else %}<|{{ m.role }}|>\n{{ m.content }}{% endif %}"
        + END
        + "{% if add_generation_prompt %}<|assistant|>{% endif %}",
        ("[gMASK]", "<sop>", "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"),
    ),
    "results_as_questions": (
        "{{ bos_token }}{% if tools %}In this environment you have tools:\n{{ tools | tojson }}\n{% endif %}"
        + LOOP
        + '{% if m.role == \'user\' %}\n\nHuman: {{ m.content }}{% elif m.role == \'tool\' %}\n\nHuman: <result id="{{ m.tool_call_id }}">{{ m.content }}</result>'
        + "{% elif m.role == 'assistant' %}\n\nAssistant: {{ m.content or '' }}{% for c in m.tool_calls or [] %}"
        + '<call id="{{ c.id }}" name="{{ c.function.name }}">{{ c.function.arguments | tojson }}</call>{% endfor %}{{ eos_token }}{% else %}{{ m.content }}{% endif %}'
        + END
        + "{% if add_generation_prompt %}\n\nAssistant:{% endif %}",
        (),
    ),
    # declarations inside the last question, over several lines; results quoted as JSON
    "ipython": (
        "{{ bos_token }}"
        + LOOP
        + "{% if m.role == 'assistant' and m.tool_calls %}<|start_header_id|>assistant<|end_header_id|>\n\n<|python_tag|>"
        + "{% for c in m.tool_calls %}{{ c.function.name }}.call({{ c.function.arguments | tojson }}); {% endfor %}<|eom_id|>"
        + "{% elif m.role in ('tool', 'ipython') %}<|start_header_id|>ipython<|end_header_id|>\n\n{{ m.content | tojson }}<|eot_id|>"
        + "{% else %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n{% if loop.last and tools and m.role == 'user' %}Tools: {{ tools | tojson(indent=2) }}\n\n{% endif %}"
        + "{{ m.content | trim }}<|eot_id|>{% endif %}"
        + END
        + "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}",
        ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|python_tag|>", "<|eom_id|>"),
    ),
    # results are numbered, in the system's turn
    "numbered_results": (
        "{{ bos_token }}{% set ns = namespace(n=0) %}"
        + LOOP
        + "{% if m.role == 'tool' %}<|TURN|><|SYSTEM|><results>\ndocument: {{ ns.n }}\n{{ m.content }}</results><|STOP|>{% set ns.n = ns.n + 1 %}"
        + "{% elif m.role == 'assistant' %}<|TURN|><|CHATBOT|>{% if m.tool_calls %}Action: ```json\n[{% for c in m.tool_calls %}"
        + '{"tool_name": "{{ c.function.name }}", "parameters": {{ c.function.arguments | tojson }} }{% if not loop.last %},{% endif %}{% endfor %}]```{% else %}{{ m.content }}{% endif %}<|STOP|>'
        + "{% else %}<|TURN|><|{{ m.role | upper }}|>{{ m.content }}<|STOP|>{% endif %}"
        + END
        + "{% if add_generation_prompt %}<|TURN|><|CHATBOT|>{% endif %}",
        ("<|TURN|>", "<|STOP|>", "<|SYSTEM|>", "<|USER|>", "<|CHATBOT|>"),
    ),
    # plain text without any token: calls and answers open differently
    "react": (
        "{% if tools %}Tools: {{ tools | tojson }}\n\n{% endif %}"
        + LOOP
        + "{% if m.role == 'user' %}Question: {{ m.content }}\n{% elif m.role == 'tool' %}Observation: {{ m.content }}\n{% elif m.role == 'system' %}{{ m.content }}\n\n"
        + "{% elif m.tool_calls %}Thought: {{ m.content }}\n{% for c in m.tool_calls %}Action: {{ c.function.name }}\nAction Input: {{ c.function.arguments | tojson }}\n{% endfor %}"
        + "{% else %}Final Answer: {{ m.content }}\n{% endif %}"
        + END,
        (),
    ),
}  # fmt: skip
