"""Makes the pictures of masks, in `docs/assets/`: `mask.svg` (README), `masks.html` (the start page of the site), `preview.png` (the HTML,
on a light and on a dark page), `audit-light.png` and `audit-dark.png` (the page of an audit), `card.png` (what others show for a link).

Run it in the root of the repository: `python docs/pictures.py`. The PNG files require chromium.
"""

import io
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from spanmask import (
    ChatFormat,
    DataCollatorForVisionChat,
    MaskPolicy,
    audit,
    mask_labels,
    preview,
)
from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

sys.path.insert(0, "examples")
sys.path.insert(0, "tests")
import vision_chat
from support.tiny_models import chat_tokenizer

ASSETS = Path("docs/assets")
ROUNDS = [
    (
        "What is the dog doing in this picture?",
        "It walks across the lawn, on a red leash.",
    ),
    ("Is anybody with it?", "Yes: a child in a yellow coat."),
]


def llava() -> tuple[object, dict[str, object]]:
    """The processor of the example with the image size of LLaVA (576 tokens per image), and one conversation."""
    vision_chat.SIZE, vision_chat.PATCH = 336, 14
    texts = [f"USER: {question} ASSISTANT: {answer}</s>" for question, answer in ROUNDS]
    processor = vision_chat.make_processor(texts)
    messages = []
    for question, answer in ROUNDS:
        messages.append(
            {"role": "user", "content": [{"type": "text", "text": question}]}
        )
        messages.append(
            {"role": "assistant", "content": [{"type": "text", "text": answer}]}
        )
    messages[0]["content"].insert(0, {"type": "image"})
    image = vision_chat.draw("green", "square", vision_chat.random.Random(0))
    return processor, {"messages": messages, "images": [image]}


def mask_svg() -> None:
    """Writes `mask.svg`: the mask of TRL's collator and the mask of ours, as in a terminal."""
    processor, example = llava()
    ours = DataCollatorForVisionChat(processor)
    collators = {
        "SFTTrainer by default: the question and 576 image tokens are trained": DataCollatorForVisionLanguageModeling(
            processor
        ),
        "data_collator=DataCollatorForVisionChat(processor): only the answers are trained": ours,
    }
    console = Console(
        record=True,
        width=84,
        force_terminal=True,
        color_system="truecolor",
        file=io.StringIO(),
    )
    for number, (title, collator) in enumerate(collators.items()):
        console.print(f"{chr(10) * number}[bold]{title}", highlight=False)
        console.print(
            preview(
                collator([example]), tokenizer=processor, chat_format=ours.chat_format
            )
        )
    svg = console.export_svg(
        title="print(spanmask.preview(batch, tokenizer=processor, chat_format=chat_format))"
    )
    svg = re.sub(
        r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL
    )  # a README does not load external fonts
    svg = svg.replace(
        "Fira Code, monospace",
        "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace",
    )
    (ASSETS / "mask.svg").write_text(svg)


def masks_html() -> None:
    """Writes `masks.html`: the same two masks as a fragment of HTML, which fits a phone and takes the colours of the page."""
    processor, example = llava()
    theirs = DataCollatorForVisionLanguageModeling(processor)
    ours = DataCollatorForVisionChat(processor)
    collators = {
        "<b>Wrong</b>: by default, TRL's collator trains the questions and 576 image tokens too": theirs,
        "<b>Right</b>: with spanmask, only the answers and their stop tokens": ours,
    }
    figures = ""
    for title, collator in collators.items():
        shown = preview(
            collator([example]), tokenizer=processor, chat_format=ours.chat_format
        ).to_html()
        figures += f"<figure><figcaption>{title}</figcaption>{shown}</figure>"
    (ASSETS / "masks.html").write_text(
        f'<div class="masks">{figures}</div>\n', encoding="utf-8"
    )


CARD = """<!doctype html><meta charset="utf-8"><style>
body{margin:0;width:1200px;height:630px;box-sizing:border-box;font-family:"Liberation Sans",sans-serif;
padding:56px 80px;background:#0d1117;color:#e6edf3}
h1{font-size:92px;margin:0;display:flex;gap:30px;align-items:center} h1 img{height:92px}
p{font-size:38px;line-height:1.35;margin:22px 0 30px;color:#b7c3cf}
.mask{zoom:1.7}</style>"""


def card_png(chromium: str) -> None:
    """Writes `card.png`: the name, what it does, and a right mask."""
    processor, example = llava()
    collator = DataCollatorForVisionChat(processor)
    shown = preview(
        collator([example]), tokenizer=processor, chat_format=collator.chat_format
    ).to_html()
    logo = (ASSETS / "logo.svg").absolute().as_uri()
    page = f"""{CARD}<h1><img src="{logo}">spanmask</h1>
<p>Token ids in, training targets out:<br>which tokens carry loss, which spans are hidden.</p>
<div class="mask">{shown}</div>"""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "page.html")
        source.write_text(page, encoding="utf-8")
        screenshot(chromium, source.as_uri(), "card.png", "--window-size=1200,630")


def preview_png(chromium: str) -> None:
    """Writes `preview.png`: one row of an agent as HTML, with roles, an ignored region, and weights as shades; light next to dark."""
    processor, _ = llava()
    tokenizer = processor.tokenizer
    chat_format = ChatFormat.from_strings(
        tokenizer, assistant=("ASSISTANT:", "</s>"), user="USER:", tool="TOOL:"
    )
    text = (
        "USER: How warm is it in Oslo?\nAnd in Rome? ASSISTANT: <think>Two cities: I ask for both.</think>"
        '{"call": "weather", "cities": ["Oslo", "Rome"]}</s>TOOL: Oslo 4 °C, Rome 19 °C\n'
        "ASSISTANT: It is 4 °C in Oslo and 19 °C in Rome. 😀</s>"
    )
    tokenizer.add_tokens(
        ["<think>", "</think>"]
    )  # one token each, as in reasoning models
    ids = tokenizer(text).input_ids
    think = [tokenizer.convert_tokens_to_ids([tag]) for tag in ("<think>", "</think>")]
    out = mask_labels(
        [ids],
        chat_format,
        MaskPolicy(ignore_between=[think]),
        turn_weights=[[0.4, 1.0]],
    )
    html = preview([ids], out, tokenizer, chat_format=chat_format).to_html()
    panes = "".join(
        f'<div style="background:{back};color:{fore};padding:14px 22px;width:520px">{html}</div>'
        for back, fore in (("#ffffff", "#1f2328"), ("#0d1117", "#e6edf3"))
    )
    page = f'<!doctype html><meta charset="utf-8"><body style="margin:0;display:flex">{panes}'
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "page.html")
        source.write_text(page, encoding="utf-8")
        screenshot(
            chromium,
            source.as_uri(),
            "preview.png",
            "--window-size=1128,194",
            "--force-device-scale-factor=2",
        )


def screenshot(chromium: str, url: str, name: str, *options: str) -> None:
    """Writes a picture of a page."""
    with tempfile.TemporaryDirectory() as folder:
        shot = [
            chromium,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            f"--user-data-dir={folder}",
            *options,
        ]
        subprocess.run(
            [*shot, f"--screenshot={(ASSETS / name).absolute()}", url],
            check=True,
            capture_output=True,
        )


CITIES = ["Oslo", "Rome", "Lima", "Quito", "Accra", "Hanoi", "Turku", "Porto"]


def chats() -> list[dict[str, object]]:
    """Four hundred conversations, some of which have something wrong with them."""
    rng = vision_chat.random.Random(4)
    rows = []
    for number in range(400):
        messages = []
        for _ in range(rng.choice([1, 1, 1, 2, 2, 3, 5])):
            city, other = rng.sample(CITIES, 2)
            question = (
                f"How far is it from {city} to {other}"
                + ", and what should I see there" * rng.randint(0, 6)
                + "?"
            )
            answer = (
                f"About {rng.randint(2, 90)}00 km."
                + f" In {other}, walk to the old harbour." * rng.randint(0, 9)
            )
            messages += [
                {"role": "user", "content": question},
                {"role": "assistant", "content": answer},
            ]
        if number % 50 == 7:
            messages = messages[:1]
        if number % 80 == 9:
            messages[0]["content"] += " <|im_end|> Answer in one word."
        rows.append({"messages": messages})
    rows[31], rows[200] = rows[30], rows[30]
    rows[90] = {"messages": "How far is it from Rome to Lima?"}
    return rows


def audit_png(chromium: str) -> None:
    """Writes the pictures of an audit's page."""
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder, "audit.html")
        report = audit(chats(), chat_tokenizer(), max_length=512)
        report.name = "chats.jsonl"
        report.to_html(page)
        screenshot(
            chromium,
            page.as_uri(),
            "audit-light.png",
            "--window-size=1280,1400",
            "--blink-settings=preferredColorScheme=1",
        )
        # One finding alone; a screenshot cannot scroll to it.
        alone = "<style>main>:not(#markers-in-content){display:none}</style></head>"
        text = page.read_text(encoding="utf-8").replace("</head>", alone)
        page.write_text(
            text.replace('id="markers-in-content"', 'open id="markers-in-content"'),
            encoding="utf-8",
        )
        screenshot(
            chromium,
            page.as_uri(),
            "audit-dark.png",
            "--window-size=900,640",
            "--blink-settings=preferredColorScheme=0",
        )


if __name__ == "__main__":
    ASSETS.mkdir(exist_ok=True)
    mask_svg()
    masks_html()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit(
            "only mask.svg and masks.html were made: chromium is not on the PATH; install it and run this program again"
        )
    preview_png(chromium)
    audit_png(chromium)
    card_png(chromium)
