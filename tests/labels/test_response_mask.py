import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from spanmask import ChatFormat, MaskPolicy, Ragged, RoleBoundary, Turns, mask_labels, reference, response_mask
from support.optional import optional
from support.strategies import batches, formats_and_policies

torch = optional("torch")

FORMAT = ChatFormat(
    [
        RoleBoundary("assistant", [31, 40], [39]),
        RoleBoundary("user", [31, 41], [39]),
        RoleBoundary("tool", [31, 42], [39]),
    ]
)
#       user   Q   E   assistant -100  E   tool   R   E   assistant A   A   E
ROW = [31, 41, 7, 39, 31, 40, 8, -100, 39, 31, 42, 9, 39, 31, 40, 8, 8, 39]
CALL, ANSWER = [6, 7, 8], [15, 16, 17]


def positions(mask):
    return np.flatnonzero(np.asarray(mask)).tolist()


@given(rows=batches, format_and_policy=formats_and_policies(), threads=st.sampled_from([1, 2]))
def test_it_is_where_the_reference_has_labels(rows, format_and_policy, threads):
    mask = response_mask(rows, *format_and_policy, num_threads=threads)
    assert mask.values.dtype == np.int64
    assert mask == [[int(label != -100) for label in reference.mask_labels(row, *format_and_policy)] for row in rows]


def test_every_call_and_answer_counts_and_no_result():
    (row,) = response_mask([ROW], FORMAT)
    assert positions(row) == CALL + ANSWER  # the id -100 too, which is not a label here


def test_roles_and_turns_replace_those_of_the_policy():
    policy = MaskPolicy(train_on_eos="none", turns="last", roles="user")
    assert positions(response_mask([ROW], FORMAT, policy)[0]) == [2]
    assert positions(response_mask([ROW], FORMAT, policy, roles=("assistant",))[0]) == ANSWER[:2]
    assert positions(response_mask([ROW], FORMAT, policy, roles=["assistant", "tool"], turns="all")[0]) == [6, 7, 11, 15, 16]
    assert positions(response_mask([ROW], FORMAT, turn_mask=[[1, 0]])[0]) == CALL


@pytest.mark.parametrize("side", ["right", "left"])
def test_padded_rows_keep_their_kind_and_shape(side):
    pad = 39  # the stop token
    rows = Ragged.from_rows([ROW, ROW[:8]])
    ids = rows.to_padded(pad, side)
    real = Ragged.from_rows([[1] * 18, [1] * 8]).to_padded(0, side)
    array = response_mask(ids, FORMAT, attention_mask=real)
    tensor = response_mask(torch.from_numpy(ids), FORMAT, attention_mask=torch.from_numpy(real))
    assert isinstance(array, np.ndarray)
    assert (tensor.dtype, tensor.tolist()) == (torch.int64, array.tolist())
    assert array.shape == ids.shape
    before = 0 if side == "right" else 10
    assert [positions(row) for row in array] == [CALL + ANSWER, [before + 6, before + 7]]


def test_the_shifted_mask_fits_log_probabilities_of_the_next_tokens():
    ids = torch.tensor([[31, 41, 7, 39, 31, 40, 8, 39]])
    logits = torch.randn(1, 8, 50, generator=torch.Generator().manual_seed(3))
    log_probs = logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
    mask = response_mask(ids, FORMAT, shift="left")
    assert positions(mask[0]) == [5, 6]
    assert torch.equal(mask[:, :-1], response_mask(ids, FORMAT)[:, 1:])
    labels = mask_labels(ids, FORMAT).labels
    loss = torch.nn.functional.cross_entropy(logits[0, :-1], labels[0, 1:])
    assert -(log_probs * mask[:, :-1]).sum() / mask.sum() == pytest.approx(loss.item(), rel=1e-6)


def test_turns_of_a_rollout():
    turns = Turns.from_segments([[5, 4, 5, 4], [3]], ("user", "assistant"))
    mask = response_mask([ROW, ROW[:3]], turns)
    assert [positions(row) for row in mask] == [[5, 6, 7, 8, 14, 15, 16, 17], []]


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match=r"policy: on_untrained_row='drop' would leave rows out"):
        response_mask([ROW], FORMAT, MaskPolicy(on_untrained_row="drop"))
    with pytest.raises(TypeError, match="policy: expected a MaskPolicy, got str"):
        response_mask([ROW], FORMAT, "assistant")
    with pytest.raises(ValueError, match="roles: the policy trains 'critic'"):
        response_mask([ROW], FORMAT, roles="critic")
    with pytest.raises(ValueError, match="turns: expected"):
        response_mask([ROW], FORMAT, turns="first")
