"""What an audit looks for: the name of each finding, what it means, and what to do about it, in words for readers without code."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FINDINGS", "Kind"]


@dataclass(frozen=True)
class Kind:
    """A kind of finding.

    Attributes:
        name: its name, for `AuditReport.rows` and `--fail-on`.
        title: its title.
        level: `"wrong"`: what is trained is not what was meant; `"look"`: perhaps meant, perhaps not.
        meaning: what it means.
        remedy: what to do.
    """

    name: str
    title: str
    level: str
    meaning: str
    remedy: str


FINDINGS = {
    kind.name: kind
    for kind in (
        Kind(
            "bad",
            "Rows that cannot be used",
            "wrong",
            "These rows could not be read, or hold something that is not a conversation. Nothing else in this report counts "
            "them.",
            "Correct the rows where they come from, or leave them out: spanmask mask does so with --on-bad-row skip or quarantine.",
        ),
        Kind(
            "untrained",
            "Rows that train nothing",
            "wrong",
            "No token of these rows counts in the loss: the model reads them and learns nothing from them.",
            "Look at the reasons. A row without a marker has another format than the tokenizer's; a row without an answer has"
            " nothing to learn. Leave out such rows: MaskPolicy(on_untrained_row='drop'), or spanmask mask --drop-untrained.",
        ),
        Kind(
            "unknown-turns",
            "Rows whose turns are not known",
            "wrong",
            "The text that the chat template made could not be matched with the messages, or the turns that were found are "
            "not those of the messages. It is not known who says what.",
            "Compare a sample with the chat template: it may change contents, or leave out messages. Write the template so "
            "that contents stay as they are, or leave out these rows: MaskPolicy(on_role_mismatch='drop').",
        ),
        Kind(
            "misaligned-labels",
            "Labels that are not their tokens",
            "wrong",
            "A label is neither the id of its token nor -100. The model would be trained to write something else than the row"
            " says. If the labels are shifted by one place, they were made for a loss that does not shift them.",
            "Make the labels again. For shifted labels, undo the shift: models of transformers shift by themselves.",
        ),
        Kind(
            "stop-untrained",
            "Answers whose stop token does not train",
            "wrong",
            "The answer trains, but the token with which it ends does not. A model that is trained so may not learn to stop.",
            "Train it: MaskPolicy(train_on_eos='turn'), the default. If labels come from elsewhere: the padding token is "
            "often the stop token too, and both were masked.",
        ),
        Kind(
            "outside-vocabulary",
            "Token ids that the tokenizer does not have",
            "wrong",
            "These ids are negative, or greater than all ids of the tokenizer: the rows were made with another tokenizer, or "
            "hold placeholders. A model fails on them, or reads noise.",
            "Pass the tokenizer that made the rows. If another made them, tokenize the texts again.",
        ),
        Kind(
            "unanswered",
            "Rows that lose their answers when they are cut",
            "wrong",
            "Cut to the maximum length, these rows have no trained token left.",
            "Train with a greater maximum length, shorten the prompts, or leave out these rows.",
        ),
        Kind(
            "answers-cut",
            "Rows with an answer that is cut",
            "look",
            "The maximum length cuts into an answer or cuts one off. The model does not see how the answer ends.",
            "Train with a greater maximum length; or leave such answers out: MaskPolicy(truncated_turn='drop').",
        ),
        Kind(
            "truncated",
            "Rows longer than the maximum length",
            "look",
            "The end of these rows is cut off.",
            "See what each maximum length costs, below the lengths.",
        ),
        Kind(
            "open-answers",
            "Rows that end inside an answer",
            "look",
            "The last answer has no closing token: the row was cut before, or its template writes none. The model does not "
            "see how the answer ends.",
            "If the rows were cut when they were made, make them longer, or leave such answers out: "
            "MaskPolicy(truncated_turn='drop').",
        ),
        Kind(
            "empty-answers",
            "Rows with an answer that says nothing",
            "look",
            "An assistant's message has no text, no reasoning and no call. Only its stop token trains: the model learns to "
            "answer with nothing.",
            "Leave out these messages or rows, unless silence is meant.",
        ),
        Kind(
            "markers-in-content",
            "Contents that hold markers",
            "look",
            "A message holds the text of a control token, such as the one that opens a turn. The tokenizer makes the control "
            "token of it, as if the template had written it.",
            "Labels made from messages are right all the same. A search in token ids would be misled, and so is the model: "
            "remove the markers from the texts, unless they are meant (images).",
        ),
        Kind(
            "searched",
            "Rows that were searched instead of aligned",
            "look",
            "The text that the chat template made could not be matched with the messages, so that turns were found by their "
            "markers. The roles are those of the messages.",
            "Look at a sample: are the marked parts the answers? If so, nothing needs to be done.",
        ),
        Kind(
            "left-out",
            "Rows of which the template leaves out a part",
            "look",
            "The chat template does not write a part of an assistant's message, such as its reasoning. The model does not "
            "learn to write it.",
            "If it is to be learned, use a chat template that writes it.",
        ),
        Kind(
            "unclosed-regions",
            "Regions that do not close",
            "look",
            "A region that does not train (ignore_between) opens in an answer and does not close: nothing after it trains in "
            "this answer.",
            "Look at a sample: the closing marker may be spelled in another way, or the text may be cut.",
        ),
        Kind(
            "duplicates",
            "Rows that occur again",
            "look",
            "The same tokens as in an earlier row. The model sees them more often than others, and a copy in the evaluation "
            "data makes results look better than they are.",
            "Leave out the copies: the rows named here are all but the first of each.",
        ),
        Kind(
            "different",
            "Rows that the other masking labels differently",
            "look",
            "The same tokens, but other tokens train.",
            "Look at the samples side by side: which of the two is what you want?",
        ),
        Kind(
            "incomparable",
            "Rows that differ in the other data",
            "look",
            "The other data have other tokens in these rows, or lack them, so that labels cannot be compared.",
            "Make both from the same rows, in the same order, with the same tokenizer and template.",
        ),
    )
}
