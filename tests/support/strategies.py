"""Random rows, formats and policies: small alphabets, so that markers overlap, touch, nest and almost match."""

import numpy as np
from hypothesis import strategies as st
from spanmask import ChatFormat, MaskPolicy, RoleBoundary

DTYPES = (np.uint16, np.uint32, np.int32, np.int64)
ROLES = ("assistant", "user", "system")

ids = st.integers(0, 5)
rows = st.lists(ids, max_size=80)
batches = st.lists(rows, max_size=6)
markers = st.lists(ids, min_size=1, max_size=4).map(tuple)


weights = st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.0])  # exact in float32


@st.composite
def chat_formats(draw):
    """Formats of up to three roles; starts that would open two roles are dropped."""
    owner = {}
    boundaries = []
    for role in draw(st.lists(st.sampled_from(ROLES), min_size=1, max_size=4)):
        starts = [m for m in draw(st.lists(markers, min_size=1, max_size=3)) if owner.setdefault(m, role) == role]
        if starts:
            ends = draw(st.lists(markers, max_size=2))
            boundaries.append(
                RoleBoundary(
                    role,
                    starts,
                    ends,
                    include_start=draw(st.booleans()),
                    include_end=draw(st.booleans()),
                    anchored=draw(st.booleans()),
                )
            )
    return ChatFormat(
        boundaries,
        ignore_ids=draw(st.lists(ids, max_size=1)),
        stop_token_ids=draw(st.lists(ids, max_size=1)),
        anchor_ids=draw(st.lists(ids, max_size=1)),
        generation_prefills=draw(st.lists(markers, max_size=2)),
        reasoning=draw(st.just(()) | st.tuples(*[st.lists(markers, min_size=1, max_size=2)] * 2)),
        empty_reasoning=draw(st.lists(markers, max_size=1)),
    )


def rows_of_markers(chat_format):
    """Rows that consist mostly of the format's markers: turns begin with prefills and reasoning, and anchored starts follow ends."""
    headers = [start for boundary in chat_format.boundaries for start in boundary.start]
    ends = [end for boundary in chat_format.boundaries for end in boundary.end]
    openings, closings = chat_format.reasoning or ((), ())
    heads = [*chat_format.generation_prefills, *openings, *chat_format.empty_reasoning]
    others = [*ends, *closings, *((token,) for token in (*chat_format.stop_token_ids, *chat_format.anchor_ids))]
    some = ids.map(lambda token: (token,))
    turn = st.tuples(
        st.sampled_from(headers),
        st.sampled_from([(), *heads]),
        st.sampled_from([(), *heads]),
        st.lists(some, max_size=3).map(lambda pieces: sum(pieces, ())),
        st.sampled_from([(), *closings]),
        st.lists(some, max_size=2).map(lambda pieces: sum(pieces, ())),
        st.sampled_from([(), *others]),
    )
    return st.lists(turn, max_size=4).map(lambda turns: [token for pieces in turns for piece in pieces for token in piece])


@st.composite
def policies(draw, chat_format):
    """Policies that train some of the format's roles."""
    roles = draw(st.lists(st.sampled_from(chat_format.roles), min_size=1, unique=True))
    alternatives = st.lists(markers, min_size=1, max_size=2)
    return MaskPolicy(
        reasoning=draw(st.sampled_from(["train", "ignore", "ignore_empty"])),
        roles=roles,
        turns=draw(st.sampled_from(["all", "last"])),
        train_on_eos=draw(st.sampled_from(["none", "turn", "last", "all"])),
        include_start=draw(st.booleans()),
        truncated_turn=draw(st.sampled_from(["train", "drop"])),
        ignore_ids=draw(st.lists(ids, max_size=1)),
        ignore_between=draw(st.lists(st.tuples(alternatives, alternatives), max_size=2)),
        train_between_markers=draw(st.booleans()),
        ignore_sequences=draw(st.lists(markers, max_size=2)),
        train_generation_prefill=draw(st.booleans()),
        role_weights=draw(st.dictionaries(st.sampled_from(roles), weights)),
        prompt_weight=draw(st.sampled_from([0.0, 0.0, 0.5])),
        shift=draw(st.sampled_from(["none", "left"])),
        on_no_trained_turn=draw(st.sampled_from(["mask", "keep"])),
    )


@st.composite
def formats_and_policies(draw):
    """A format with a policy for it."""
    chat_format = draw(chat_formats())
    return chat_format, draw(policies(chat_format))
